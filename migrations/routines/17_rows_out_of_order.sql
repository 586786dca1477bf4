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
    select 'a date that no book has: ' || billd_internal.unreadable_date(s, billd_internal.date_columns())
    where not billd_internal.has_readable_dates(s)
    union all
    select 'held, and yet planned' where s.held is not null and s.next_charge_at is not null and s.open_attempt is null
    union all
    select 'its period has no end' where s.until_at <= s.due_at or s.settled_until is null or s.catch_up is null
    union all
    select 'all before its cursor is settled, and the next period begins before it'
    where s.state = 'active' and s.due_at < s.settled_until and not s.adjusted and not exists (
        select from billd.billing_cycle c where c.subscription_id = s.id and c.period = s.period)
) x
where not s.recheck and s.held is distinct from 'dates'
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

create or replace view billd_internal.row_that_may_wait as
-- By the index of what is due: those of which nothing is planned, and what lies at the front and is not claimed.
(select s.id from billd.subscription s
where s.state = 'active' and s.next_charge_at is null and not s.recheck
limit 10000)
union all
select f.id
from (
    select s.id, s.open_attempt, s.held, s.recheck from billd.subscription s
    where s.state = 'active' and s.next_charge_at <= billd.now()
    order by s.next_charge_at, s.id limit 10000
) f
where not f.recheck and (f.open_attempt is not null or f.held is not null)
union all
(select a.subscription_id from billd.charge_attempt a where a.ask_at is not null limit 10000);
comment on view billd_internal.row_that_may_wait is
    'Where a row out of order would wait for ever, found without reading a whole table. What is planned for later comes to the front in time; what is not active is planned anew when it is set to active.';

create or replace function billd_internal.why_out_of_order(subscription_id uuid) returns setof text
language plpgsql stable
-- One row at a time, whatever the planner knows of the tables.
set enable_seqscan = off
as $$
begin
    return query select w.why collate "default" from billd.row_out_of_order w
    where w.subscription_id = why_out_of_order.subscription_id;
end
$$;
comment on function billd_internal.why_out_of_order(uuid) is 'What is out of order about one subscription; no row if nothing is.';

create or replace view billd.attention as
select 'unknown'::text as kind, a.subscription_id, a.merchant_uid, a.started_at as since,
       coalesce(a.reason, 'started') as reason, a.message,
       case when a.parked_at is null then 'billd is asking the gateway; nothing to do yet'
            else 'look the payment up in the console; see OPERATIONS.md, parked attempts' end as what_to_do
from billd.charge_attempt a
where a.state = 'unknown' and a.ask_at is not null
union all
select 'past_due', s.id, billd_internal.last_attempt(s.id, s.period), s.last_result_at, s.state_reason, s.last_message,
       'ask the customer for a card, then set state to active'
from billd.subscription s
where s.state = 'past_due'
union all
select 'paid_twice', p.subscription_id, p.merchant_uids[1], null, p.payments || ' payments', null,
       'give the surplus back'
from billd.paid_twice p
union all
select 'out_of_order', m.id, null, null, r.why, null,
       'nothing: billd sets it right by itself, at its start and hourly. Find out who writes past the triggers'
from (select distinct w.id from billd_internal.row_that_may_wait w) m
cross join lateral billd_internal.why_out_of_order(m.id) r (why)
union all
select 'locked', w.subscription_id, null, w.since,
       format('locked in %s by process %s (%s)', w.of_table, coalesce(w.pid::text, 'none: a prepared transaction'), concat_ws(', ', w.role, w.program)) collate "default",
       null, 'let that transaction end: it was left open in somebody''s session'
from billd.locked_row w
union all
select 'left_open', null, null, o.since,
       format('process %s (%s) has written to the book and is open', coalesce(o.pid::text, 'none: a prepared transaction'), o.who) collate "default",
       null, 'let that transaction end: what it wrote is told then (billd.event)'
from billd_internal.left_open o
union all
select 'consumer', null, null, e.occurred_at, format('consumer %s has not read an event of that time', c.name) collate "default", null,
       'start its program; or billd.drop_consumer, if nobody reads them any more: events are kept for it'
