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

create or replace function billd_internal.pass_over(
    s billd.subscription, from_at timestamptz, until_at timestamptz, state text, amount bigint, why text
) returns date
language plpgsql volatile
as $$
declare
    last_name date := (select max(c.period) from billd.billing_cycle c where c.subscription_id = s.id);
    -- Civil dates can come twice. The name of a planned period stays what it is.
    name date := case when from_at = s.due_at and coalesce(s.period > last_name, true) then s.period
        else billd_internal.period_name(from_at, s.time_zone, last_name) end;
begin
    insert into billd.billing_cycle
        (subscription_id, period, amount, currency, tax_free, vat_amount, due_at, until_at,
         opened_at, state, closed_at, reason)
    values (s.id, name, amount, s.currency, billd_internal.tax_part(s.tax_free, s.amount, amount),
        billd_internal.tax_part(s.vat_amount, s.amount, amount), from_at, until_at, billd.now(), state,
        billd.now(), why);
    return name;
end
$$;
comment on function billd_internal.pass_over(billd.subscription, timestamptz, timestamptz, text, bigint, text) is
    'Writes a time down for which nothing is charged: free or void, and why. Returns its name.';

create or replace function billd_internal.open_period(
    s billd.subscription, from_at timestamptz, until_at timestamptz, state text, amount bigint, why text
) returns date
language sql volatile
as $$ select billd_internal.pass_over(s, from_at, until_at, state, amount, why) $$;
comment on function billd_internal.open_period(billd.subscription, timestamptz, timestamptz, text, bigint, text) is
    'The same, under the name by which triggers call it.';

create or replace function billd_internal.open_debt(s billd.subscription, until_at timestamptz, price record)
returns void
language plpgsql volatile
as $$
begin
    insert into billd.billing_cycle
        (subscription_id, period, amount, currency, tax_free, vat_amount, card_quota, due_at, until_at,
         opened_at, state, closed_at, made_of)
    values (s.id, s.period, price.amount, s.currency, price.tax_free, price.vat_amount,
        case when price.amount >= 50000 or s.card_quota = 0 then s.card_quota end, s.due_at, until_at, billd.now(),
        case when price.amount = 0 then 'free' else 'due' end,
        case when price.amount = 0 then billd.now() end, price.made_of);
    update billd.adjustment a
    set periods_left = n.periods_left, remaining = n.remaining
    from unnest(price.adjustments) n
    where a.id = n.id and (a.periods_left, a.remaining) is distinct from (n.periods_left, n.remaining);
end
$$;
comment on function billd_internal.open_debt(billd.subscription, timestamptz, record) is
    'Writes a period down that no claim opens: a debt of an unusual sum, or one that is free. What it uses of discounts, items and credits is used.';

create or replace function billd_internal.finish_change(
    p billd.planned_change, state text, before billd.subscription, s billd.subscription
) returns void
language plpgsql volatile
as $$
begin
    update billd.planned_change c
    set state = finish_change.state,
        reason = case when finish_change.state = 'lapsed' then 'it had no meaning any more' else c.reason end
    where c.id = p.id;
    if finish_change.state = 'applied' then
        perform billd_internal.note_history(before, s, 'planned ' || p.kind, coalesce(p.reason, 'planned by ' || p.made_by));
    end if;
end
$$;
comment on function billd_internal.finish_change(billd.planned_change, text, billd.subscription, billd.subscription) is
    'Notes what became of a planned change.';

create or replace function billd_internal.move_on(
    inout s billd.subscription, debt_state text, from_at timestamptz, until_at timestamptz, ask_at timestamptz,
    pace interval
)
language plpgsql stable
as $$
declare
    now timestamptz := billd.now();
begin
    if debt_state in ('paid', 'free', 'void') or from_at <> s.due_at then
        s.next_charge_at := case
            when ask_at > now then ask_at
            when debt_state = 'paid' then now + pace
            else now
        end;
        s.period := billd_internal.period_name(from_at, s.time_zone, (
            select max(c.period) from billd.billing_cycle c where c.subscription_id = s.id));
        s.due_at := from_at;
    end if;
    s.until_at := until_at;
    s.attempts := 0;
    s.declines := 0;
    s.next_charge_at := greatest(coalesce(s.next_charge_at, now), least(ask_at, s.due_at));
