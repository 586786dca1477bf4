-- What a person's change of an agreement means for its schedule.

create or replace function billd_internal.recount(old billd.subscription, inout new billd.subscription)
language plpgsql stable
as $$
declare
    has_debt boolean := exists (
        select from billd.billing_cycle c
        where c.subscription_id = new.id and c.period = new.period and c.state in ('due', 'unresolved', 'uncollectible'));
    zone text := case when billd_internal.is_zone(old.time_zone) then old.time_zone else new.time_zone end;
    counted_from timestamptz := case when has_debt then new.until_at else new.settled_until end;
    clock time := (old.anchor_at at time zone zone)::time;
    day date := billd_internal.billing_date(counted_from, clock, zone);
    day_before int := coalesce(old.billing_day, date_part('day', old.anchor_at at time zone zone));
    by_month boolean := old.interval_unit in ('month', 'year') and new.interval_unit in ('month', 'year');
begin
    if new.billing_day is not distinct from old.billing_day then
        new.billing_day := case when by_month and day_before <> date_part('day', day) then day_before
            when by_month or new.interval_unit = old.interval_unit then old.billing_day end;
    end if;
    new.anchor_at := case when new.time_zone = old.time_zone
        then billd_internal.first_instant(day + clock, zone) else counted_from end;
end
$$;
comment on function billd_internal.recount(billd.subscription, billd.subscription) is
    'Another interval or zone counts from the end of what is settled, or of the open debt. A day that was chosen, or clamped to a short month, stays.';

create or replace function billd_internal.set_trial(inout new billd.subscription)
language plpgsql volatile
as $$
declare
    trial billd.billing_cycle;
begin
    select * into trial from billd.billing_cycle c
    where c.subscription_id = new.id and c.state <> 'void' order by c.period desc limit 1;
    if new.trial_until is null or new.trial_until <= billd.now() or trial.state <> 'free' then
        raise exception 'this trial can''t be moved'
            using errcode = 'check_violation', constraint = 'trial_lies_ahead',
                  hint = 'trial_until must lie ahead, and no period may have been charged yet. To give time away later, move the billing day.';
    end if;
    if trial.state is null then
        perform billd_internal.pass_over(
            new, least(new.due_at, billd.now()), new.trial_until, 'free', 0, 'trial');
    else
        update billd.billing_cycle c set until_at = new.trial_until
        where c.subscription_id = new.id and c.period = trial.period;
    end if;
    new.settled_until := new.trial_until;
    new.paid_until := new.trial_until;
    new.anchor_at := new.trial_until;
    new.billing_day := null;
end
$$;
comment on function billd_internal.set_trial(billd.subscription) is
    'A trial is a free debt up to trial_until. The first period that is charged begins then.';

create or replace function billd_internal.return_to_active(old billd.subscription, inout new billd.subscription)
language plpgsql volatile
as $$
declare
    now timestamptz := billd.now();
begin
    -- Law 13: all before now was out of service, however often it came and went.
    new.settled_until := greatest(new.settled_until, now);
    new.state_reason := null;
    update billd.billing_cycle c
    set state = 'due', closed_at = null, reason = null
    where c.subscription_id = new.id and c.period = new.period and c.state = 'uncollectible';
    if found then
        -- The card was mended: the same debt again, from the first rung.
        if new.attempts >= 99 then
            raise exception 'this period has used all of its 99 attempts'
                using errcode = 'check_violation', constraint = 'attempts_are_at_most_99',
                      hint = 'Void its billing_cycle first; the next period then starts anew.';
        end if;
        new.declines := 0;
        new.adjusted := true;
        new.next_charge_at := coalesce(new.next_charge_at, now);
    elsif old.state <> 'past_due' and new.next_charge_at is distinct from old.next_charge_at
        and new.next_charge_at >= now
    then
        if not exists (
            select from billd.billing_cycle c
            where c.subscription_id = new.id and c.period = new.period and c.state in ('due', 'unresolved'))
        then
            -- The first period begins on the date that was given with it.
            new.settled_until := greatest(new.settled_until, new.next_charge_at);
            new.anchor_at := new.settled_until;
            new.billing_day := null;
        end if;
    end if;
