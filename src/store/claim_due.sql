-- store::claim_due: locks what is due, raises the fence, and writes the attempts down, in one commit.
--
-- $1 most rows · $2 lease in seconds · $3 requests per second, 0 for no cap
with clock as materialized (
    select billd.now() as now
),
-- With a cap: the places in the row, over all daemons, that lie within the next fifth of a second. A
-- daemon that is slow to use its places can so crowd those of others by a fifth of the cap at most.
-- The row lock makes daemons take turns; without a cap nothing is locked.
budget as materialized (
    select
        greatest(r.next_free_at, c.now) as first_at,
        greatest(0, 1 + floor(
            extract(epoch from c.now + interval '200 ms' - greatest(r.next_free_at, c.now)) * $3::int
        ))::int as slots
    from billd.rate_limit r, clock c
    where $3::int > 0
    for update of r
),
due as materialized (
    select s.*
    from billd.subscription s
    where s.state = 'active'
      and s.next_charge_at <= (select now from clock)
      and s.open_attempt is null
      and not s.recheck
      and s.attempts < 99
    order by s.next_charge_at
    limit least($1::int, coalesce((select slots from budget), $1::int))
    for no key update skip locked
),
-- The debt of a retry exists already. One that somebody has locked is left for later, together with
-- its subscription: waiting for it would hold up all the others.
held as materialized (
    select c.subscription_id
    from due d
    join billd.billing_cycle c on c.subscription_id = d.id and c.period = d.period
    where d.attempts > 0
    for no key update of c skip locked
),
ready as materialized (
    select d.*
    from due d
    where d.attempts = 0 or d.id in (select subscription_id from held)
),
spent as (
    update billd.rate_limit r
    set next_free_at = b.first_at + make_interval(secs => (select count(*) from ready) / greatest($3::int, 1)::float8)
    from budget b
    where exists (select from ready)
),
-- The first attempt of a period opens its cycle and so fixes the sum; a retry finds it due. The
-- no-op update is what makes an existing cycle come back.
cycle as (
    insert into billd.billing_cycle as c
        (subscription_id, period, amount, currency, tax_free, vat_amount, card_quota, due_at, opened_at)
    select d.id, d.period, d.amount, d.currency, d.tax_free, d.vat_amount, d.card_quota, d.due_at, k.now
    from ready d, clock k
    on conflict (subscription_id, period) do update set state = c.state where c.state = 'due'
    returning c.*
),
attempt as (
    insert into billd.charge_attempt
        (merchant_uid, subscription_id, period, attempt_no, amount, currency, customer_uid,
         state, started_at, ask_at, fence)
    select
        billd.merchant_uid(d.id, d.period, d.attempts + 1), d.id, d.period, d.attempts + 1,
        c.amount, c.currency, d.customer_uid,
        'started', k.now, k.now + make_interval(secs => $2::float8), d.fence + 1
    from ready d
    join cycle c on c.subscription_id = d.id
    cross join clock k
    on conflict do nothing
    returning merchant_uid, subscription_id
),
-- Joined by id and not by ctid: the row may have been updated between this statement's snapshot and
-- its lock, and only a join by id finds the version that was locked. The array is for the planner,
-- which can't know how few rows the limit lets through and would read the whole table.
--
-- A row that could not begin (its cycle is closed, or the attempt exists) is set aside for
-- store::recheck: it must neither be charged nor be met again by every claim.
claimed as (
    update billd.subscription s
    set fence = s.fence + 1,
        open_attempt = a.merchant_uid,
        attempts = s.attempts + (a.merchant_uid is not null)::int,
        recheck = a.merchant_uid is null
    from ready d
    left join attempt a on a.subscription_id = d.id
    where s.id = any (array(select id from ready)) and s.id = d.id
    returning s.*
)
select
    s.open_attempt as "merchant_uid!",
    s.id as "subscription_id!",
    s.period as "period!: jiff_sqlx::Date",
    s.attempts as "attempt_no!",
    s.fence as "fence!",
    c.amount as "amount!",
    c.currency as "currency!",
    s.customer_uid as "customer_uid!",
    0::smallint as "asks!",
    0::smallint as "not_found!",
    1::smallint as "sends!",
    false as "parked!",
    false as "by_card!",
    0::float8 as "age_seconds!",
    s.declines as "declines!",
    s.name as "name!",
    s.interval_unit as "interval_unit!",
    s.interval_count as "interval_count!",
    s.time_zone as "time_zone!",
    s.anchor_at as "anchor_at!: jiff_sqlx::Timestamp",
    s.due_at as "due_at!: jiff_sqlx::Timestamp",
    c.tax_free, c.vat_amount, s.buyer_name, s.buyer_email, s.buyer_tel, s.buyer_addr,
    s.buyer_postcode, c.card_quota, s.custom_data, s.notice_url, s.channel_key, s.product_type,
    s.gateway_options::text as "gateway_options!",
    k.now as "now!: jiff_sqlx::Timestamp",
    greatest(0, extract(epoch from (select first_at from budget) - k.now))::float8 as first_in_seconds
from claimed s
join cycle c on c.subscription_id = s.id
cross join clock k
where s.open_attempt is not null
order by s.due_at, s.id