end
$$;
comment on function billd_internal.move_on(billd.subscription, text, timestamptz, timestamptz, timestamptz, interval) is
    'Moves a row on to another period. What is planned already stays planned, with the time that a person gave it.';

create or replace function billd_internal.note_step(
    inout s billd.subscription, before billd.subscription, r record, behind timestamptz, out written boolean
)
language plpgsql volatile
as $$
declare
    from_at timestamptz := case when r.step = 'lapsed' then behind else r.from_at end;
begin
    written := false;
    -- Later on the same day it is the same period, which begins late.
    if r.step in ('period', 'skipped', 'missed') and behind <= billd.now() and (behind at time zone s.time_zone)::date
        < (from_at at time zone s.time_zone)::date
    then
        s.period := billd_internal.pass_over(s, behind, from_at, 'void', s.amount, case
            when before.settled_until > behind then 'fell due while the subscription was not active'
            else 'free until the billing day' end);
        s.due_at := behind;
        written := true;
    end if;
    if r.step in ('skipped', 'missed') then
        s.period := billd_internal.pass_over(s, r.from_at, r.until_at, 'void', s.amount, r.why);
        s.due_at := r.from_at;
        written := true;
    end if;
    if r.step in ('changed', 'skipped', 'lapsed') then
        perform billd_internal.finish_change(
            r.change, case r.step when 'lapsed' then 'lapsed' else 'applied' end, before, s);
    end if;
end
$$;
comment on function billd_internal.note_step(billd.subscription, billd.subscription, record, timestamptz) is
    'Writes a step down whose time has come: what is passed over, and why; what became of a planned change.';

create or replace function billd_internal.plan(
    inout s billd.subscription, debt billd.billing_cycle, closed boolean, pace interval, out said text
)
language plpgsql volatile
as $$
declare
    now timestamptz := billd.now();
    changes billd.planned_change[] := billd_internal.pending_changes(s.id);
    adjustments billd.adjustment[] := billd_internal.open_adjustments(s.id);
    -- The agreement as it stands; s runs ahead of it once a change acts that lies in the future.
    present billd.subscription := s;
    ahead boolean := false;
    -- All before this is written down. One that is not opened yet may begin later than it did when it was planned.
    behind timestamptz := case when closed then debt.until_at else s.due_at end;
    debt_state text := case when closed then debt.state end;
    after_free boolean := billd_internal.follows_free_time(s);
    r record;
    noted record;
    opened boolean;
begin
    s.next_change_at := null;
    for step in 1 .. 1000 loop
        r := billd_internal.next_step(s, changes, now, after_free);
        changes := r.changes;
        said := r.step;
        ahead := ahead or r.at > now and r.step in ('changed', 'lapsed', 'skipped');
        if ahead and r.step in ('changed', 'lapsed', 'skipped') then
            s := r.s;
            s.next_change_at := least(s.next_change_at, r.at);
            continue;
        end if;
        exit when r.step = 'unreadable';
        if not ahead then
            noted := billd_internal.note_step(r.s, s, r, behind);
            s := noted.s;
            present := s;
            behind := case when r.step in ('skipped', 'missed') then r.until_at
                when noted.written then r.from_at else behind end;
            debt_state := case when noted.written then 'void' else debt_state end;
            continue when r.step in ('changed', 'lapsed', 'skipped', 'missed');
        end if;
        s := billd_internal.move_on(s, debt_state, r.from_at, r.until_at, r.at, pace);
        if r.step = 'end' then
            s.next_charge_at := r.at;
            said := case when r.at > now then 'ends' else 'end' end;
        end if;
        s.held := case when r.step = 'hold' and r.from_at <= now then r.why else s.held end;
        s.adjusted := ahead or after_free or cardinality(changes) + cardinality(adjustments) > 0 or (r.change).id is not null
            or not billd_internal.is_plain(s);
        exit when r.step <> 'period' or ahead or not s.adjusted or s.held is not null or r.from_at > now;
        s := billd_internal.open_next(s, r, adjustments, now);
        select c.* into debt from billd.billing_cycle c where c.subscription_id = s.id and c.period = s.period;
        exit when debt.state is null or debt.state = 'due';
        s.recheck := step = 1000;
        s := (billd_internal.settle(s)).s;
        present := s;
        behind := debt.until_at;
        debt_state := debt.state;
        changes := billd_internal.pending_changes(s.id);
        adjustments := billd_internal.open_adjustments(s.id);
        after_free := billd_internal.follows_free_time(s);
    end loop;
    s := billd_internal.keep_present(s, present, changes);
