-- Verbs of time: when it is asked, and what time is passed over, given or begun.

create or replace function billd_internal.do_put_off(s billd.subscription, args jsonb) returns billd.subscription
language plpgsql volatile
as $$
declare
    ask_at timestamptz := (args ->> 'ask_at')::timestamptz;
begin
    perform billd_internal.need_state(s, '{active}', 'put_off', 'Nothing is asked for.');
    perform billd_internal.need_no_attempt(s, 'put_off');
    if s.held is not null or s.ends_at <= s.due_at or s.periods_left = 0 then
        perform billd_internal.refuse_change('put_off: nothing is going to be asked for', 'something_is_asked', 'See billd.forecast.');
    elsif ask_at is null or ask_at <= billd.now() or ask_at < s.due_at then
        perform billd_internal.refuse_change('put_off: ask_at must lie ahead, and not before the period begins', 'ask_at_is_later',
            'billd.retry_now asks for an open debt now, billd.renew_early for the next period.');
    elsif ask_at >= s.until_at then
        perform billd_internal.refuse_change(format('put_off: the period ends at %s', s.until_at), 'ask_at_is_within_the_period',
            'billd.skip passes a period over, billd.extend gives time, billd.move_day moves the billing day.');
    end if;
    s.next_charge_at := ask_at;
    return s;
end
$$;
comment on function billd_internal.do_put_off(billd.subscription, jsonb) is 'billd.put_off.';

create or replace function billd_internal.do_skip(s billd.subscription, args jsonb) returns billd.subscription
language plpgsql volatile
as $$
declare
    periods int := coalesce((args ->> 'periods')::int, 1);
begin
    perform billd_internal.need_state(s, '{active,past_due,paused}', 'skip', 'It is cancelled.');
    if periods not between 1 and 120 then
        perform billd_internal.refuse_change('skip: 1 to 120 periods', 'periods_are_1_to_120', 'billd.pause stops it until it is resumed.');
    end if;
    insert into billd.planned_change (subscription_id, kind, reason)
    select s.id, 'skip', coalesce(args ->> 'note', 'skipped') from generate_series(1, periods);
    return s;
end
$$;
comment on function billd_internal.do_skip(billd.subscription, jsonb) is 'billd.skip.';

create or replace function billd_internal.do_renew_early(s billd.subscription, args jsonb) returns billd.subscription
language plpgsql volatile
as $$
declare
    changes billd.planned_change[] := billd_internal.pending_changes(s.id);
    before billd.subscription := s;
    price record;
    r record;
begin
    perform billd_internal.need_state(s, '{active}', 'renew_early', 'It is not in service.');
    perform billd_internal.need_no_attempt(s, 'renew_early');
    if billd_internal.owes(s) or exists (
        select from billd.billing_cycle c
        where c.subscription_id = s.id and c.state in ('due', 'unresolved', 'paid', 'uncollectible') and c.due_at > billd.now())
    then
        perform billd_internal.refuse_change('renew_early: the period before is not paid, or was renewed early itself',
            'one_period_ahead', 'billd.retry_now asks for an open debt.');
    elsif (args ->> 'period')::date <> s.period then
        perform billd_internal.refuse_change(format('renew_early: the next period is %s', s.period), 'period_is_next',
            'Give that one, or none.');
    end if;
    loop
        r := billd_internal.next_step(s, changes, billd.now(), billd_internal.follows_free_time(s));
        exit when r.step not in ('changed', 'lapsed');
        perform billd_internal.finish_change(r.change, case r.step when 'changed' then 'applied' else r.step end, s, r.s);
        s := r.s;
        changes := r.changes;
    end loop;
    if r.step <> 'period' or s.state <> 'active' or s.held is not null then
        perform billd_internal.refuse_change('renew_early: no period follows: ' || coalesce(s.held, r.why, r.step), 'a_period_follows',
            'See billd.forecast.');
    end if;
    price := billd_internal.price(s, r.days, r.all_days, billd_internal.open_adjustments(s.id));
    if s.due_at <> r.from_at then
        s.period := billd_internal.period_name(r.from_at, s.time_zone, (
            select max(c.period) from billd.billing_cycle c where c.subscription_id = s.id));
    end if;
    s.due_at := r.from_at;
    s.until_at := r.until_at;
    s.next_charge_at := billd.now();
    perform billd_internal.open_debt(s, r.until_at, price);
    if (r.change).id is not null then
        perform billd_internal.finish_change(r.change, 'applied', before, before);
    end if;
    return s;
end
$$;
comment on function billd_internal.do_renew_early(billd.subscription, jsonb) is 'billd.renew_early.';

create or replace function billd_internal.do_extend(s billd.subscription, args jsonb) returns billd.subscription
language plpgsql volatile
as $$
declare
    until timestamptz := (args ->> 'until')::timestamptz;
    -- All that is not billed yet, what has passed meanwhile among it: else that would be neither billed nor given.
    gift_from timestamptz := greatest(case when billd_internal.owes(s) then s.until_at end, s.settled_until);
begin
    perform billd_internal.need_state(s, '{active}', 'extend', 'Resume it first; what is not in service is not billed anyway.');
    perform billd_internal.need_no_attempt(s, 'extend');
    if until is null or until <= greatest(gift_from, billd.now()) then
        perform billd_internal.refuse_change(format('extend: all before %s is paid, owed or past', greatest(gift_from, billd.now())),
            'time_lies_ahead', 'Give a later time.');
    end if;
    perform billd_internal.pass_over(s, gift_from, until, 'free', 0, 'gift');
    s.settled_until := until;
    s.paid_until := greatest(s.paid_until, until);
    return s;
end
$$;
comment on function billd_internal.do_extend(billd.subscription, jsonb) is 'billd.extend.';

create or replace function billd_internal.do_set_trial(s billd.subscription, args jsonb) returns billd.subscription
language plpgsql volatile
as $$
begin
    perform billd_internal.need_state(s, '{active}', 'set_trial', 'It is not in service.');
    perform billd_internal.need_no_attempt(s, 'set_trial');
    s.trial_until := (args ->> 'until')::timestamptz;
    return billd_internal.set_trial(s);
end
$$;
comment on function billd_internal.do_set_trial(billd.subscription, jsonb) is 'billd.set_trial.';

create or replace function billd_internal.do_move_day(s billd.subscription, args jsonb) returns billd.subscription
language plpgsql volatile
as $$
declare
    day int := (args ->> 'day')::int;
    weekday int := (args ->> 'weekday')::int;
    hour time := (args ->> 'hour')::time;
begin
    perform billd_internal.need_state(s, '{active,past_due,paused}', 'move_day', 'It is cancelled.');
    perform billd_internal.need_short(args);
    if num_nonnulls(day, weekday, hour) = 0 or day is not null and s.interval_unit not in ('month', 'year')
        or weekday is not null and s.interval_unit <> 'week' or day not between 1 and 31 or weekday not between 1 and 7
    then
        perform billd_internal.refuse_change('move_day: give a day (1 to 31) by the month or year, a weekday (1 to 7) by the week, an hour, or both',
            'billing_day_fits_the_interval', 'The interval is ' || s.interval_unit || '.');
    end if;
    if hour is not null then
        s.anchor_at := billd_internal.first_instant((s.anchor_at at time zone s.time_zone)::date + hour, s.time_zone);
    end if;
    s.billing_day := coalesce(day, weekday, s.billing_day);
    perform billd_internal.plan_short(s, args);
    return s;
end
$$;
comment on function billd_internal.do_move_day(billd.subscription, jsonb) is 'billd.move_day.';
