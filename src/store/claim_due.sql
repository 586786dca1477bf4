-- store::claim_due: locks what is due, writes the attempts down and notes them on their rows, in one commit.
-- $1 most rows · $2 lease in seconds · $3, $4 where the last claim ended, or null to look at all that is due
with clock as materialized (
    select billd.now() as now, billd_internal.next_fence(0) as fence, set_config('billd.writer', 'claim_due', true),
        billd_internal.may_charge(make_interval(secs => $2::float8)) is null as may_charge
),
-- In the order of the index. A row that changed since this statement began is judged as it is when it is locked.
due as materialized (
    select s.*, billd_internal.gateway_fields(s) as gateway_fields
    from billd.subscription s
    where (select may_charge from clock)
      and s.state = 'active' and s.next_charge_at <= (select now from clock)
      and (s.next_charge_at, s.id) > (
          coalesce($3::timestamptz, '-infinity'), coalesce($4::uuid, '00000000-0000-0000-0000-000000000000'))
      and s.open_attempt is null and not s.recheck and s.attempts < 99
    order by s.next_charge_at, s.id
    limit $1::int
    for no key update skip locked
),
-- The debt that is asked for: that of a retry, or a new one; and the attempt of it that did not leave, which keeps
-- its name while sum and card are the same. Who holds one of them keeps its subscription waiting, and no other.
asked as materialized (
    select d.*, debt.*, last.merchant_uid as unsent, last.not_sent, coalesce((last.amount, last.currency,
            last.customer_uid) = (debt.debt_amount, debt.debt_currency, d.customer_uid), false) as is_again
    from due d
    cross join lateral (
        select c.state as debt_state, c.amount as debt_amount, c.currency as debt_currency,
            c.tax_free as debt_tax_free, c.vat_amount as debt_vat_amount, c.card_quota as debt_card_quota
        from (select c.* from billd.billing_cycle c where c.subscription_id = d.id and c.period = d.period
              for no key update skip locked) c
        union all
        select 'new', d.amount, d.currency, d.tax_free, d.vat_amount, d.card_quota where not exists (
            select from billd.billing_cycle c where c.subscription_id = d.id and c.period = d.period)
    ) debt
    left join lateral (
        select u.* from billd_internal.unsent_attempt u
        where d.attempts > 0 and u.merchant_uid = billd.merchant_uid(d.id, d.period, d.attempts)
        limit 1
    ) last on true
    where last.merchant_uid is null or exists (
        select from billd.charge_attempt a where a.merchant_uid = last.merchant_uid and a.state = 'not_sent'
        for no key update skip locked)
),
ready as materialized (
    select a.*, k.now, greatest(a.fence + 1, k.fence) as claim_fence, (a.attempts + (not a.is_again)::int)::smallint
            as attempt_no, billd.merchant_uid(a.id, a.period, a.attempts + (not a.is_again)::int) as merchant_uid,
        case a.debt_state when 'due' then true else a.debt_state = 'new' and a.attempts = 0 and not a.adjusted
            and a.due_at >= a.settled_until and a.until_at > a.due_at
            and (a.until_at > k.now or a.catch_up = 'all') end as may_begin
    from asked a, clock k
),
debt as (
    insert into billd.billing_cycle
        (subscription_id, period, amount, currency, tax_free, vat_amount, card_quota, due_at, until_at, opened_at)
    select id, period, amount, currency, tax_free, vat_amount, card_quota, due_at, until_at, now
    from ready where may_begin and debt_state = 'new'
    returning subscription_id, amount, currency
),
begun as (
    insert into billd.charge_attempt
        (merchant_uid, subscription_id, period, attempt_no, amount, currency, customer_uid, started_at, fence)
    select merchant_uid, id, period, attempt_no, debt_amount, debt_currency, customer_uid, now, claim_fence
    from ready where may_begin and not is_again
    on conflict do nothing
    returning merchant_uid, amount, currency, customer_uid
),
begun_again as (
    update billd.charge_attempt a
    set state = 'started', started_at = r.now, finished_at = null, reason = null, message = null, fence = r.claim_fence
    from ready r where r.may_begin and r.is_again and a.merchant_uid = r.merchant_uid
    returning a.merchant_uid, a.amount, a.currency, a.customer_uid
),
asking as (
    select * from begun union all select * from begun_again
),
-- What can't begin (its debt is closed, its name taken, its time settled) is planned anew, and not met again by every claim.
noted as (
    update billd.subscription s
    set open_attempt = case when r.has_begun then r.merchant_uid end, fence = r.claim_fence, recheck = not r.has_begun,
        row_version = s.row_version + 2
    from (
        -- Sums as they were written: a trigger of somebody's may have made others of them. Then nothing is sent.
        select *, merchant_uid in (select b.merchant_uid from asking b) as has_begun,
            (merchant_uid, debt_amount, debt_currency, customer_uid) in (table asking) and (debt_state <> 'new'
                or (id, debt_amount, debt_currency) in (table debt)) as is_as_written
        from ready
    ) r
    where s.id = r.id
    returning r.*
)
select
    n.merchant_uid as "merchant_uid!", n.next_charge_at as "next_charge_at: jiff_sqlx::Timestamp",
    n.id as "subscription_id?", n.period as "period?: jiff_sqlx::Date", n.attempt_no as "attempt_no?",
    n.claim_fence as "fence!", n.debt_amount as "amount!", n.debt_currency as "currency!",
    n.customer_uid as "customer_uid?", n.name as "name!", n.debt_tax_free as tax_free,
    n.debt_vat_amount as vat_amount, n.debt_card_quota as card_quota, n.gateway_fields as "gateway_fields!",
    n.due_at as "due_at!: jiff_sqlx::Timestamp",
    n.declines as "declines!", case when n.is_again then n.not_sent else 0::smallint end as "earlier_not_sent!",
    n.is_as_written as "may_leave!", 0::smallint as "asks!", 0::smallint as "not_found!", 1::smallint as "sends!", false as "parked!",
    false as "by_card!", 0::float8 as "age_seconds!", n.now as "now!: jiff_sqlx::Timestamp"
from noted n
where n.has_begun