from billd.consumer c
cross join lateral (
    select e.occurred_at from billd_internal.event_row e
    where e.id > case when c.after_id < c.window_id then c.after_id else c.window_id end order by e.id limit 1
) e
where e.occurred_at < billd.now() - interval '1 day'
union all
select 'held', s.id, null, s.due_at,
       case when s.held = 'dates' then billd_internal.unreadable_date(s, billd_internal.date_columns()) else s.held end, null, case s.held
           when 'catch_up' then 'set catch_up to what becomes of the periods that were missed'
           when 'dates' then 'set the date right; see OPERATIONS.md, a date that no book has'
           when 'ceiling' then 'look at the sum: change it, or raise charge_max in billd.ceiling'
           when 'finding' then 'look at billd.finding, and set its state to explained'
           else 'decide, then billd.release' end
from billd.subscription s
where s.held is not null
union all
select 'stuck', s.id, billd_internal.last_attempt(s.id, s.period), s.last_result_at, 'all 99 attempts are used', null,
       'void the billing_cycle of this period'
from billd.subscription s
where s.state = 'active' and s.next_charge_at <= billd.now() and s.attempts >= 99
union all
select 'consent', c.subscription_id, null, (c.effective_on - 30)::timestamp at time zone 'Asia/Seoul',
       concat_ws(' and ', case when c.needs_consent then 'consent' end, case when c.needs_notice then 'notice' end)
           || ' is missing for ' || c.new_amount || ' from ' || c.effective_on,
       null, 'ask the payer, and call billd.record_consent; see OPERATIONS.md, consent'
from billd.consent_due c
where (c.needs_consent or c.needs_notice and c.effective_on - 10 <= (billd.now() at time zone 'Asia/Seoul')::date)
  and (select k.consent from billd.control k) <> 'off'
union all
select 'charging_' || replace(c.reason, ' ', '_'), null, null, c.since, c.says, null, case c.reason
           when 'stopped' then 'billd.start_charging(), once the reason is gone'
           when 'elsewhere' then 'charge at home; or, if this is the home now: stop the place before, and billd adopt'
           when 'account' then 'set the key of the book''s merchant account; or billd adopt'
           when 'clock' then 'update billd.control set clock_shift = ''0'''
           else 'nothing: it ends by itself' end
from billd.charging c
where not c.is_on
union all
select 'refund', null, r.merchant_uid, r.started_at, coalesce(r.reason, 'started'), r.message,
       case when r.parked_at is null then 'billd is looking at the payment; nothing to do yet'
            else 'look the payment up in the console; see OPERATIONS.md, parked refunds' end
from billd.refund r
where r.state = 'unknown';
comment on view billd.attention is 'What waits for the gateway or for a person, oldest first if you order by since.';

create or replace function billd_internal.find_out_of_order(pace interval, debts_too boolean) returns bigint
language plpgsql volatile
set enable_seqscan = off
as $$
declare
    writer text := billd_internal.write_as('plan');
    found_rows bigint;
begin
    update billd.control c set catch_up_pace = pace where c.catch_up_pace <> pace;
    delete from billd_internal.asked a where a.hour < billd.now() - interval '8 days';
    with wrong as materialized (
        select m.id from billd_internal.row_that_may_wait m
        where exists (select from billd_internal.why_out_of_order(m.id))
        union
        select c.subscription_id from billd.billing_cycle c
        join billd.subscription s on s.id = c.subscription_id
        where debts_too and c.state in ('due', 'unresolved') and (s.period <> c.period or s.state = 'cancelled')
        union
        select s.id from billd.subscription s
        where debts_too and not billd_internal.has_readable_dates(s) and s.held is distinct from 'dates' and s.state <> 'cancelled'
    ),
    free as materialized (
        select s.id from billd.subscription s
        where s.id = any (array(select w.id from wrong w)) and not s.recheck
        for no key update skip locked
    )
    update billd.subscription s
    set recheck = true, row_version = s.row_version + 2
    where s.id = any (array(select f.id from free f));
    get diagnostics found_rows = row_count;
    perform billd_internal.write_as(writer);
    return found_rows;
