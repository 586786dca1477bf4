-- Triggers of billd.subscription: what a person's insert or update means.
--
-- They run after the update, like every trigger on a row that a charge writes: one before it would make
-- PostgreSQL lock and log each row once more. billd's own statements name themselves in `billd.writer`, for their
-- transaction, and do themselves what a trigger would do for others.
--
-- Order of locks, for all who lock more than one: subscription, then billing_cycle, then charge_attempt. Whoever
-- holds a later one and wants an earlier one must not wait (skip locked).

create or replace function billd_internal.subscription_fill() returns trigger
language plpgsql
as $$
begin
    if new.anchor_at is null then
        new.anchor_at := coalesce(new.next_charge_at, billd.now());
    elsif new.next_charge_at is null and new.anchor_at < billd.now() and new.state = 'active' then
        raise exception 'anchor_at lies in the past, so next_charge_at must say when the next charge is'
            using errcode = 'check_violation', constraint = 'next_charge_at_is_known',
                  hint = 'Without it every period since anchor_at would be charged. For the first charge now, leave both out.';
    end if;
    new.next_charge_at := coalesce(new.next_charge_at, new.anchor_at);
    new.due_at := coalesce(new.due_at, new.next_charge_at);
    new.period := coalesce(new.period, (new.due_at at time zone new.time_zone)::date);
    return new;
end
$$;
comment on function billd_internal.subscription_fill() is
    'Derives anchor_at, next_charge_at, due_at and period of a new subscription from what was given.';
create or replace trigger subscription_fill before insert on billd.subscription
    for each row execute function billd_internal.subscription_fill();

create or replace function billd_internal.subscription_has_debts() returns trigger
language plpgsql
as $$
begin
    -- The row is locked by now: a claim that was under way has ended and is seen, and a new one passes it by.
    if exists (select from billd.billing_cycle c where c.subscription_id = old.id) then
        raise exception 'subscription % has debts that refer to it', old.id
            using errcode = 'foreign_key_violation', constraint = 'billing_cycle_belongs_to_a_subscription',
                  schema = tg_table_schema, table = tg_table_name,
                  hint = 'Set state to cancelled to end it.';
    end if;
    return case tg_op when 'DELETE' then old else new end;
end
$$;
comment on function billd_internal.subscription_has_debts() is
    'Refuses to delete or rename a subscription that was charged.';
create or replace trigger subscription_is_kept before delete on billd.subscription
    for each row execute function billd_internal.subscription_has_debts();
create or replace trigger subscription_keeps_its_id after update on billd.subscription
    for each row when (old.id <> new.id)
    execute function billd_internal.subscription_has_debts();
create or replace trigger subscriptions_are_kept before truncate on billd.subscription
    for each statement
    execute function billd_internal.refuse(
        'subscriptions are kept: debts refer to them', 'Set state to cancelled to end one.');

create or replace function billd_internal.subscription_state_changed() returns trigger
language plpgsql
as $$
declare
    tries_again boolean := new.state = 'active' and old.state = 'past_due';
    resumes boolean := new.state = 'active' and old.state in ('paused', 'cancelled');
    goes_on boolean := true;
begin
    if tries_again then
        -- The card was mended: the same debt again, from the first rung.
        if new.attempts >= 99 and exists (
            select from billd.billing_cycle c
            where c.subscription_id = new.id and c.period = new.period and c.state <> 'void'
        ) then
            raise exception 'this period has used all of its 99 attempts'
                using errcode = 'check_violation', constraint = 'attempts_are_at_most_99',
                      hint = 'Void its billing_cycle first; the next period then starts anew.';
        end if;
        update billd.billing_cycle
        set state = 'due', closed_at = null, reason = null
        where subscription_id = new.id and period = new.period and state = 'uncollectible';
        goes_on := found;
    elsif new.state = 'cancelled' then
        update billd.billing_cycle c
        set state = 'void', closed_at = billd.now(), reason = 'the subscription was cancelled'
        where c.subscription_id = new.id and c.state in ('due', 'uncollectible')
          and not billd_internal.has_open_attempt(c.subscription_id, c.period);
    end if;
    update billd.subscription s
    set paused_at = case when old.state = 'active' then billd.now() else s.paused_at end,
        resumed_at = case when new.state = 'active' then billd.now() else s.resumed_at end,
        recheck = s.recheck or resumes or not goes_on,
        state_reason = case when not (resumes or tries_again) then s.state_reason end,
        declines = case when tries_again then 0 else s.declines end,
        next_charge_at = case
            when tries_again then coalesce(s.next_charge_at, billd.now())
            else s.next_charge_at
        end
    where s.id = new.id;
    return null;
end
$$;
comment on function billd_internal.subscription_state_changed() is
    'Lets a plain update of state do what a person means by it: resume, try again, cancel.';
create or replace trigger subscription_state_changed after update on billd.subscription
    for each row when (old.state <> new.state)
    execute function billd_internal.subscription_state_changed();

create or replace function billd_internal.subscription_moved_during_attempt() returns trigger
language plpgsql
as $$
begin
    update billd.subscription s set recheck = true where s.id = new.id and not s.recheck;
    return null;
end
$$;
comment on function billd_internal.subscription_moved_during_attempt() is
    'Should its daemon die, an attempt under way is looked for at the front of what is due, or among what is to be derived again (store::notice_abandoned): which its subscription is, if somebody moves it away from there meanwhile. The attempt itself is not written: whoever records it holds it, and would wait for the subscription.';
create or replace trigger subscription_moved_during_attempt after update on billd.subscription
    for each row
    when (old.open_attempt is not null and old.next_charge_at is not null
          and (old.state, old.next_charge_at, old.open_attempt)
              is distinct from (new.state, new.next_charge_at, new.open_attempt)
          and coalesce(current_setting('billd.writer', true), '') = '')
    execute function billd_internal.subscription_moved_during_attempt();
