-- The re-plan: derives from the rows what follows for one subscription, and writes it down. It looks at facts only,
-- so it may run at any time, and repeatedly.

create or replace function billd_internal.settle(
    inout s billd.subscription, out debt billd.billing_cycle, out closed boolean
)
language plpgsql volatile
as $$
begin
    -- Money that moved closes its debt, whichever period the row has gone on to.
    update billd.billing_cycle c
    set state = 'paid', closed_at = coalesce(c.closed_at, billd.now()), reason = null
    where c.subscription_id = s.id and c.state not in ('paid', 'free')
      and exists (select from billd.attempts_of(s.id, c.period) a where a.state = 'paid');
    if found then
        select greatest(s.paid_until, max(c.until_at)), greatest(s.settled_until, max(c.until_at))
        into s.paid_until, s.settled_until
        from billd.billing_cycle c where c.subscription_id = s.id and c.state = 'paid';
    end if;
    select * into debt from billd.billing_cycle c where c.subscription_id = s.id and c.period = s.period;
    closed := debt.state in ('paid', 'free', 'void');
    if closed and debt.reason is distinct from billd_internal.void_of_cancellation() then
        s.settled_until := greatest(s.settled_until, debt.until_at);
        s.periods_left := case when s.periods_left > 0 then s.periods_left - 1 else s.periods_left end;
    end if;
    if debt.state in ('paid', 'free') then
        s.paid_until := greatest(s.paid_until, debt.until_at);
        if s.state = 'past_due' then
            s.state := 'active';
            s.state_reason := null;
        end if;
    elsif debt.state in ('due', 'unresolved') then
        update billd.billing_cycle c set state = 'due'
        where c.subscription_id = s.id and c.period = s.period and c.state = 'unresolved';
        s.due_at := debt.due_at;
        s.until_at := debt.until_at;
    end if;
end
$$;
comment on function billd_internal.settle(billd.subscription) is
    'Brings the debt of the current period and the cursor in line with what is known of the money.';

create or replace function billd_internal.void_of_cancellation() returns text
language sql immutable parallel safe
as $$ select 'the subscription was cancelled' $$;
comment on function billd_internal.void_of_cancellation() is
    'The reason of a debt that became void because the subscription was cancelled. Its time was not used, so it may be billed again.';

create or replace function billd_internal.open_period(
    s billd.subscription, from_at timestamptz, until_at timestamptz, state text, amount bigint, why text
) returns date
language plpgsql volatile
as $$
declare
    last_name date := (select max(c.period) from billd.billing_cycle c where c.subscription_id = s.id);
    -- Civil dates can come twice. The name of a planned period stays what it is.
    name date := case when from_at = s.due_at and coalesce(s.period > last_name, true) then s.period
        else billd_internal.period_name(from_at, s.time_zone, last_name) end;
    -- Tax is a share of the sum.
    tax_free bigint := case when amount = s.amount then s.tax_free else s.tax_free * amount / nullif(s.amount, 0) end;
    vat_amount bigint := case when amount = s.amount then s.vat_amount
        else s.vat_amount * amount / nullif(s.amount, 0) end;
begin
    insert into billd.billing_cycle
        (subscription_id, period, amount, currency, tax_free, vat_amount, card_quota, due_at, until_at,
         opened_at, state, closed_at, reason)
    values (s.id, name, amount, s.currency, tax_free, vat_amount,
        case when amount >= 50000 or s.card_quota = 0 then s.card_quota end, from_at, until_at, billd.now(), state,
        case when state in ('free', 'void') then billd.now() end, why);
    return name;
end
$$;
comment on function billd_internal.open_period(billd.subscription, timestamptz, timestamptz, text, bigint, text) is
    'Writes a period down that no claim opens: a debt of an unusual sum, one that is free, a time that is passed over. Returns its name.';

create or replace function billd_internal.plan(
    inout s billd.subscription, debt billd.billing_cycle, closed boolean, pace interval, out said text
)
language plpgsql volatile
as $$
declare
    now timestamptz := billd.now();
    next record;
    settled record;
    free_from timestamptz;
    price bigint;
