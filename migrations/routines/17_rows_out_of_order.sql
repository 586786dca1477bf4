-- Rows that no legal path makes, and what the auditor found: seen, and set right by the re-plan.

create or replace view billd.row_out_of_order as
select s.id as subscription_id, s.customer_uid, s.state, s.next_charge_at, x.why
from billd.subscription s
cross join lateral (
    select 'open_attempt names no open attempt of it' as why
    where s.open_attempt is not null and not exists (
        select from billd.charge_attempt a
        where a.merchant_uid = s.open_attempt and a.subscription_id = s.id and a.state in ('started', 'unknown'))
    union all
    select 'active, but nothing is planned'
    where s.state = 'active' and s.next_charge_at is null and s.open_attempt is null and s.held is null
    union all
    select 'held, and yet planned' where s.held is not null and s.next_charge_at is not null and s.open_attempt is null
    union all
    select 'its period has no end' where s.until_at <= s.due_at or s.settled_until is null or s.catch_up is null
    union all
    select 'all before its cursor is settled, and the next period begins before it'
    where s.state = 'active' and s.due_at < s.settled_until and not s.adjusted and not exists (
        select from billd.billing_cycle c where c.subscription_id = s.id and c.period = s.period)
) x
where not s.recheck
union all
select s.id, s.customer_uid, s.state, s.next_charge_at, 'the debt of ' || c.period || ' is open, and is asked for by nobody'
from billd.billing_cycle c
join billd.subscription s on s.id = c.subscription_id
where c.state in ('due', 'unresolved') and not s.recheck and (s.period <> c.period or s.state = 'cancelled')
  and not billd_internal.has_open_attempt(s.id, c.period)
union all
select s.id, s.customer_uid, s.state, s.next_charge_at, 'attempt ' || a.merchant_uid || ' is open, and not noted'
from billd.charge_attempt a
join billd.subscription s on s.id = a.subscription_id and s.period = a.period
where a.ask_at is not null and a.state in ('started', 'unknown') and s.open_attempt is null and not s.recheck;
comment on view billd.row_out_of_order is
    'Subscriptions in a state that no legal path leads to: a row that was written past the triggers, or restored from elsewhere. Must be empty; the daemon sets them right by itself, at its start and hourly.';

create or replace function billd_internal.find_out_of_order(rows_max int, pace interval) returns bigint
language plpgsql volatile
set billd.writer = 'plan'
as $$
declare
    found_rows bigint;
begin
    update billd.control c set catch_up_pace = pace where c.catch_up_pace <> pace;
    -- By the index of what is due: those of which nothing is planned, and the front. What lies behind comes to the
    -- front, and what is not active does no harm until a person sets it to active, who has it planned.
    with stuck as materialized (
        (select s.id from billd.subscription s
        where s.state = 'active' and s.next_charge_at is null and not s.recheck limit rows_max)
        union all
        (select s.id from billd.subscription s
        where s.state = 'active' and s.next_charge_at <= billd.now() and not s.recheck
          and (s.open_attempt is not null or s.held is not null or s.attempts >= 99)
        order by s.next_charge_at, s.id limit rows_max)
        union all
        -- Few are asked about at a time.
        (select a.subscription_id from billd.charge_attempt a where a.ask_at is not null limit rows_max)
        union all
        (select c.subscription_id from billd.billing_cycle c where c.state = 'unresolved' limit 0)
    ),
    wrong as materialized (
        select s.id from billd.subscription s
        where s.id in (select id from stuck) and not s.recheck
          and exists (select from billd.row_out_of_order w where w.subscription_id = s.id)
        for no key update skip locked
    )
    update billd.subscription s
    set recheck = true, row_version = s.row_version + 2
    where s.id in (select id from wrong);
    get diagnostics found_rows = row_count;
    return found_rows;
end
$$;
comment on function billd_internal.find_out_of_order(int, interval) is
    'Sets rows out of order aside for the re-plan; returns how many. Looks where they would wait for ever, and reads no whole table.';
