-- What comes next: one rule, for all who ask. The claim compares what it wrote down; recording moves plain rows on
-- by period_end alone; everything else is derived here, step by step: the re-plan writes the steps down, the
-- forecast only walks them.

create or replace function billd_internal.is_plain(s billd.subscription) returns boolean
language sql immutable parallel safe
as $$
    select s.ends_at is null and s.periods_left is null
        and s.amount >= billd_internal.least_amount(s.currency)
$$;
comment on function billd_internal.is_plain(billd.subscription) is
    'Whether the next period begins where this one ends and costs the price, so that a claim may open it.';

create or replace function billd_internal.pending_changes(s uuid) returns billd.planned_change[]
language sql stable
as $$
    select array(select p from billd.planned_change p where p.subscription_id = s and p.state = 'pending' order by p.id)
$$;
comment on function billd_internal.pending_changes(uuid) is 'What is planned for a subscription.';

create or replace function billd_internal.open_adjustments(s uuid) returns billd.adjustment[]
language sql stable
as $$
    select array(select a from billd.adjustment a
        where a.subscription_id = s and coalesce(a.remaining, a.periods_left, 1) > 0 order by a.id)
$$;
comment on function billd_internal.open_adjustments(uuid) is 'What the next periods of a subscription are made of, besides the price.';

create or replace function billd_internal.follows_free_time(s billd.subscription) returns boolean
language sql stable
as $$
    select s.amount >= billd_internal.least_amount(s.currency) and coalesce((
        select c.state = 'free'
            and coalesce((c.made_of -> 0 ->> 'sum')::bigint, 0) < billd_internal.least_amount(s.currency)
        from billd.billing_cycle c
        where c.subscription_id = s.id and c.state <> 'void' and c.reason is distinct from 'gift'
        order by c.period desc limit 1), false)
$$;
comment on function billd_internal.follows_free_time(billd.subscription) is
    'Whether the next period is the first one that costs something after a trial or a price of 0. The end of a discount is no such thing.';

create or replace function billd_internal.next_due(
    inout s billd.subscription, now timestamptz,
    out step text, out from_at timestamptz, out until_at timestamptz, out whole_until timestamptz, out at timestamptz
)
language plpgsql stable parallel safe
as $$
declare
    first timestamptz;
    skips boolean;
begin
    from_at := billd_internal.period_start(
        s.anchor_at, s.billing_day, s.interval_unit, s.time_zone, s.settled_until);
    whole_until := billd_internal.period_end(
        s.anchor_at, s.billing_day, s.interval_unit, s.interval_count, s.time_zone, from_at);
    until_at := least(whole_until, s.ends_at);
    at := from_at;
    if whole_until is null or from_at >= timestamptz '2099-12-30' then
        step := 'unreadable';
    elsif s.state <> 'active' then
        step := 'nothing';
    elsif s.ends_at <= from_at or s.periods_left = 0 then
        step := 'end';
        at := least(greatest(s.settled_until, s.ends_at), case when s.periods_left = 0 then s.settled_until end);
    elsif whole_until <= now and s.catch_up <> 'all' and billd_internal.was_off_at(whole_until) then
        step := 'period';
    elsif whole_until <= now and s.catch_up = 'hold' then
        step := 'hold';
    elsif whole_until <= now and s.catch_up <> 'all' then
        step := 'missed';
        first := from_at;
        skips := s.catch_up = 'none';
        while case when whole_until <= now then not billd_internal.was_off_at(whole_until)
            else skips and from_at <= now and not billd_internal.was_off_at(from_at) end
        loop
            from_at := whole_until;
            whole_until := billd_internal.period_end(
                s.anchor_at, s.billing_day, s.interval_unit, s.interval_count, s.time_zone, from_at);
        end loop;
        until_at := from_at;
        from_at := first;
        s.settled_until := until_at;
    else
        step := 'period';
    end if;
end
$$;
comment on function billd_internal.next_due(billd.subscription, timestamptz) is
    'The period that follows what is settled, if nothing is planned. period: this one. missed: whole ones that catch_up passes over. nothing: it is not in service. end: none, it has ended at that time. hold: a person decides. unreadable: the calendar can''t be read.';

create or replace function billd_internal.apply_change(inout s billd.subscription, p billd.planned_change, at timestamptz)
language plpgsql stable
as $$
declare
    before billd.subscription := s;