begin
    for step in 1 .. 1000 loop
        next := billd_internal.next_period(s, now);
        said := next.step;
        exit when next.step in ('unreadable', 'end');
        free_from := case when closed then debt.until_at else s.due_at end;
        -- Later on the same day it is the same period, which begins late.
        if free_from <= now and next.step = 'period' and (free_from at time zone s.time_zone)::date
            < (next.from_at at time zone s.time_zone)::date
        then
            s.period := billd_internal.open_period(s, free_from, next.from_at, 'void', s.amount, case
                when next.missed then 'missed; catch_up is ' || s.catch_up
                when s.settled_until > free_from then 'fell due while the subscription was not active'
                else 'free until the billing day' end);
            s.due_at := free_from;
            closed := true;
            debt.state := 'void';
        end if;
        if next.missed and next.step = 'period' then
            s.settled_until := next.from_at;
        end if;
        if closed or next.from_at <> s.due_at then
            s.next_charge_at := case
                when next.from_at > now then next.from_at
                when debt.state = 'paid' then now + pace
                else now
            end;
            s.period := billd_internal.period_name(next.from_at, s.time_zone, (
                select max(c.period) from billd.billing_cycle c where c.subscription_id = s.id));
            s.due_at := next.from_at;
        end if;
        s.until_at := next.until_at;
        s.attempts := 0;
        s.declines := 0;
        s.held := case when next.step = 'hold' then 'catch_up' else s.held end;
        s.next_charge_at := greatest(coalesce(s.next_charge_at, now), s.due_at);
        s.adjusted := not billd_internal.is_plain(s);
        price := billd_internal.period_price(s, s.due_at, s.until_at, next.whole_until);
        -- R6: no row, no debt. It is opened once it is due, and not before it is to be asked for.
        exit when not s.adjusted or s.state <> 'active' or s.held is not null or s.due_at > now
            or s.next_charge_at > now and price > 0;
        perform billd_internal.open_period(
            s, s.due_at, s.until_at, case when price = 0 then 'free' else 'due' end, price, null);
        exit when price > 0;
        s.recheck := step = 1000;
        settled := billd_internal.settle(s);
        s := settled.s;
        debt := settled.debt;
        closed := true;
    end loop;
end
$$;
comment on function billd_internal.plan(billd.subscription, billd.billing_cycle, boolean, interval) is
    'Moves a row on to the period that comes next, and opens that one if it is due and not plain. What is passed over is written down, and why.';

create or replace function billd_internal.replan(
    subscription_id uuid, pace interval, out said text, out is_broken boolean
)
language plpgsql volatile
as $$
declare
    writer text := coalesce(current_setting('billd.writer', true), '');
    s billd.subscription;
    debt billd.billing_cycle;
    settled record;
    planned record;
begin
    select * into s from billd.subscription t where t.id = replan.subscription_id for no key update;
    if s.id is null or billd_internal.has_open_attempt(s.id) then
        return;
    end if;
    perform set_config('billd.writer', 'plan', true);
    s.recheck := false;
    s.open_attempt := null;
    s.settled_until := coalesce(s.settled_until, s.due_at);
    s.catch_up := coalesce(s.catch_up, 'all');
    if s.held = 'catch_up' and s.catch_up <> 'hold' then
        s.held := null;
    end if;
    s := billd_internal.take_up(s);
    settled := billd_internal.settle(s);
    s := settled.s;
    debt := settled.debt;
    is_broken := false;
    said := 'goes on as planned';
    if debt.state in ('due', 'unresolved') then
        s.attempts := greatest(s.attempts, (
            select coalesce(max(a.attempt_no), 0) from billd.attempts_of(s.id, s.period) a));
        s.next_charge_at := coalesce(s.next_charge_at, case when s.state = 'active' then billd.now() end);
    elsif debt.state = 'uncollectible' then
        if s.state = 'active' then
            s.state := 'past_due';
            s.state_reason := coalesce(debt.reason, 'the debt of this period was finally declined');
            s.next_charge_at := null;
            said := 'the debt is uncollectible';
        end if;
    elsif s.state = 'active'
        or settled.closed and debt.reason is distinct from billd_internal.void_of_cancellation()
    then
        planned := billd_internal.plan(s, debt, coalesce(settled.closed, false), pace);
        s := planned.s;
        said := planned.said;
        if said = 'unreadable' then
            is_broken := true;
            said := format('the calendar can''t be read: %s of %s in %s', s.interval_unit, s.anchor_at, s.time_zone);
            s.state_reason := 'bad_row; ' || said;
            s.state := case when s.state = 'active' then 'past_due' else s.state end;
            s.next_charge_at := null;
        elsif said = 'end' then
            s.state_reason := case when s.state = 'cancelled' then s.state_reason else 'ended as agreed' end;
            s.state := 'cancelled';
            s.next_charge_at := null;
        else
            said := concat_ws('; ', 'the debt is ' || debt.state, 'next period ' || s.period);
        end if;
    elsif debt.state is null then
        s.attempts := 0;
        s.declines := 0;
    end if;
    if s.held is not null then
        s.next_charge_at := null;
    end if;
    update billd.subscription t
    set recheck = s.recheck, fence = billd_internal.next_fence(t.fence), open_attempt = null,
        -- Whoever has written the row raises its version, and only once.
        row_version = t.row_version + case writer when 'update' then 0 else 2 end,
        state = s.state, state_reason = s.state_reason, period = s.period, due_at = s.due_at, until_at = s.until_at,
        settled_until = s.settled_until, paid_until = s.paid_until, periods_left = s.periods_left,
        catch_up = s.catch_up, attempts = s.attempts, declines = s.declines,
        next_charge_at = s.next_charge_at, held = s.held, adjusted = s.adjusted
    where t.id = s.id;
    perform set_config('billd.writer', writer, true);
end
$$;
comment on function billd_internal.replan(uuid, interval) is
    'Derives again what follows for one subscription. Returns null if an attempt of it is open: that one is recorded first.';
