-- Triggers of billd.subscription: what a person's insert or update means.
--
-- They run after the update, like every trigger on a row that a charge writes: one before it would make
-- PostgreSQL lock and log each row once more. billd's own statements name themselves in `billd.writer`, for their
-- transaction, and do themselves what a trigger would do for others.
--
-- Order of locks, for all who lock more than one: subscription, then billing_cycle, then charge_attempt. Whoever
-- holds a later one and wants an earlier one must not wait (skip locked).

create or replace function billd_internal.is_zone(zone text) returns boolean
language plpgsql stable
as $$
begin
    return now() at time zone zone is not null;
exception
    when invalid_parameter_value then
        return false;
end
$$;
comment on function billd_internal.is_zone(text) is 'Whether this server can read a time zone.';

create or replace function billd_internal.try_zone(zone text) returns void
language plpgsql stable
as $$
begin
    -- What PostgreSQL does not know and ends in a number, it reads as a zone of that offset, with the sign turned round.
    if not billd_internal.is_zone(zone) or zone ~ '[+-][0-9]' and zone !~ '^Etc/' then
        raise exception 'this server knows no time zone %', zone
            using errcode = 'check_violation', constraint = 'time_zone_is_known',
                  hint = 'pg_timezone_names lists them; Asia/Seoul is one.';
    end if;
end
$$;
comment on function billd_internal.try_zone(text) is
    'Refuses a time zone that the server can''t read, when it is written and not when it is needed.';

create or replace function billd_internal.refuse_change(why text, rule text, what_instead text) returns void
language plpgsql volatile
as $$
begin
    raise exception using errcode = 'check_violation', message = why, constraint = rule, hint = what_instead,
        schema = 'billd', table = 'subscription';
end
$$;
comment on function billd_internal.refuse_change(text, text, text) is
    'Refuses a verb or a plain update that makes no sense: why, by which rule, and what to do instead.';

create or replace function billd_internal.subscription_fill() returns trigger
language plpgsql
as $$
declare
    now timestamptz := billd.now();
begin
    new := billd_internal.judge_values(new, '{customer_uid,external_id,channel_key,name,buyer_name,buyer_email,buyer_tel,
        buyer_addr,buyer_postcode,currency,time_zone,anchor_at,next_charge_at,due_at,settled_until,paid_until,trial_until,ends_at}');
    new.settled_until := coalesce(new.settled_until, new.trial_until, new.paid_until);
    if new.settled_until is null and new.anchor_at < now and new.next_charge_at is null and new.state = 'active' then
        raise exception 'anchor_at lies in the past, so next_charge_at must say when the next charge is'
            using errcode = 'check_violation', constraint = 'next_charge_at_is_known',
                  hint = 'Without it every period since anchor_at would be charged. For the first charge now, leave both out; or say in paid_until until when it is paid.';
    end if;
    new.anchor_at := coalesce(new.anchor_at, new.settled_until, new.next_charge_at, now);
    new.next_charge_at := coalesce(new.next_charge_at, billd_internal.period_start(
        new.anchor_at, new.billing_day, new.interval_unit, new.time_zone,
        coalesce(new.settled_until, new.anchor_at)));
    new.due_at := coalesce(new.due_at, new.next_charge_at);
    new.settled_until := coalesce(new.settled_until, new.due_at);
    if new.due_at < new.settled_until then
        raise exception 'the first period would begin at %, but all before % is paid or free', new.due_at, new.settled_until
            using errcode = 'check_violation', constraint = 'no_time_is_billed_twice',
                  hint = 'Leave next_charge_at out: it follows from paid_until or trial_until.';
    elsif new.due_at <> billd_internal.period_start(
        new.anchor_at, new.billing_day, new.interval_unit, new.time_zone, new.due_at)
    then
        raise exception 'next_charge_at is not on a day on which periods begin'
            using errcode = 'check_violation', constraint = 'next_charge_at_is_on_the_billing_day',
                  hint = 'That day is the anchor''s, or billing_day. Leave anchor_at out if periods begin on the day of next_charge_at.';
    end if;
    -- A trial has the name of the day on which it begins.
    new.period := coalesce(new.period, greatest((new.due_at at time zone new.time_zone)::date,
        case when new.trial_until > now then (now at time zone new.time_zone)::date + 1 end));
    new.paid_until := greatest(new.paid_until, new.trial_until);
    new.until_at := coalesce(new.until_at, billd_internal.period_end(new.anchor_at, new.billing_day,
        new.interval_unit, new.interval_count, new.time_zone, new.due_at));
    if new.catch_up is null and new.state = 'active' and new.until_at <= now then
        raise exception 'whole periods lie between % and now', new.due_at
            using errcode = 'check_violation', constraint = 'catch_up_is_said',
                  hint = 'Say in catch_up what becomes of them: all (charge each), latest (the present one alone), none, or hold.';
    end if;
    new.catch_up := coalesce(new.catch_up, 'all');
    new.adjusted := new.trial_until is not null or not billd_internal.is_plain(new);
    perform billd_internal.check_tax(new);
    return new;
end
$$;
comment on function billd_internal.subscription_fill() is
    'Derives the schedule of a new subscription (when its first period begins and ends) from what was given.';
create or replace trigger subscription_fill before insert on billd.subscription
    for each row execute function billd_internal.subscription_fill();

create or replace function billd_internal.keep_with_debts(s uuid) returns void
language plpgsql
as $$
begin
    -- The row is locked by now: a claim that was under way has ended and is seen, and a new one passes it by.
    if exists (select from billd.billing_cycle c where c.subscription_id = s) then
        raise exception 'subscription % has debts that refer to it', s
            using errcode = 'foreign_key_violation', constraint = 'billing_cycle_belongs_to_a_subscription',
                  schema = 'billd', table = 'subscription', hint = 'Set state to cancelled to end it.';
    end if;
end
$$;
comment on function billd_internal.keep_with_debts(uuid) is
    'Refuses to delete or rename a subscription that was charged.';

create or replace function billd_internal.subscription_deleted() returns trigger
language plpgsql
as $$
begin
    perform billd_internal.keep_with_debts(old.id);
    return old;
end
$$;
comment on function billd_internal.subscription_deleted() is 'Lets go of a subscription that was never charged.';
create or replace trigger subscription_is_kept before delete on billd.subscription
    for each row execute function billd_internal.subscription_deleted();
create or replace trigger subscriptions_are_kept before truncate on billd.subscription
    for each statement
    execute function billd_internal.refuse(
        'subscriptions are kept: debts refer to them', 'Set state to cancelled to end one.');
