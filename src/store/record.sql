-- store::record: writes outcomes and decisions of many attempts, in one commit.
--
-- Two different rights meet here. The fact that money moved is written whatever the fence says. Everything else, and
-- every move of a subscription, needs the fence of the claim it comes from. Running the same batch again counts
-- nothing twice, so a lost answer at commit is met by running it again. A batch holds at most one answer per attempt;
-- the recorder sees to it. What is to be sent again is neither written nor moved while nothing may be charged, or if
-- its subscription is not active any more, or has another card.
--
-- $1 … $18 one array per column, one element per answer · $19 catch-up pace in seconds · $20 lease in seconds
-- $21 whether a plain row goes on by itself, or all are left to the re-plan
with clock as materialized (
    select billd.now() as now, billd_internal.event_tx() as event_tx, set_config('billd.writer', 'record', true), 'send_again' = any ($14::text[])
        and billd_internal.may_charge(make_interval(secs => $20::float8)) is not null as is_held
),
answer as materialized (
    select * from unnest($1::text[], $2::uuid[], $3::date[], $4::bigint[], $5::text[], $6::text[], $7::text[],
        $8::text[], $9::text[], $10::bigint[], $11::text[], $12::text[], $13::text[], $14::text[], $15::float8[],
        $16::bool[], $17::text[], $18::smallint[]
    ) as x (merchant_uid, subscription_id, period, fence, state, imp_uid, pg_provider, pg_tid, receipt_url,
        cancelled_amount, reason, code, message, decision, wait_seconds, took_rung, give_up_reason, not_found)
),
fact as (
    update billd.charge_attempt a
    set state = case when x.decision = 'send_again' then 'started' else x.state end,
        finished_at = case when x.state in ('paid', 'declined', 'not_sent') then k.now end,
        ask_at = billd_internal.ask_at(a, x.state, x.decision, x.wait_seconds, $20::float8, k.now),
        -- A claim to ask leaves an attempt unknown. One that is started was written by this very batch before.
        started_at = case when x.decision = 'send_again' and a.state = 'unknown' then k.now else a.started_at end,
        sends = a.sends + (x.decision = 'send_again' and a.state = 'unknown')::int,
        not_sent = case when x.state = 'not_sent' then least(a.not_sent, 30000) + 1 else 0 end,
        not_found = case when x.decision = 'send_again' then 0 else x.not_found end,
        parked_at = case when x.decision = 'park' then coalesce(a.parked_at, k.now) end,
        imp_uid = coalesce(x.imp_uid, a.imp_uid), pg_provider = coalesce(x.pg_provider, a.pg_provider),
        pg_tid = coalesce(x.pg_tid, a.pg_tid), receipt_url = coalesce(x.receipt_url, a.receipt_url),
        cancelled_amount = greatest(a.cancelled_amount, x.cancelled_amount),
        reason = case when x.state <> 'paid' then coalesce(x.reason, a.reason) end, code = x.code,
        message = case when x.state <> 'paid' then coalesce(x.message, a.message) end
    from answer x, clock k
    where a.merchant_uid = any ($1::text[]) and a.merchant_uid = x.merchant_uid
      -- Not `or`: from that PostgreSQL concludes that next to no row is meant, because most are paid, and
      -- compares each of the batch with each.
      and case when x.state = 'paid' and a.state <> 'paid' then true
               else a.state in ('started', 'unknown') and a.fence = x.fence end
      and not (x.decision = 'send_again' and (k.is_held or not billd_internal.may_leave_again(a)))
    returning x.merchant_uid, x.subscription_id, x.period, x.fence, x.state, x.reason, x.message, x.decision,
        x.wait_seconds, x.took_rung, x.give_up_reason, a.attempt_no, a.state as state_now, a.fence = x.fence as holds_claim
),
-- The claim moves the subscription on if nobody has written there under a later one, and if the subscription is still
-- in the period that was charged. A plain row goes on where its period ends; any other is planned anew before anybody
-- charges it, and so is one of which another attempt was paid.
move as (
    update billd.subscription s
    set open_attempt = case when f.state = 'unknown' then f.merchant_uid end, fence = f.fence,
        row_version = s.row_version + 2,
        state = case when f.decision = 'give_up' and s.state = 'active' then 'past_due' else s.state end,
        state_reason = case when f.decision = 'give_up' then f.give_up_reason else s.state_reason end,
        (recheck, period, due_at, until_at, attempts, declines) = (select
            s.recheck or case when f.decision = 'advance' then not g.goes_on
                else s.id in (select p.subscription_id from fact p where p.state_now = 'paid') end,
            case when g.goes_on then billd_internal.period_name(s.until_at, s.time_zone, s.period) else s.period end,
            case when g.goes_on then s.until_at else s.due_at end,
            case when g.goes_on then billd_internal.count_period(s.anchor_at, s.billing_day, s.interval_unit,
                s.interval_count, s.time_zone, s.until_at) else s.until_at end,
            case when g.goes_on then 0 else f.attempt_no end,
            case when g.goes_on then 0 else s.declines + f.took_rung::int end
            from (select $21::bool and billd_internal.goes_on(f.decision, s.adjusted, s.settled_until, s.until_at)) g (goes_on)),
        settled_until = case when f.decision = 'advance' then greatest(s.settled_until, s.until_at) else s.settled_until end,
        paid_until = case when f.decision = 'advance' then greatest(s.paid_until, s.until_at) else s.paid_until end,
        next_charge_at = billd_internal.next_charge_at(f.decision, s.until_at, f.wait_seconds, $19::float8, k.now),
        last_result = f.state, last_result_at = k.now,
        last_reason = case when f.state = 'unknown' then coalesce(f.reason, s.last_reason) else f.reason end,
        last_message = case when f.state = 'unknown' then coalesce(f.message, s.last_message) else f.message end
    from fact f, clock k
    where s.id = f.subscription_id and f.holds_claim and s.period = f.period
      and coalesce(s.open_attempt, f.merchant_uid) = f.merchant_uid and s.fence <= f.fence
    returning s.id, f.merchant_uid, f.period, f.attempt_no, f.give_up_reason, s.next_charge_at,
        billd_internal.cycle_state(f.decision, f.state, s.state) as cycle_state
),
cycle as (
    update billd.billing_cycle c
    set state = m.cycle_state, closed_at = case when m.cycle_state in ('paid', 'uncollectible', 'void') then k.now end,
        reason = case m.cycle_state when 'uncollectible' then m.give_up_reason
            when 'void' then 'the subscription was cancelled' end
    from move m, clock k
    where c.subscription_id = m.id and c.period = m.period and c.state <> m.cycle_state
    returning c.subscription_id, c.period, c.state, c.amount, c.currency, c.due_at, c.until_at, c.made_of, m.merchant_uid,
        m.attempt_no, m.next_charge_at
),
-- Told once per period: a debt becomes paid once. All else is told by triggers (migrations/routines/29_events.sql).
told as (
    insert into billd_internal.event_row (tx, kind, subscription_id, period, merchant_uid, occurred_at, amount, currency,
        from_at, until_at, next_charge_at, attempt_no, more)
    select k.event_tx, e.kind, c.subscription_id, c.period, c.merchant_uid, k.now, c.amount, c.currency,
        c.due_at, c.until_at, c.next_charge_at, c.attempt_no, case when c.made_of is not null then jsonb_build_object('made_of', c.made_of) end
    from cycle c
    cross join clock k
    cross join lateral (values ('paid'), (case when c.attempt_no > 1 then 'recovered' end)) e (kind)
    where c.state = 'paid' and e.kind is not null and k.event_tx is not null
),
-- An outcome of somebody who no longer holds the claim, or of a period that a person has moved away from: planned anew.
stray as (
    update billd.subscription s
    set recheck = true, row_version = s.row_version + 2,
        open_attempt = case when f.state_now = 'paid' then s.open_attempt end
    from fact f
    where s.id = f.subscription_id and f.subscription_id not in (select m.id from move m)
      and (f.state_now = 'paid' or s.open_attempt = f.merchant_uid and f.state_now in ('declined', 'not_sent'))
)
select
    x.merchant_uid as "merchant_uid!", f.merchant_uid is not null as "written!",
    m.merchant_uid is not null as "moved!", x.subscription_id is null as "is_one_off!",
    -- Of this statement's snapshot, so before anything above was written.
    case when f.merchant_uid is null then (
        select a.state from billd.charge_attempt a where a.merchant_uid = x.merchant_uid) end as "state_before?"
from answer x
left join fact f on f.merchant_uid = x.merchant_uid
left join move m on m.merchant_uid = x.merchant_uid