end
$$;
comment on function billd_internal.return_to_active(billd.subscription, billd.subscription) is
    'Coming back from past_due, a pause or a cancellation: the debt that was open is asked for, and else what falls due from now on.';

create or replace function billd_internal.what_it_means(
    old billd.subscription, inout new billd.subscription, changed text[]
)
language plpgsql volatile
as $$
begin
    new := billd_internal.judge_values(new, changed);
    if changed && '{time_zone,interval_unit,interval_count}' and not changed && '{anchor_at}' then
        new := billd_internal.recount(old, new);
    elsif changed && '{anchor_at}' then
        new.billing_day := null;
        if changed && '{next_charge_at}' then
            new.next_charge_at := old.next_charge_at;
        end if;
    end if;
    if changed && '{trial_until}' then
        new := billd_internal.set_trial(new);
    end if;
    if changed && '{state}' and new.state = 'active' then
        new := billd_internal.return_to_active(old, new);
    elsif changed && '{state}' and new.state = 'cancelled' then
        update billd.billing_cycle c
        set state = 'void', closed_at = billd.now(), reason = billd_internal.void_of_cancellation()
        where c.subscription_id = new.id and c.state in ('due', 'uncollectible')
          and not billd_internal.has_open_attempt(c.subscription_id, c.period);
    end if;
end
$$;
comment on function billd_internal.what_it_means(billd.subscription, billd.subscription, text[]) is
    'What a person means by a plain update: resume, try again, cancel, move the day, count otherwise, give a trial.';

create or replace function billd_internal.follow_update(old billd.subscription, new billd.subscription)
returns void
language plpgsql volatile
as $$
declare
    changed text[] := billd_internal.changed_columns(old, new);
    s billd.subscription := new;
    is_to_be_planned boolean := new.state <> 'cancelled' and (
        changed && '{anchor_at,interval_unit,interval_count,time_zone,billing_day,trial_until,ends_at,periods_left,
            catch_up,held}'
        or changed && '{state}' and new.state = 'active'
        or billd_internal.is_plain(old) <> billd_internal.is_plain(new));
begin
    if not billd_internal.writes_as_0_1() then
        perform billd_internal.judge_update(old, new, changed);
        if changed && '{state}' then
            perform billd_internal.judge_state(old, new, changed);
        end if;
        if changed && '{next_charge_at}' then
            perform billd_internal.judge_next_charge(old, new, changed);
        end if;
    end if;
    perform set_config('billd.writer', 'plan', true);
    s := billd_internal.what_it_means(old, s, changed);
    update billd.subscription t
    set name = s.name, buyer_name = s.buyer_name, buyer_addr = s.buyer_addr, anchor_at = s.anchor_at, billing_day = s.billing_day, settled_until = s.settled_until,
        paid_until = s.paid_until, state_reason = s.state_reason, declines = s.declines,
        next_charge_at = s.next_charge_at, adjusted = t.adjusted or is_to_be_planned,
        -- Should its daemon die, an attempt under way is looked for at the front of what is due, or among what is to
        -- be derived again: which its subscription is, if somebody moves it away from there meanwhile.
        recheck = t.recheck or is_to_be_planned or old.open_attempt is not null
            and old.next_charge_at is not null and changed && '{state,next_charge_at}',
        row_version = case when new.row_version = old.row_version then t.row_version + 2 else t.row_version end
    where t.id = new.id;
    if is_to_be_planned then
        perform set_config('billd.writer', 'update', true);
        perform billd_internal.replan(new.id, (select c.catch_up_pace from billd.control c));
    end if;
    perform set_config('billd.writer', '', true);
