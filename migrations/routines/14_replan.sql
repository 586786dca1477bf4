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
        s.periods_left := case when s.periods_left > 0 and debt.reason is distinct from 'gift'
            then s.periods_left - 1 else s.periods_left end;
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

create or replace function billd_internal.lift_hold(inout s billd.subscription)
language plpgsql stable
as $$
begin
    if s.held = 'catch_up' and s.catch_up <> 'hold' or s.held in ('sum', 'ceiling') then
        s.held := null;
    elsif s.held = 'dates' and billd_internal.has_readable_dates(s) then
        s.held := null;
    elsif s.held = 'consent' and (not billd_internal.consent_is_enforced() or billd_internal.may_follow_free_time(
        s, billd_internal.period_start(s.anchor_at, s.billing_day, s.interval_unit, s.time_zone,
            greatest(s.settled_until, billd.now()))))
    then
        -- What it waited is not billed.
        s.held := null;
        s.settled_until := greatest(s.settled_until, billd.now());
    end if;
end
$$;
comment on function billd_internal.lift_hold(billd.subscription) is
    'Lets go of what nothing holds back any more.';

create or replace function billd_internal.sum_to_ask(s billd.subscription) returns bigint
language sql stable
as $$
    select coalesce((
        select c.amount from billd.billing_cycle c
        where c.subscription_id = s.id and c.period = s.period and c.state in ('due', 'unresolved')), s.amount)
$$;
comment on function billd_internal.sum_to_ask(billd.subscription) is
    'What a claim would ask for: the open debt, else the price.';

create or replace function billd_internal.hold_above_ceiling(inout s billd.subscription)
language plpgsql stable
as $$
begin
    if s.state = 'active' and s.held is null and least(s.due_at, s.next_charge_at) <= billd.now()
        and billd_internal.is_above_ceiling(billd_internal.sum_to_ask(s), s.currency)
    then
        s.held := 'ceiling';
    end if;
end
$$;
comment on function billd_internal.hold_above_ceiling(billd.subscription) is
    'Holds what is due and more than may be asked for at once, so that a person looks at it and no other waits.';

create or replace function billd_internal.resume_owing(inout s billd.subscription, inout debt billd.billing_cycle)
language plpgsql volatile
as $$
declare
    p billd.planned_change;
begin
    select c.* into p from billd.planned_change c
    where c.subscription_id = s.id and c.state = 'pending' and c.kind = 'resume' and c.effective_at <= billd.now()
    order by c.effective_at, c.id limit 1;
    if p.id is null or debt.state is null or debt.state not in ('due', 'unresolved', 'uncollectible') then
        return;
    end if;
    perform billd_internal.finish_change(p, case when s.state = 'paused' then 'applied' else 'lapsed' end,
        s, billd_internal.apply_change(s, p, p.effective_at));
    if s.state = 'paused' then
        s := billd_internal.apply_change(s, p, p.effective_at);
        s := billd_internal.reopen(s);
        select c.* into debt from billd.billing_cycle c where c.subscription_id = s.id and c.period = s.period;
    end if;
end
$$;
comment on function billd_internal.resume_owing(billd.subscription, billd.billing_cycle) is
    'A planned resume of a subscription that owes something: the debt is asked for again.';

create or replace function billd_internal.reopen(inout s billd.subscription)
language plpgsql volatile
as $$
begin
    update billd.billing_cycle c
    set state = 'due', closed_at = null, reason = null
    where c.subscription_id = s.id and c.period = s.period and c.state = 'uncollectible';
    if found then
        if s.attempts >= 99 then
            raise exception 'this period has used all of its 99 attempts'
                using errcode = 'check_violation', constraint = 'attempts_are_at_most_99',
                      hint = 'billd.forgive closes its debt; the next period then starts anew.';
        end if;
        s.declines := 0;
        s.next_charge_at := billd.now();
    end if;
end
$$;
comment on function billd_internal.reopen(billd.subscription) is
    'Asks for a debt again that was finally declined, from the first rung.';

create or replace function billd_internal.derive(
    inout s billd.subscription, debt billd.billing_cycle, closed boolean, pace interval,
    out said text, out is_broken boolean
)
language plpgsql volatile
as $$
declare
    planned record;