end
$$;
comment on function billd_internal.find_out_of_order(interval, boolean) is
    'Sets rows out of order aside for the re-plan; returns how many. Debts that nobody asks for are looked for only if asked to: that reads all debts, and dates that no book has: that reads all subscriptions.';

create or replace function billd_internal.take_up(inout s billd.subscription)
language plpgsql volatile
as $$
declare
    left_behind billd.billing_cycle;
begin
    if s.state = 'cancelled' then
        update billd.billing_cycle c
        set state = 'void', closed_at = billd.now(), reason = billd_internal.void_of_cancellation()
        where c.subscription_id = s.id and c.state in ('due', 'unresolved');
        return;
    end if;
    if exists (select from billd.billing_cycle c where c.subscription_id = s.id and c.period = s.period) then
        return;
    end if;
    select * into left_behind from billd.billing_cycle c
    where c.subscription_id = s.id and c.state in ('due', 'unresolved') order by c.due_at limit 1;
    if found then
        s.period := left_behind.period;
        s.due_at := left_behind.due_at;
        s.until_at := left_behind.until_at;
        s.attempts := 0;
        s.declines := 0;
        s.next_charge_at := null;
    end if;
end
$$;
comment on function billd_internal.take_up(billd.subscription) is
    'A debt that is open and was left behind is asked for before the next period is opened; one of a cancelled subscription is void.';

-- --------------------------------------------------------------- what the auditor found holds the card

create or replace function billd_internal.holds(f billd.finding) returns boolean
language sql immutable parallel safe
as $$
    select f.state = 'open' and f.subscription_id is not null
        and f.kind in ('foreign_payment', 'foreign_schedule', 'paid_there_not_here')
$$;
comment on function billd_internal.holds(billd.finding) is
    'Whether a finding says that a debt or a card of ours may be paid for elsewhere.';

create or replace function billd_internal.is_paid_elsewhere(s billd.subscription) returns boolean
language sql stable
as $$
    select exists (
        select from billd.finding f
        join billd.subscription of_card on of_card.id = f.subscription_id
        where billd_internal.holds(f) and of_card.customer_uid = s.customer_uid
          -- A reservation may be for any sum; a payment counts if it may have been for this.
          and (f.kind = 'foreign_schedule' or f.kind = 'paid_there_not_here' and f.subscription_id = s.id and not exists (
                   select from billd.charge_attempt a where a.merchant_uid = f.merchant_uid and a.state = 'paid')
               or f.kind = 'foreign_payment' and f.amount_theirs in (s.amount, (
                   select c.amount from billd.billing_cycle c
                   where c.subscription_id = s.id and c.period = s.period))))
$$;
comment on function billd_internal.is_paid_elsewhere(billd.subscription) is
    'Law: look before asking again. Whether an open finding of the auditor speaks of this debt or card.';

create or replace function billd_internal.finding_changed() returns trigger
language plpgsql
as $$
declare
    writer text := billd_internal.write_as('plan');
    card record;
begin
    for card in
        select s.id from billd.subscription s
        where s.customer_uid = (select c.customer_uid from billd.subscription c where c.id = new.subscription_id)
          and s.state <> 'cancelled'
          and billd_internal.is_paid_elsewhere(s) <> coalesce(s.held = 'finding', false)
          and coalesce(s.held, 'finding') = 'finding'
        order by s.id
        for no key update
    loop
        update billd.subscription s
        set held = case when s.held is null then 'finding' end, recheck = true, row_version = s.row_version + 2
        where s.id = card.id;
        perform billd_internal.replan(card.id, (select c.catch_up_pace from billd.control c));
    end loop;
    perform billd_internal.write_as(writer);
    return null;
end
$$;
comment on function billd_internal.finding_changed() is
    'Holds what an open finding speaks of: nothing is asked for until a person has explained it, or it was mended.';
create or replace trigger finding_holds_its_card after insert or update on billd.finding
    for each row
    when (new.subscription_id is not null and new.kind in ('foreign_payment', 'foreign_schedule', 'paid_there_not_here'))
    execute function billd_internal.finding_changed();
