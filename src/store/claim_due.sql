-- store::claim_due: locks what is due, raises the fence, and writes the attempts down, in one commit.
--
-- Nothing while `billd.at_rest`. A request that did not leave keeps its name: its attempt is opened again,
-- because only the gateway's refusal of a paid name tells of a payment that a fail-over made us forget.
--
-- $1 most rows · $2 lease in seconds · $3 seconds between two places under a rate cap, 0 for no cap · $4, $5
-- where the last claim ended, or null to look at all that is due
with clock as materialized (
    select billd.now() as now, billd.next_fence(0) as fence
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
due as materialized (
    select d.*, billd.merchant_uid(d.id, d.period, d.attempts + 1) as merchant_uid,
        case when d.attempts > 0 then billd.merchant_uid(d.id, d.period, d.attempts) end as merchant_uid_before
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
        order by s.next_charge_at, s.id
        limit $1::int
        for no key update skip locked
    ) d
    limit coalesce((select slots from budget), $1::int)
),
-- What the book holds of these already. Looked up row by row, whatever the planner thinks of the tables;
-- nobody else begins an attempt of a row that is locked here.
looked as materialized (
    select d.*, c.period is not null as has_debt,
        coalesce(a.merchant_uid, o.merchant_uid) is not null as has_attempt,
        b.merchant_uid is not null as did_not_leave
    from due d
    left join lateral (
        select c.period from billd.billing_cycle c
        where c.subscription_id = d.id and c.period = d.period
        limit 1
    ) c on true
    left join lateral (
        select a.merchant_uid from billd.charge_attempt a
        where a.merchant_uid = d.merchant_uid
        limit 1
    ) a on true
    left join lateral (
        select o.merchant_uid from billd.charge_attempt o
        where o.subscription_id = d.id and o.state in ('started', 'unknown')
        limit 1
    ) o on true
    left join lateral (
        select b.merchant_uid from billd.charge_attempt b
        where d.attempts > 0 and b.merchant_uid = d.merchant_uid_before
          and b.state = 'not_sent' and b.not_sent > 0 and not b.by_card
        limit 1
    ) b on true
),
-- The debt of a retry exists already, and says what is asked for. One that somebody has locked is left
-- for later, together with its subscription: waiting for it would hold up all the others.
held as materialized (
    select l.id, c.state, c.amount, c.currency, c.tax_free, c.vat_amount, c.card_quota
    from looked l
    cross join lateral (
        select c.* from billd.billing_cycle c
        where c.subscription_id = l.id and c.period = l.period
        for no key update skip locked
    ) c
    where l.has_debt
),
-- What did not leave. One that somebody has locked or changed is left for later, too: a further name
-- would be wrong.
again as materialized (
    select l.id, b.amount, b.currency, b.customer_uid, b.not_sent
    from looked l
    cross join lateral (
        select b.* from billd.charge_attempt b
        where b.merchant_uid = l.merchant_uid_before and b.state = 'not_sent' and b.not_sent > 0
        for no key update skip locked
    ) b
    where l.did_not_leave
),
-- The first attempt of a period opens its cycle and so fixes the sum. The name is kept as long as the
-- terms are: under one name the gateway is asked for one sum, from one card. The fence is that of
-- `billd.next_fence`, with its clock read once for all rows.
ready as materialized (
    select l.id, l.period, l.merchant_uid, 1 as attempt_no, l.customer_uid, l.due_at, false as has_debt,
        not l.has_attempt as may_begin, false as is_again, 0::smallint as not_sent,
        greatest(l.fence + 1, k.fence) as fence,
        l.amount, l.currency, l.tax_free, l.vat_amount, l.card_quota
    from looked l, clock k
    where not l.has_debt and l.attempts = 0
    union all
    select l.id, l.period, case when g.is_kept then l.merchant_uid_before else l.merchant_uid end,
        l.attempts + (not g.is_kept)::int, l.customer_uid, l.due_at, true,
        h.state = 'due' and not l.has_attempt, g.is_kept,
        case when g.is_kept then r.not_sent else 0::smallint end,
        greatest(l.fence + 1, k.fence),
        h.amount, h.currency, h.tax_free, h.vat_amount, h.card_quota
    from looked l
    join held h on h.id = l.id
    left join again r on r.id = l.id
    cross join clock k
    cross join lateral (
        select coalesce(
            (r.amount, r.currency, r.customer_uid) = (h.amount, h.currency, l.customer_uid), false
        ) as is_kept
    ) g
    where not l.did_not_leave or r.id is not null
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
    select d.id, d.period, d.amount, d.currency, d.tax_free, d.vat_amount, d.card_quota, d.due_at, k.now
    from ready d, clock k
    where not d.has_debt
),
attempt as (
    insert into billd.charge_attempt
        (merchant_uid, subscription_id, period, attempt_no, amount, currency, customer_uid,
         state, started_at, ask_at, fence)
    select
        d.merchant_uid, d.id, d.period, d.attempt_no, d.amount, d.currency, d.customer_uid,
        'started', k.now, k.now + make_interval(secs => $2::float8), d.fence
    from ready d, clock k
    where d.may_begin and not d.is_again
),
opened_again as (
    update billd.charge_attempt a
    set state = 'started',
        started_at = k.now,
        ask_at = k.now + make_interval(secs => $2::float8),
        finished_at = null,
        reason = null,
        message = null,
        fence = d.fence
    from ready d, clock k
    where a.merchant_uid = any (array(select merchant_uid from ready where may_begin and is_again))
      and a.merchant_uid = d.merchant_uid
),
-- Joined by id and not by ctid: the row may have been updated between this statement's snapshot and
-- its lock, and only a join by id finds the version that was locked. The array is for the planner,
-- which can't know how few rows the limit lets through and would read the whole table.
--
-- A row that may not begin (its cycle is closed, or the attempt exists) is set aside for
-- store::recheck: it must neither be charged nor be met again by every claim.
claimed as (
    update billd.subscription s
    set fence = b.fence,
        open_attempt = case when b.may_begin then b.merchant_uid end,
        attempts = case when b.may_begin then b.attempt_no else s.attempts end,
        recheck = not b.may_begin
    from ready b
    where s.id = any (array(select id from ready)) and s.id = b.id
    returning s.*, b.not_sent, b.amount as debt_amount, b.currency as debt_currency,
        b.tax_free as debt_tax_free, b.vat_amount as debt_vat_amount, b.card_quota as debt_card_quota
)
select
    s.open_attempt as "merchant_uid!",
    s.next_charge_at as "next_charge_at: jiff_sqlx::Timestamp",
    s.id as "subscription_id!",
    s.period as "period!: jiff_sqlx::Date",
    s.attempts as "attempt_no!",
    s.fence as "fence!",
    s.debt_amount as "amount!",
    s.debt_currency as "currency!",
    s.customer_uid as "customer_uid!",
    0::smallint as "asks!",
    0::smallint as "not_found!",
    1::smallint as "sends!",
    false as "parked!",
    false as "by_card!",
    0::float8 as "age_seconds!",
    s.declines as "declines!",
    s.not_sent as "earlier_not_sent!",
    s.name as "name!",
    s.interval_unit as "interval_unit!",
    s.interval_count as "interval_count!",
    s.time_zone as "time_zone!",
    s.anchor_at as "anchor_at!: jiff_sqlx::Timestamp",
    s.due_at as "due_at!: jiff_sqlx::Timestamp",
    s.debt_tax_free as tax_free, s.debt_vat_amount as vat_amount, s.buyer_name, s.buyer_email, s.buyer_tel,
    s.buyer_addr, s.buyer_postcode, s.debt_card_quota as card_quota, s.custom_data, s.notice_url, s.channel_key, s.product_type,
    s.gateway_options::text as "gateway_options!",
    k.now as "now!: jiff_sqlx::Timestamp",
    (select first_at from budget) as "first_at: jiff_sqlx::Timestamp"
from claimed s
cross join clock k
where s.open_attempt is not null