begin
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
        or s.state <> 'cancelled' and cardinality(billd_internal.pending_changes(s.id)) > 0
        or closed and debt.reason is distinct from billd_internal.void_of_cancellation()
    then
        planned := billd_internal.plan(s, debt, closed, pace);
        s := planned.s;
        said := planned.said;
        if said = 'unreadable' then
            is_broken := true;
            said := format('the calendar can''t be read: %s of %s in %s', s.interval_unit, s.anchor_at, s.time_zone);
            s.state_reason := 'bad_row; ' || said;
            s.state := case when s.state = 'active' then 'past_due' else s.state end;
            s.next_charge_at := null;
        elsif said = 'end' then
            s := billd_internal.end_as_agreed(s);
        else
            said := concat_ws('; ', 'the debt is ' || debt.state, 'next period ' || s.period);
        end if;
    elsif debt.state is null then
        s.attempts := 0;
        s.declines := 0;
    end if;
end
$$;
comment on function billd_internal.derive(billd.subscription, billd.billing_cycle, boolean, interval) is
    'What follows for a subscription whose current debt is known: the open one, nothing, or the period that comes next.';

create or replace function billd_internal.end_as_agreed(inout s billd.subscription)
language plpgsql volatile
as $$
begin
    s.state_reason := case when s.state = 'cancelled' then s.state_reason else 'ended as agreed' end;
    s.state := 'cancelled';
    s.next_charge_at := null;
    s.next_change_at := null;
    perform billd_internal.lapse(s.id, null, 'the subscription ended');
end
$$;
comment on function billd_internal.end_as_agreed(billd.subscription) is
    'The end that was agreed has come: nothing is charged any more, and what was planned has no meaning.';

create or replace function billd_internal.replan(
    subscription_id uuid, pace interval, out said text, out is_broken boolean
)
language plpgsql volatile
-- A daemon's session plans each statement anew, because its own are large; planning these small ones took half of a re-plan.
set plan_cache_mode = auto
as $$
declare
    writer text;
    held_before text;
    s billd.subscription;
    debt billd.billing_cycle;
    closed boolean;
    settled record;
    derived record;
begin
    select * into s from billd.subscription t where t.id = replan.subscription_id for no key update;
    if s.id is null or billd_internal.has_open_attempt(s.id) then
        return;
    end if;
    writer := billd_internal.write_as('plan');
    s.recheck := false;
    s.open_attempt := null;
    s.settled_until := coalesce(s.settled_until, s.due_at);
    s.catch_up := coalesce(s.catch_up, 'all');
    held_before := s.held;
    -- It follows from the others.
    s.next_charge_at := case when billd_internal.is_readable(s.next_charge_at) then s.next_charge_at end;
    s := billd_internal.lift_hold(s);
    s := billd_internal.take_up(s);
    settled := billd_internal.settle(s);
    s := settled.s;
    debt := settled.debt;
    settled := billd_internal.resume_owing(s, debt);
    s := settled.s;
    debt := settled.debt;
    closed := coalesce(debt.state in ('paid', 'free', 'void'), false);
    s.next_change_at := (select min(p.effective_at)
        from unnest(billd_internal.pending_changes(s.id)) p where p.effective_at > billd.now());
    s.adjusted := s.adjusted or cardinality(billd_internal.pending_changes(s.id)) > 0
        or cardinality(billd_internal.open_adjustments(s.id)) > 0;
    if debt.state is null then
        -- They follow from the others, too.
        s.due_at := case when billd_internal.is_readable(s.due_at) then s.due_at else s.settled_until end;
        s.until_at := case when s.until_at < '2500-01-01' then s.until_at end;
    end if;
    if billd_internal.has_readable_dates(s) then
        derived := billd_internal.derive(s, debt, closed, pace);
        s := derived.s;
        said := derived.said;
        is_broken := derived.is_broken;
        s := billd_internal.hold_above_ceiling(s);
    else
        s.held := 'dates';
        said := 'a date that no book has: ' || billd_internal.unreadable_date(s, billd_internal.date_columns());
        is_broken := held_before is distinct from 'dates';
    end if;
    if s.held = 'ceiling' then
        said := 'its sum is above the ceiling';
        is_broken := held_before is distinct from 'ceiling';
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
        next_charge_at = s.next_charge_at, held = s.held, adjusted = s.adjusted,
        -- What acts already is done: a row that stays to be changed now would be planned for ever.
        next_change_at = case when s.next_change_at > billd.now() then s.next_change_at end, amount = s.amount, name = s.name, interval_unit = s.interval_unit,
        interval_count = s.interval_count, anchor_at = s.anchor_at, billing_day = s.billing_day,
        tax_free = s.tax_free, vat_amount = s.vat_amount
    where t.id = s.id;
    perform billd_internal.write_as(writer);
end
$$;
comment on function billd_internal.replan(uuid, interval) is
    'Derives again what follows for one subscription. Returns null if an attempt of it is open: that one is recorded first.';
