-- Rows that are waited for because somebody's session has them locked.

create or replace view billd.locked_row as
with waits as materialized (
    (select s.id, s.period, s.open_attempt from billd.subscription s
    where s.state = 'active' and s.next_charge_at <= billd.now() - interval '1 minute'
    order by s.next_charge_at, s.id limit 1000)
    union
    (select s.id, s.period, s.open_attempt from billd.subscription s where s.recheck order by s.id limit 1000)
    union
    (select s.id, a.period, a.merchant_uid
    from (select * from billd.charge_attempt a where a.ask_at <= billd.now() - interval '1 minute' order by a.ask_at limit 1000) a
    join billd.subscription s on s.id = a.subscription_id)
)
select w.id as subscription_id, min(x.of_table) as of_table, l.pid, min(a.usename::text) as role,
    min(nullif(a.application_name, '')) as program, min(a.xact_start) as since
from waits w
cross join lateral (
    select 'subscription', s.xmax from billd.subscription s where s.id = w.id
    union all
    select 'billing_cycle', c.xmax from billd.billing_cycle c where c.subscription_id = w.id and c.period = w.period
    union all
    select 'charge_attempt', t.xmax from billd.charge_attempt t where t.merchant_uid = w.open_attempt
) x (of_table, locked_by)
-- Who locks a row leaves the number of its transaction in it, and holds a lock on that while it is open.
join pg_locks l on l.locktype = 'transactionid' and l.granted and l.transactionid = x.locked_by
left join pg_stat_activity a on a.pid = l.pid
-- billd's own are over in a moment.
where coalesce(a.xact_start < billd.now() - interval '1 minute', true)
group by w.id, l.pid;
comment on view billd.locked_row is
    'What has been due, or waits to be asked about or planned anew, and is locked by a transaction that has been open for more than a minute; pid is null for a prepared one. billd passes it by. pg_terminate_backend(pid) lets it go.';

create or replace view billd_internal.left_open as
select distinct l.pid, a.xact_start as since, concat_ws(', ', a.usename, nullif(a.application_name, '')) as who
from pg_locks l
left join pg_stat_activity a on a.pid = l.pid
where l.locktype = 'relation' and l.granted and l.mode = 'RowExclusiveLock'
  and l.database = billd_internal.this_database() and l.relation in ('billd.subscription'::regclass,
      'billd.billing_cycle'::regclass, 'billd.charge_attempt'::regclass, 'billd.refund'::regclass,
      'billd_internal.event_row'::regclass)
  and coalesce(a.xact_start < billd.now() - interval '1 minute', true);
comment on view billd_internal.left_open is
    'Transactions that have written to the book and have been open for more than a minute; pid is null for a prepared one. What they wrote is told when they end.';
