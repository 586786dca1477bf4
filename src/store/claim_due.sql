-- store::claim_due: locks what is due, writes the attempts down and notes them on their rows, in one commit.
-- $1 most rows · $2 lease in seconds · $3, $4 where the last claim ended, or null to look at all that is due
-- $5 channels that are passed by; null if none is, which costs nothing
with clock as materialized (
    select billd.now() as now, billd_internal.next_fence(0) as fence, set_config('billd.writer', 'claim_due', true),
        billd_internal.may_charge(make_interval(secs => $2::float8)) is null as may_charge,
        billd_internal.may_be_rewritten() as may_be_rewritten,
        (select least_ceiling from billd.control) as least_ceiling
),
-- In the order of the index. A row that changed since this statement began is judged as it is when it is locked.
due as materialized (
    -- No more columns than are needed: each is carried through all that follows.
    select s.id, s.period, s.customer_uid, s.name, s.amount as price, s.currency as price_currency,
        s.tax_free as price_tax_free, s.vat_amount as price_vat_amount, s.card_quota as quota, s.next_charge_at, s.due_at,
        s.until_at, s.settled_until, s.attempts, s.declines, s.adjusted, s.catch_up, s.fence,
        billd_internal.gateway_fields(s) as gateway_fields
    from billd.subscription s
    where (select may_charge from clock) and s.state = 'active' and s.next_charge_at <= (select now from clock)
      and (s.next_charge_at, s.id) > (
          coalesce($3::timestamptz, '-infinity'), coalesce($4::uuid, '00000000-0000-0000-0000-000000000000'))
      and s.open_attempt is null and not s.recheck and s.attempts < 99
      and ($5::text[] is null or coalesce(s.channel_key, '') <> all ($5))
    order by s.next_charge_at, s.id limit $1::int for no key update skip locked
),
-- The debt that is asked for: that of a retry, or a new one; and the attempt of it that did not leave, which keeps
-- its name while sum and card are the same. Who holds one of them keeps its subscription waiting, and no other.
ready as materialized (
    select d.*, debt.*, last.not_sent, name.*, greatest(d.fence + 1, k.fence) as claim_fence, k.now,
        (debt.amount <= k.least_ceiling or not billd_internal.is_above_ceiling(debt.amount, debt.currency))
            and billd_internal.may_begin(debt.state, d.attempts, d.adjusted, d.due_at, d.until_at, d.settled_until,
                d.catch_up, k.now) as may_begin
    from due d
    cross join clock k
    left join lateral (
        select c.period from billd.billing_cycle c where c.subscription_id = d.id and c.period = d.period limit 1
    ) known on true
    cross join lateral (
        select c.state, c.amount, c.currency, c.tax_free, c.vat_amount, c.card_quota
        from (select c.* from billd.billing_cycle c where c.subscription_id = d.id and c.period = known.period
              for no key update skip locked) c
        union all
        select 'new', d.price, d.price_currency, d.price_tax_free, d.price_vat_amount, d.quota where known.period is null
    ) debt
    left join lateral (
        select u.* from billd_internal.unsent_attempt u
        where d.attempts > 0 and u.merchant_uid = billd.merchant_uid(d.id, d.period, d.attempts) limit 1
    ) last on true
    cross join lateral (
        select again.it as is_again, (d.attempts + (not again.it)::int)::smallint as attempt_no,
            billd.merchant_uid(d.id, d.period, d.attempts + (not again.it)::int) as merchant_uid
        from (select coalesce((last.amount, last.currency, last.customer_uid)
            = (debt.amount, debt.currency, d.customer_uid), false)) again (it)
    ) name
    where last.merchant_uid is null or exists (
        select from billd.charge_attempt a where a.merchant_uid = last.merchant_uid and a.state = 'not_sent'
        for no key update skip locked)
),
debt as (
    insert into billd.billing_cycle
        (subscription_id, period, amount, currency, tax_free, vat_amount, card_quota, due_at, until_at, opened_at)
    select id, period, amount, currency, tax_free, vat_amount, card_quota, due_at, until_at, now
    from ready where may_begin and state = 'new'
    returning subscription_id, amount, currency
),
begun as (
    insert into billd.charge_attempt
        (merchant_uid, subscription_id, period, attempt_no, amount, currency, customer_uid, started_at, fence)
    select merchant_uid, id, period, attempt_no, amount, currency, customer_uid, now, claim_fence
    from ready where may_begin and not is_again
    on conflict do nothing
    returning merchant_uid, amount, currency, customer_uid
),
begun_again as (
    update billd.charge_attempt a
    set state = 'started', started_at = r.now, finished_at = null, reason = null, message = null, fence = r.claim_fence
    from (select merchant_uid, now, claim_fence from ready where may_begin and is_again) r
    where a.merchant_uid = r.merchant_uid
    returning a.merchant_uid, a.amount, a.currency, a.customer_uid
),
asking as (select * from begun union all select * from begun_again),
-- What can't begin (its debt is closed, its name taken, its time settled, its sum above the ceiling) is planned anew,
-- and not met again by every claim.
noted as (
    update billd.subscription s
    set open_attempt = case when r.has_begun then r.merchant_uid end, fence = r.claim_fence, recheck = not r.has_begun,
        row_version = s.row_version + 2
    -- No more columns than these: PostgreSQL carries all of them along as one more row.
    from (select id, merchant_uid, claim_fence, merchant_uid in (select b.merchant_uid from asking b) as has_begun
          from ready offset 0) r
    where s.id = r.id
)
select
    r.merchant_uid as "merchant_uid!", r.next_charge_at as "next_charge_at: Instant",
    r.id as "subscription_id?", r.period as "period?: jiff_sqlx::Date", r.attempt_no as "attempt_no?",
    r.claim_fence as "fence!", r.amount as "amount!", r.currency as "currency!", r.customer_uid as "customer_uid?",
    r.name as "name!", r.tax_free, r.vat_amount, r.card_quota, r.gateway_fields as "gateway_fields!: Vec<Option<String>>",
    r.due_at as "due_at!: Instant", r.declines as "declines!",
    case when r.is_again then r.not_sent else 0::smallint end as "earlier_not_sent!",
    -- Sums as they were written: a trigger of somebody's may have made others of them. Then nothing is sent.
    not (select may_be_rewritten from clock) or (r.merchant_uid, r.amount, r.currency, r.customer_uid) in (table asking)
        and (r.state <> 'new' or (r.id, r.amount, r.currency) in (table debt)) as "may_leave!",
    0::smallint as "asks!", 0::smallint as "not_found!", 1::smallint as "sends!", false as "parked!",
    false as "by_card!", 0::float8 as "age_seconds!", r.now as "now!: jiff_sqlx::Timestamp"
from ready r
where r.merchant_uid in (select b.merchant_uid from asking b)
