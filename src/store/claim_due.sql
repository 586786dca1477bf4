-- store::claim_due: locks what is due, raises the fence, and writes the attempts down, in one commit.
--
-- Nothing while `billd.at_rest`. A request that did not leave keeps its name: its attempt is opened again,
-- because only the gateway's refusal of a paid name tells of a payment that a fail-over made us forget.
--
-- $1 most rows · $2 lease in seconds · $3 seconds between two places under a rate cap, 0 for no cap · $4, $5
-- where the last claim ended, or null to look at all that is due
with clock as materialized (
    select billd.now() as now, billd.next_fence(0) as fence, set_config('billd.writer', 'claim', true)
),
rest as materialized (
    select billd.at_rest(make_interval(secs => $2::float8)) as is_on
),
-- With a cap: the places in the row, over all daemons, that lie within the next fifth of a second, but
-- none so near that it would be missed before this is committed. Who is late for a place books another
-- (`store::book_place`), so looking ahead lets nobody crowd: it only bridges the time until the next claim.
-- The row lock makes daemons take turns; without a cap nothing is locked.
budget as materialized (
    select
        greatest(r.next_free_at, c.now + interval '20 ms') as first_at,
        greatest(0, 1 + floor(
            extract(epoch from c.now + interval '200 ms' - greatest(r.next_free_at, c.now + interval '20 ms'))
            / nullif($3::float8, 0)
        ))::int as slots
    from billd.rate_limit r, clock c
    where $3::float8 > 0
    for update of r
),
-- The order and the place to go on from (see `Watermark`) are those of the index, so what other claims
-- have taken or left behind is not read again.
--
-- A claim writes nothing to a subscription, but it locks it, and the lock can mostly be seen (xmax) until the
-- row is written again. A row that nobody locked spares a look here; begun_before decides, once all are locked.
-- All others are asked about with a fresh snapshot, because the claim that locked them may have been
-- committed since this statement began.
due as materialized (
    select d.*, billd.merchant_uid(d.id, d.period, d.attempts + 1) as merchant_uid
    from (
        select s.*
        from billd.subscription s
        where not (select is_on from rest)
          and s.state = 'active'
          and s.next_charge_at <= (select now from clock)
          and (s.next_charge_at, s.id) > (
              coalesce($4::timestamptz, '-infinity'),
              coalesce($5::uuid, '00000000-0000-0000-0000-000000000000'))
          and s.open_attempt is null
          and not s.recheck
          and s.attempts < 99
          and case
              when s.xmax = 0 and s.attempts = 0 then true
              else not billd.is_in_hand(s.id, s.period)
          end
        order by s.next_charge_at, s.id
        limit $1::int
        for no key update skip locked
    ) d
    limit coalesce((select slots from budget), $1::int)
),
begun_before as materialized (
    select * from billd.begun_before(array(select merchant_uid from due))
),
-- What the book holds of these already. Looked up row by row, whatever the planner thinks of the tables;
-- nobody else begins an attempt of a row that is locked here.
--
-- The debt of a retry (c) exists already, and says what is asked for. What did not leave (b) keeps its name as
-- long as the terms are the same: under one name the gateway is asked for one sum, from one card. A debt or
-- an attempt that somebody has locked or changed meanwhile (not in held, not in again) is left for later,
-- together with its subscription: waiting for it would hold up all the others.
looked as materialized (
    select d.*, c.period is not null as has_debt, held.state as debt_state,
        case when c.period is null then d.amount else held.amount end as debt_amount,
        case when c.period is null then d.currency else held.currency end as debt_currency,
        case when c.period is null then d.tax_free else held.tax_free end as debt_tax_free,
        case when c.period is null then d.vat_amount else held.vat_amount end as debt_vat_amount,
        case when c.period is null then d.card_quota else held.card_quota end as debt_card_quota,
        b.merchant_uid is not null and again.merchant_uid is null as is_busy,
        coalesce(
            (again.amount, again.currency, again.customer_uid) = (held.amount, held.currency, d.customer_uid),
            false) as is_again,
        again.merchant_uid as merchant_uid_before, again.not_sent,
        d.merchant_uid in (select n.merchant_uid from begun_before n) as has_next
    from due d
    left join lateral (
        select c.period from billd.billing_cycle c
        where c.subscription_id = d.id and c.period = d.period
        limit 1
    ) c on true
    left join lateral (
        select h.* from billd.billing_cycle h
        where h.subscription_id = d.id and h.period = c.period
        for no key update skip locked
    ) held on true
    left join lateral (
        select b.merchant_uid from billd.charge_attempt b
        where d.attempts > 0 and b.merchant_uid = billd.merchant_uid(d.id, d.period, d.attempts)
          and b.state = 'not_sent' and b.not_sent > 0 and not b.by_card
        limit 1
    ) b on true
    left join lateral (
        select r.* from billd.charge_attempt r
        where r.merchant_uid = b.merchant_uid and r.state = 'not_sent' and r.not_sent > 0
        for no key update skip locked
    ) again on true
    where d.merchant_uid not in (select n.merchant_uid from begun_before n where n.is_open)
),
-- The first attempt of a period opens its cycle and so fixes the sum. The fence is that of
-- `billd.next_fence`, with its clock read once for all rows.
ready as materialized (
    select l.*,
        greatest(l.fence + 1, k.fence) as claim_fence,
        case when l.is_again then l.merchant_uid_before else l.merchant_uid end as attempt_uid,
        (l.attempts + (not l.is_again)::int)::smallint as attempt_no,
        not l.has_next
            and case when l.has_debt then l.debt_state = 'due' else l.attempts = 0 end as may_begin
    from looked l, clock k
    where not l.has_debt or (l.debt_state is not null and not l.is_busy)
),
spent as (
    update billd.rate_limit r
    set next_free_at = b.first_at + make_interval(secs => (select count(*) from ready) * $3::float8)
    from budget b
    where exists (select from ready)
),
cycle as (
    insert into billd.billing_cycle
        (subscription_id, period, amount, currency, tax_free, vat_amount, card_quota, due_at, opened_at)
    select
        r.id, r.period, r.debt_amount, r.debt_currency, r.debt_tax_free, r.debt_vat_amount, r.debt_card_quota,
        r.due_at, k.now
    from ready r, clock k
    where r.may_begin and not r.has_debt
),
attempt as (
    insert into billd.charge_attempt
        (merchant_uid, subscription_id, period, attempt_no, amount, currency, customer_uid,
         state, started_at, fence)
    select
        r.attempt_uid, r.id, r.period, r.attempt_no, r.debt_amount, r.debt_currency, r.customer_uid,
        'started', k.now, r.claim_fence
    from ready r, clock k
    where r.may_begin and not r.is_again
),
opened_again as (
    update billd.charge_attempt a
    set state = 'started',
        started_at = k.now,
        finished_at = null,
        reason = null,
        message = null,
        fence = r.claim_fence
    from ready r, clock k
    where r.may_begin and r.is_again and a.merchant_uid = r.attempt_uid
),
-- A row that may not begin (its debt is closed, the attempt exists, or attempts are counted of a debt that
-- there is not) is set aside for store::recheck: it must neither be charged nor be met again by every claim.
set_aside as (
    update billd.subscription s
    set recheck = true
    where s.id = any (array(select id from ready where not may_begin))
)
select
    r.attempt_uid as "merchant_uid!",
    r.next_charge_at as "next_charge_at: jiff_sqlx::Timestamp",
    r.id as "subscription_id!",
    r.period as "period!: jiff_sqlx::Date",
    r.attempt_no as "attempt_no!",
    r.claim_fence as "fence!",
    r.debt_amount as "amount!",
    r.debt_currency as "currency!",
    r.customer_uid as "customer_uid!",
    0::smallint as "asks!",
    0::smallint as "not_found!",
    1::smallint as "sends!",
    false as "parked!",
    false as "by_card!",
    0::float8 as "age_seconds!",
    r.declines as "declines!",
    case when r.is_again then r.not_sent else 0::smallint end as "earlier_not_sent!",
    r.name as "name!",
    r.interval_unit as "interval_unit!",
    r.interval_count as "interval_count!",
    r.time_zone as "time_zone!",
    r.anchor_at as "anchor_at!: jiff_sqlx::Timestamp",
    r.due_at as "due_at!: jiff_sqlx::Timestamp",
    r.debt_tax_free as tax_free, r.debt_vat_amount as vat_amount, r.buyer_name, r.buyer_email, r.buyer_tel,
    r.buyer_addr, r.buyer_postcode, r.debt_card_quota as card_quota, r.custom_data, r.notice_url,
    r.channel_key, r.product_type,
    r.gateway_options::text as "gateway_options!",
    k.now as "now!: jiff_sqlx::Timestamp",
    (select first_at from budget) as "first_at: jiff_sqlx::Timestamp"
from ready r
cross join clock k
where r.may_begin
