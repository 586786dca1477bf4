-- What follows from an outcome and its decision, for the statement that records them. Each is stable if what it calls is:
-- PostgreSQL inlines a function only if it promises no more than its body.

create or replace function billd_internal.ask_at(
    a billd.charge_attempt, state text, decision text, wait_seconds float8, lease_seconds float8, now timestamptz
) returns timestamptz
language sql stable parallel safe
as $$
    select case
        when decision = 'send_again' and a.state = 'started' then a.ask_at
        when decision = 'send_again' then now + make_interval(secs => lease_seconds)
        when ask_at.state = 'unknown' then now + make_interval(secs => wait_seconds)
    end
$$;
comment on function billd_internal.ask_at(billd.charge_attempt, text, text, float8, float8, timestamptz) is
    'From when the gateway is asked about an attempt: after the lease if it leaves again, after the wait while its fate is unknown, else never.';

create or replace function billd_internal.next_charge_at(
    decision text, next_due_at timestamptz, wait_seconds float8, catch_up_seconds float8, now timestamptz
) returns timestamptz
language sql stable parallel safe
as $$
    select case decision
        when 'advance' then case
            when next_due_at is null or next_due_at > now then next_due_at
            else now + make_interval(secs => catch_up_seconds)
        end
        when 'retry' then now + make_interval(secs => wait_seconds)
    end
$$;
comment on function billd_internal.next_charge_at(text, timestamptz, float8, float8, timestamptz) is
    'When money is asked for next. A period that fell due meanwhile waits for the catch-up pace; null while nothing is planned.';

create or replace function billd_internal.cycle_state(decision text, outcome text, subscription_state text)
returns text
language sql immutable parallel safe
as $$
    select case
        when decision = 'advance' then 'paid'
        when outcome = 'unknown' then 'unresolved'
        when subscription_state = 'cancelled' then 'void'
        when decision = 'give_up' then 'uncollectible'
        else 'due'
    end
$$;
comment on function billd_internal.cycle_state(text, text, text) is
    'The state of a debt after an attempt for it. A debt of a subscription that was cancelled meanwhile is not asked for again.';

create or replace function billd_internal.goes_on(
    decision text, adjusted boolean, settled_until timestamptz, until_at timestamptz
) returns boolean
language sql immutable parallel safe
as $$
    select decision = 'advance' and not adjusted and coalesce(settled_until <= until_at, false)
        and until_at < timestamptz '2099-12-30 00:00Z'
$$;
comment on function billd_internal.goes_on(text, boolean, timestamptz, timestamptz) is
    'Whether a paid subscription goes on where its period ends. Else the re-plan says how.';

create or replace function billd_internal.may_leave_again(a billd.charge_attempt) returns boolean
language sql stable
as $$
    select a.subscription_id is null or exists (
        select from billd.subscription s
        join billd.billing_cycle c on c.subscription_id = s.id and c.period = a.period
        where s.id = a.subscription_id and s.state = 'active' and s.held is null and s.customer_uid = a.customer_uid
          and (c.amount, c.currency) = (a.amount, a.currency))
$$;
comment on function billd_internal.may_leave_again(billd.charge_attempt) is
    'Whether an attempt that the gateway knows nothing of may be sent once more: who has left meanwhile, or has another card, is not charged by it, and the sum is that of the debt.';
