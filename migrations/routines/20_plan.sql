-- The plan: the steps of the rule, written down. What lies ahead only says when to look again.

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

drop function if exists billd_internal.open_period(billd.subscription, timestamptz, timestamptz, text, bigint, text);

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
    -- All before this is written down.
    behind timestamptz := coalesce((
        select c.until_at from billd.billing_cycle c where c.subscription_id = s.id order by c.period desc limit 1), s.due_at);
    debt_state text := case when closed then debt.state end;
    after_free boolean := billd_internal.follows_free_time(s);
    r record;
    noted record;
begin
    s.next_change_at := null;
    for step in 1 .. 1000 loop
        r := billd_internal.next_step(s, changes, now, after_free);
        changes := r.changes;
        said := case when r.step = 'end' and r.at > now then 'ends' else r.step end;
        if r.step in ('changed', 'lapsed', 'skipped') and (ahead or r.at > now) then
            ahead := true;
            s := r.s;
            s.next_change_at := least(s.next_change_at, r.at);
            continue;
        end if;
        exit when r.step = 'unreadable';
        if not ahead then
            noted := billd_internal.note_step(r.s, s, r, behind);
            s := noted.s;
            present := noted.s;
            behind := case when r.step in ('skipped', 'missed') then r.until_at
                when noted.written then r.from_at else behind end;
            debt_state := case when noted.written then 'void' else debt_state end;
            continue when r.step in ('changed', 'lapsed', 'skipped', 'missed');
        end if;
        s := billd_internal.move_on(s, debt_state, r.from_at, r.until_at, r.at, pace);
        s.next_charge_at := case when r.step = 'end' then r.at else s.next_charge_at end;
        s.held := case when r.step = 'hold' and r.from_at <= now then r.why else s.held end;
        s.adjusted := ahead or after_free or cardinality(changes) + cardinality(adjustments) > 0 or (r.change).id is not null
            or not billd_internal.is_plain(s);
        exit when r.step <> 'period' or ahead or not s.adjusted or s.held is not null or r.from_at > now;
        s := billd_internal.open_next(s, r, adjustments, now);
        debt := billd_internal.current_debt(s);
        exit when debt.state is null or debt.state = 'due';
        s.recheck := step = 1000;
        s := (billd_internal.settle(s)).s;
        present := s;
        select debt.until_at, debt.state into behind, debt_state;
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