end
$$;
comment on function billd_internal.plan(billd.subscription, billd.billing_cycle, boolean, interval) is
    'Moves a row on to the period that comes next, and opens that one if it is due and not plain. What is passed over is written down, and why.';

create or replace function billd_internal.open_next(
    inout s billd.subscription, r record, adjustments billd.adjustment[], now timestamptz
)
language plpgsql volatile
as $$
declare
    price record := billd_internal.price(s, r.days, r.all_days, adjustments);
begin
    if price.amount > 1000000000 then
        s.held := 'sum';
    -- R6: no row, no debt. It is opened once it is due, and not before it is to be asked for.
    elsif s.next_charge_at <= now or price.amount = 0 then
        perform billd_internal.open_debt(s, r.until_at, price);
        if (r.change).id is not null then
            perform billd_internal.finish_change(r.change, 'applied', s, s);
        end if;
    end if;
end
$$;
comment on function billd_internal.open_next(billd.subscription, record, billd.adjustment[], timestamptz) is
    'Opens the period that the row has moved on to, unless a person has put it off, or its sum is more than may be charged at once.';

create or replace function billd_internal.keep_present(
    inout s billd.subscription, present billd.subscription, changes billd.planned_change[]
)
language plpgsql stable
as $$
declare
    ahead billd.subscription := s;
begin
    s := present;
    s.period := ahead.period;
    s.due_at := ahead.due_at;
    s.until_at := ahead.until_at;
    s.next_charge_at := ahead.next_charge_at;
    s.attempts := ahead.attempts;
    s.declines := ahead.declines;
    s.held := ahead.held;
    s.adjusted := ahead.adjusted;
    s.recheck := ahead.recheck;
    s.next_change_at := least(ahead.next_change_at, (
        select min(c.effective_at) from unnest(changes) c where c.effective_at > billd.now()));
end
$$;
comment on function billd_internal.keep_present(billd.subscription, billd.subscription, billd.planned_change[]) is
    'The schedule as it follows from what is planned, and the agreement as it stands until then.';

create or replace function billd_internal.lift_hold(inout s billd.subscription)
language plpgsql stable
as $$
begin
    if s.held = 'catch_up' and s.catch_up <> 'hold' or s.held = 'sum' then
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

create or replace function billd_internal.replan(
    subscription_id uuid, pace interval, out said text, out is_broken boolean
)
language plpgsql volatile
as $$
declare
    writer text := coalesce(current_setting('billd.writer', true), '');
    s billd.subscription;
    debt billd.billing_cycle;
    closed boolean;
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
    s := billd_internal.lift_hold(s);
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
            s.state_reason := case when s.state = 'cancelled' then s.state_reason else 'ended as agreed' end;
            s.state := 'cancelled';
            s.next_charge_at := null;
            s.next_change_at := null;
            update billd.planned_change c set state = 'lapsed', reason = 'the subscription ended'
            where c.subscription_id = s.id and c.state = 'pending';
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
        state = s.state, state_reason = s.state_reason, period = s.period, due_at = s.due_at, until_at = s.until_at,
        settled_until = s.settled_until, paid_until = s.paid_until, periods_left = s.periods_left,
        catch_up = s.catch_up, attempts = s.attempts, declines = s.declines,
        next_charge_at = s.next_charge_at, held = s.held, adjusted = s.adjusted,
        next_change_at = s.next_change_at, amount = s.amount, name = s.name, interval_unit = s.interval_unit,
        interval_count = s.interval_count, anchor_at = s.anchor_at, billing_day = s.billing_day,
        tax_free = s.tax_free, vat_amount = s.vat_amount
    where t.id = s.id;
    perform set_config('billd.writer', writer, true);
end
$$;
comment on function billd_internal.replan(uuid, interval) is
    'Derives again what follows for one subscription. Returns null if an attempt of it is open: that one is recorded first.';
