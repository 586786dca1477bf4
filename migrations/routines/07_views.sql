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

create or replace view billd.consent_due as
select x.*, x.consent is null as needs_consent, x.kind = 'conversion' and x.notice is null as needs_notice
from (
    select p.subscription_id, 'increase' as kind, s.amount as old_amount, p.new_amount, p.effective_on,
        (select max(c.id) from billd.consent c
         where c.subscription_id = s.id and c.kind = 'increase' and c.withdrawn_at is null and c.new_amount >= p.new_amount
           and c.effective_on <= p.effective_on and (c.given_at at time zone 'Asia/Seoul')::date >= c.effective_on - 30
           and (c.given_at at time zone 'Asia/Seoul')::date < c.effective_on + (c.method = 'by_payer')::int) as consent,
        null::bigint as notice
    from (
        select c.subscription_id, (c.change ->> 'amount')::bigint as new_amount,
            (coalesce(c.effective_at, t.settled_until) at time zone 'Asia/Seoul')::date as effective_on
        from billd.planned_change c
        join billd.subscription t on t.id = c.subscription_id and t.state <> 'cancelled'
        where c.state = 'pending' and c.change ? 'amount'
    ) p
    join billd.subscription s on s.id = p.subscription_id and s.amount > 0 and p.new_amount > s.amount
    union all
    select s.id, 'conversion', 0, s.amount, d.effective_on,
        (select max(c.id) from billd.consent c
         where c.subscription_id = s.id and c.kind = 'conversion' and c.withdrawn_at is null and c.new_amount >= s.amount
           and c.effective_on <= d.effective_on and (c.given_at at time zone 'Asia/Seoul')::date
               between c.effective_on - 30 and c.effective_on - 1),
        (select max(c.id) from billd.consent c
         where c.subscription_id = s.id and c.kind = 'notice' and c.withdrawn_at is null
           and (c.given_at at time zone 'Asia/Seoul')::date <= d.effective_on - 7)
    from billd.subscription s
    cross join lateral (select (s.due_at at time zone 'Asia/Seoul')::date as effective_on) d
    -- A trial that has not been followed by a charge.
    where s.state <> 'cancelled' and s.trial_until is not null and s.due_at >= s.trial_until and s.amount > 0
      and not exists (
        select from billd.billing_cycle c
        where c.subscription_id = s.id and c.state in ('due', 'unresolved', 'paid', 'uncollectible'))
) x
where x.effective_on <= (billd.now() at time zone 'Asia/Seoul')::date + 30;
comment on view billd.consent_due is
    'Rises of price and ends of trials within 30 days, with the consent and the notice that the payer has given or got; null if it is missing. Consent counts from 30 days before to the day before, a notice until a week before.';