begin
    if p.kind = 'plan' then
        s := jsonb_populate_record(s, p.change);
        if (s.interval_unit, s.interval_count) <> (before.interval_unit, before.interval_count) then
            -- It acts at its own time: what is free until then stays free.
            s.settled_until := greatest(s.settled_until, at);
            s := billd_internal.recount(before, s);
        end if;
    elsif p.kind = 'pause' then
        s.state := 'paused';
        s.state_reason := p.reason;
    elsif p.kind = 'resume' then
        s.state := 'active';
        s.state_reason := null;
        s.settled_until := greatest(s.settled_until, at);
    end if;
end
$$;
comment on function billd_internal.apply_change(billd.subscription, billd.planned_change, timestamptz) is
    'What a planned change makes of an agreement at its time.';

create or replace function billd_internal.stub(
    s billd.subscription, from_at timestamptz, out days int, out all_days int
)
language sql stable parallel safe
as $$
    select billd_internal.days_between(s.settled_until, stub.from_at, s.time_zone),
        d.day - case s.interval_unit
            when 'day' then d.day - s.interval_count
            when 'week' then d.day - 7 * s.interval_count
            else billd_internal.day_in_month(
                (date_trunc('month', d.day) - make_interval(months =>
                    s.interval_count * case s.interval_unit when 'year' then 12 else 1 end))::date,
                coalesce(s.billing_day, date_part('day', s.anchor_at at time zone s.time_zone))::int)
            end
    from (select (stub.from_at at time zone s.time_zone)::date as day) d
$$;
comment on function billd_internal.stub(billd.subscription, timestamptz) is
    'The days up to the next billing day, and those of the whole interval that ends there.';

create or replace function billd_internal.next_step(
    inout s billd.subscription, inout changes billd.planned_change[], now timestamptz, after_free boolean,
    out step text, out from_at timestamptz, out until_at timestamptz, out at timestamptz,
    out change billd.planned_change, out days int, out all_days int, out why text
)
language plpgsql stable
as $$
declare
    due record := billd_internal.next_due(s, now);
    p billd.planned_change;
    acts_at timestamptz;
begin
    for p in select * from unnest(changes) c order by coalesce(c.effective_at, due.from_at), c.id loop
        acts_at := coalesce(p.effective_at, due.from_at);
        exit when acts_at > due.from_at and s.state = 'active' or due.step = 'unreadable';
        continue when billd_internal.change_waits(s, p, due.from_at);
        changes := array(select c from unnest(changes) c where c.id <> p.id order by c.id);
        change := p;
        from_at := due.from_at;
        at := acts_at;
        step := case
            when p.kind = 'resume' and s.state <> 'paused' then 'lapsed'
            when p.kind = 'by_day' then 'stub'
            when p.kind = 'skip' then 'skipped'
            else 'changed' end;
        if step = 'stub' then
            select t.days, t.all_days into days, all_days from billd_internal.stub(s, due.from_at) t;
            from_at := s.settled_until;
            at := from_at;
            until_at := least(due.from_at, s.ends_at);
            step := case when days <= 0 or due.step <> 'period' or until_at <= from_at then 'lapsed' else 'period' end;
            days := case when s.ends_at < due.from_at
                then billd_internal.days_between(from_at, until_at, s.time_zone) else days end;
        elsif step = 'skipped' then
            until_at := due.whole_until;
            s.settled_until := until_at;
            why := 'skipped';
        elsif step = 'changed' then
            s := billd_internal.apply_change(s, p, acts_at);
        end if;
        return;
    end loop;
    s := due.s;
    select due.step, due.from_at, due.until_at, due.at into step, from_at, until_at, at;
    why := case step when 'hold' then 'catch_up' when 'missed' then 'missed; catch_up is ' || s.catch_up end;
    if step = 'period' then
        days := billd_internal.days_between(from_at, until_at, s.time_zone);
        all_days := case when until_at < due.whole_until
            then billd_internal.days_between(from_at, due.whole_until, s.time_zone) end;
    end if;
    if step = 'period' and after_free and billd_internal.consent_is_enforced()
        and not billd_internal.may_follow_free_time(s, from_at)
    then
        step := 'hold';
        why := 'consent';
    end if;
end
$$;
comment on function billd_internal.next_step(billd.subscription, billd.planned_change[], timestamptz, boolean) is
    'The next step of a life, and the agreement after it. changed: a planned change acts. lapsed: it has no meaning any more. skipped, missed: that time is passed over. period: it is billed. nothing, end, hold, unreadable: nothing is, from here on.';
drop function if exists billd_internal.next_period(billd.subscription, timestamptz);
