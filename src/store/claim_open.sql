-- store::claim_open: takes over attempts whose lease or waiting time has ended, to ask about them.
--
-- A started attempt found here has lost its daemon (see store::notice_abandoned). Raising the fence keeps a
-- daemon that comes back from moving the subscription; it may still write down that money moved.
--
-- $1 most rows · $2 lease in seconds
with clock as materialized (
    select billd.now() as now, set_config('billd.writer', 'claim_open', true),
        billd_internal.may_ask(make_interval(secs => $2::float8)) is null as may_ask
),
-- Subscription, debt and attempt are locked together, and those of which somebody holds one are left
-- for later: waiting for a row that a person has locked would hold up all the others. A one-off has neither.
open as materialized (
    select a.*
    from billd.charge_attempt a
    left join lateral (
        select s.id from billd.subscription s where s.id = a.subscription_id for no key update skip locked
    ) s on true
    left join lateral (
        select c.period from billd.billing_cycle c
        where c.subscription_id = s.id and c.period = a.period for no key update skip locked
    ) c on true
    where (select may_ask from clock) and a.ask_at <= (select now from clock)
      and (a.subscription_id is null or c.period is not null)
    order by a.ask_at
    limit $1::int
    for no key update of a skip locked
),
taken as (
    update billd.subscription s
    set fence = billd_internal.next_fence(greatest(s.fence, o.fence)),
        row_version = s.row_version + 2,
        open_attempt = o.merchant_uid,
        attempts = greatest(s.attempts, o.attempt_no),
        next_charge_at = null,
        last_result = 'unknown',
        last_result_at = case when o.state = 'started' then k.now else s.last_result_at end,
        last_reason = case when o.state = 'started' then 'abandoned' else s.last_reason end,
        last_message = case when o.state = 'started' then null else s.last_message end
    from open o, clock k
    where s.id = o.subscription_id and s.period = o.period
      and coalesce(s.open_attempt = o.merchant_uid, true)
    returning s.open_attempt, s.fence
),
unresolved as (
    update billd.billing_cycle c
    set state = 'unresolved'
    from open o
    -- The array is for the planner, which thinks that few debts are due and would look for those.
    where c.subscription_id = any (array(select subscription_id from open))
      and c.subscription_id = o.subscription_id and c.period = o.period and c.state = 'due'
),
asked as (
    update billd.charge_attempt a
    set state = 'unknown',
        reason = case when o.state = 'started' then 'abandoned' else o.reason end,
        ask_at = k.now + make_interval(secs => $2::float8),
        asks = least(o.asks, 30000) + 1,
        asked_at = k.now,
        not_sent = 0,
        fence = coalesce(t.fence, billd_internal.next_fence(o.fence))
    from open o
    cross join clock k
    left join taken t on t.open_attempt = o.merchant_uid
    where a.merchant_uid = o.merchant_uid
    returning a.*
)
select
    a.merchant_uid as "merchant_uid!", null::timestamptz as "next_charge_at: Instant",
    a.subscription_id as "subscription_id?", a.period as "period?: jiff_sqlx::Date", a.attempt_no as "attempt_no?",
    a.fence as "fence!", a.amount as "amount!", a.currency as "currency!", a.customer_uid as "customer_uid?",
    coalesce(a.name, s.name) as "name!", coalesce(a.tax_free, c.tax_free) as tax_free,
    coalesce(a.vat_amount, c.vat_amount) as vat_amount, c.card_quota as "card_quota?",
    billd_internal.gateway_fields(s) as "gateway_fields!: Vec<Option<String>>",
    coalesce(s.due_at, a.started_at) as "due_at!: Instant",
    coalesce(s.declines, 0::smallint) as "declines!", a.not_sent as "earlier_not_sent!", a.asks as "asks!",
    a.not_found as "not_found!", a.sends as "sends!", a.parked_at is not null as "parked!", a.by_card as "by_card!",
    billd_internal.may_leave_again(a) as "may_leave!",
    greatest(0, extract(epoch from k.now - a.started_at))::float8 as "age_seconds!",
    k.now as "now!: jiff_sqlx::Timestamp"
from asked a
left join billd.subscription s on s.id = a.subscription_id
left join billd.billing_cycle c on c.subscription_id = a.subscription_id and c.period = a.period
cross join clock k
order by a.ask_at, a.merchant_uid
