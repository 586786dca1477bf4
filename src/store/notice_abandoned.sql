-- store::notice_abandoned: finds attempts whose lease has ended without an outcome, for store::claim_open.
--
-- Their subscriptions are still due, and lie where claims begin, at the front of what is due; or they wait to be
-- derived again, if somebody has moved them from there.
--
-- $1 most subscriptions to look at
with clock as materialized (
    select billd.now() as now, lease from billd.control
),
front as materialized (
    (select s.open_attempt
    from billd.subscription s
    where s.state = 'active' and s.next_charge_at <= (select now from clock)
    order by s.next_charge_at, s.id
    limit $1::int)
    union all
    -- By name, because whoever moved it may have taken the mark away.
    select a.merchant_uid
    from (select s.id from billd.subscription s where s.recheck order by s.id limit $1::int) s
    cross join lateral billd.attempts_of(s.id) a
),
abandoned as materialized (
    select a.merchant_uid
    from clock k, billd.charge_attempt a
    where a.merchant_uid = any (array(select open_attempt from front where open_attempt is not null))
      and a.state = 'started' and a.ask_at is null and a.started_at + k.lease <= k.now
    for no key update of a skip locked
)
update billd.charge_attempt a
set ask_at = a.started_at + k.lease
from clock k
where a.merchant_uid = any (array(select merchant_uid from abandoned))
