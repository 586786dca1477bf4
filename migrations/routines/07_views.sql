-- What people look at.

create or replace view billd.paid_twice as
select a.subscription_id, a.period, count(*) as payments, sum(a.amount - a.cancelled_amount) as kept,
       array_agg(a.merchant_uid order by a.attempt_no) as merchant_uids
from (select distinct subscription_id, period from billd.charge_attempt where attempt_no > 1) r
cross join lateral billd.attempts_of(r.subscription_id, r.period) a
where a.state = 'paid' and a.cancelled_amount < a.amount
group by a.subscription_id, a.period
having count(*) > 1;
comment on view billd.paid_twice is 'Debts for which money moved more than once. Must be empty; give the surplus back.';

create or replace view billd.time_billed_twice as
select c.subscription_id, c.before as period, c.period as other_period, c.due_at as from_at,
       least(c.until_at, c.until_before) as until_at
from (
    select c.*, lag(c.period) over debts as before,
        max(c.until_at) over (partition by c.subscription_id order by c.due_at, c.period
            rows between unbounded preceding and 1 preceding) as until_before
    from billd.billing_cycle c where c.state <> 'void'
    window debts as (partition by c.subscription_id order by c.due_at, c.period)
) c
where c.due_at < c.until_before;
comment on view billd.time_billed_twice is
    'Times that two debts of a subscription pay for. Must be empty; a payment that came to light late may put a row here: give it back.';

create or replace view billd.under_way as
select a.*
from billd.subscription s
join billd.charge_attempt a on a.merchant_uid = s.open_attempt
where s.state = 'active' and s.next_charge_at <= billd.now() and not s.recheck and a.state = 'started'
union all
select a.*
from billd.subscription s
cross join lateral billd.attempts_of(s.id) a
where s.recheck and a.state = 'started';
comment on view billd.under_way is
    'Attempts that were begun and whose outcome is not recorded yet. An index of them would have to be written twice for every charge; so they are looked up from what is due.';