end
$$;
comment on function billd_internal.follow_update(billd.subscription, billd.subscription) is
    'Judges a plain update, and lets it do what a person means by it. The re-plan follows at once, or when the attempt that is open is recorded.';

create or replace function billd_internal.subscription_changed() returns trigger
language plpgsql
as $$
declare
    is_plain boolean := coalesce(current_setting('billd.writer', true), '') = '';
begin
    if old.id <> new.id then
        perform billd_internal.keep_with_debts(old.id);
    end if;
    if old.currency <> new.currency then
        perform billd_internal.need_nothing_open(new.id);
    end if;
    if is_plain and new.amount > old.amount then
        perform billd_internal.need_consent(old, new);
    end if;
    if (old.amount, old.tax_free, old.vat_amount) is distinct from (new.amount, new.tax_free, new.vat_amount) then
        perform billd_internal.tax_follows_amount(old, new, is_plain);
    end if;
    if is_plain then
        perform billd_internal.follow_update(old, new);
        perform billd_internal.note_update(old, new);
    end if;
    if new.fence < old.fence or new.row_version < old.row_version
        or new.settled_until < old.settled_until and old.trial_until is not distinct from new.trial_until
           and current_setting('billd.writer', true) is distinct from 'plan'
    then
        perform billd_internal.refuse_change('fence, row_version and settled_until are never lowered',
            'subscription_only_grows',
            'If this is part of a row that was read earlier: it has moved on, read it again.');
    end if;
    return null;
end
$$;
comment on function billd_internal.subscription_changed() is
    'What an update of a subscription must keep, whoever writes it, and what follows from a plain one.';
-- One trigger, with a condition that reads few columns: every charge writes this row twice. Its name puts it before that
-- of billd 0.1.
create or replace trigger subscription_changed after update on billd.subscription
    for each row
    when (coalesce(current_setting('billd.writer', true), '') = '' and old.* is distinct from new.*
          or new.amount <> old.amount or new.fence < old.fence or new.row_version < old.row_version
          or new.settled_until < old.settled_until or new.currency <> old.currency or new.id <> old.id
          or new.tax_free is distinct from old.tax_free or new.vat_amount is distinct from old.vat_amount)
    execute function billd_internal.subscription_changed();

create or replace function billd_internal.trial_begins() returns trigger
language plpgsql
as $$
begin
    if new.trial_until > billd.now() then
        perform set_config('billd.writer', 'plan', true);
        perform billd_internal.pass_over(new, billd.now(), new.trial_until, 'free', 0, 'trial');
        perform set_config('billd.writer', '', true);
    end if;
    return null;
end
$$;
comment on function billd_internal.trial_begins() is 'Writes the free period of a new subscription down.';
create or replace trigger trial_begins after insert on billd.subscription
    for each row when (new.trial_until is not null) execute function billd_internal.trial_begins();

-- What stood in its place before.
drop trigger if exists subscription_schedule_is_billds on billd.subscription;
drop trigger if exists subscription_moved_during_attempt on billd.subscription;
drop function if exists billd_internal.subscription_moved_during_attempt();
drop trigger if exists subscription_state_changed on billd.subscription;
drop function if exists billd_internal.subscription_state_changed();
drop trigger if exists subscription_keeps_its_id on billd.subscription;
drop function if exists billd_internal.subscription_has_debts();
drop trigger if exists subscription_amount_and_tax on billd.subscription;
drop function if exists billd_internal.subscription_amount_and_tax();
drop trigger if exists subscription_only_grows on billd.subscription;
drop trigger if exists subscription_edited on billd.subscription;
drop function if exists billd_internal.subscription_edited();
drop trigger if exists currency_stays_while_something_is_open on billd.subscription;
drop function if exists billd_internal.currency_stays();
drop trigger if exists rise_needs_consent on billd.subscription;
drop function if exists billd_internal.rise_needs_consent();
