-- store::notice_abandoned: finds attempts whose lease has ended without an outcome, for store::claim_open.
--
-- Their subscriptions are still due, and lie where claims begin, at the front of what is due; or they wait to
-- be derived again, if somebody has moved them from there.
--
-- $1 most subscriptions to look at
with clock as materialized (
    select billd.now() as now, (select lease from billd.server) as lease
),
due as materialized (
    (select s.id, s.period as first_period, s.period as last_period
    from billd.subscription s
    where s.state = 'active'
      and s.next_charge_at <= (select now from clock)
      and s.open_attempt is null
    order by s.next_charge_at, s.id
    limit $1::int)
    union all
    (select s.id, date '2000-01-01', date '2099-12-31'
    from billd.subscription s
    where s.recheck
    order by s.id
    limit $1::int)
),
abandoned as materialized (
    select a.merchant_uid
    from due d
    cross join clock k
    cross join lateral (
        select a.merchant_uid
        from billd.charge_attempt a
        where a.merchant_uid between billd.merchant_uid(d.id, d.first_period, 0)
                and billd.merchant_uid(d.id, d.last_period, 99)
          and a.state = 'started' and a.ask_at is null and a.started_at + k.lease <= k.now
        for no key update skip locked
    ) a
)
update billd.charge_attempt a
set ask_at = a.started_at + k.lease
from clock k
where a.merchant_uid = any (array(select merchant_uid from abandoned))
