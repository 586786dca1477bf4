-- Triggers of billd.billing_cycle: the debt of one period.

create or replace function billd_internal.billing_cycle_belongs() returns trigger
language plpgsql
as $$
begin
    -- It is held: whoever deletes it waits, and then finds the debt; and a claim passes it by.
    perform from billd.subscription s where s.id = new.subscription_id for no key update;
    if not found then
        raise exception 'there is no subscription %', new.subscription_id
            using errcode = 'foreign_key_violation', constraint = tg_name,
                  schema = tg_table_schema, table = tg_table_name;
    end if;
    return null;
end
$$;
comment on function billd_internal.billing_cycle_belongs() is
    'Refuses a debt of no subscription. A claim has locked the subscription itself.';
create or replace trigger billing_cycle_belongs_to_a_subscription after insert on billd.billing_cycle
    for each row when (coalesce(current_setting('billd.writer', true), '') not in ('claim', 'claim_due'))
    execute function billd_internal.billing_cycle_belongs();

create or replace function billd_internal.billing_cycle_fill() returns trigger
language plpgsql
as $$
begin
    select case when s.period = new.period and s.due_at = new.due_at then s.until_at
        else billd_internal.period_end(
            s.anchor_at, s.billing_day, s.interval_unit, s.interval_count, s.time_zone, new.due_at) end
    into new.until_at
    from billd.subscription s where s.id = new.subscription_id;
    if not found then
        raise exception 'there is no subscription %', new.subscription_id
            using errcode = 'foreign_key_violation', constraint = 'billing_cycle_belongs_to_a_subscription',
                  schema = tg_table_schema, table = tg_table_name;
    end if;
    return new;
end
$$;
comment on function billd_internal.billing_cycle_fill() is 'Derives the end of the time that a debt pays for.';
create or replace trigger billing_cycle_fill before insert on billd.billing_cycle
    for each row when (new.until_at is null)
    execute function billd_internal.billing_cycle_fill();

create or replace function billd_internal.billing_cycle_overlaps() returns trigger
language plpgsql
as $$
begin
    if exists (
        select from billd.billing_cycle c
        where c.subscription_id = new.subscription_id and c.period <> new.period and c.state <> 'void'
          and c.due_at < new.until_at and c.until_at > new.due_at
    ) or new.state in ('due', 'unresolved') and not exists (
        select from billd.subscription s
        where s.id = new.subscription_id and (s.period, s.due_at) = (new.period, new.due_at)
    ) then
        raise exception 'the time from % to % is billed already, or not next in turn', new.due_at, new.until_at
            using errcode = 'check_violation', constraint = tg_name,
                  schema = tg_table_schema, table = tg_table_name,
                  hint = 'Only the current period of a subscription can become a debt. To ask for more, add to its amount.';
    end if;
    return null;
end
$$;
comment on function billd_internal.billing_cycle_overlaps() is
    'Law: no time is billed twice. billd''s own statements compare with the cursor in the subscription''s row instead.';
create or replace trigger billing_cycle_bills_no_time_twice after insert on billd.billing_cycle
    for each row
    when (new.state <> 'void'
          and coalesce(current_setting('billd.writer', true), '') not in ('claim', 'claim_due', 'plan'))
    execute function billd_internal.billing_cycle_overlaps();
create or replace trigger billing_cycle_keeps_its_time after update on billd.billing_cycle
    for each row
    when (((old.due_at, old.until_at) is distinct from (new.due_at, new.until_at)
              or old.state = 'void' and new.state in ('due', 'unresolved'))
          and coalesce(current_setting('billd.writer', true), '') = '')
    execute function billd_internal.refuse(
        'a debt keeps the time that it pays for, and one that was closed without a charge stays closed',
        'To ask for more: billd.add_item. To bill other times from the next period on: billd.change_plan, move_day or extend.');

create or replace trigger billing_cycle_stays_what_it_is after update on billd.billing_cycle
    for each row
    when ((old.subscription_id, old.period) is distinct from (new.subscription_id, new.period))
    execute function billd_internal.refuse(
        'a debt stays with its subscription and its period',
        'billd.forgive(id, period) closes it without a charge; billd.move_day and change_plan change what follows.');
create or replace trigger billing_cycle_is_kept before delete on billd.billing_cycle
    for each row
    when (current_setting('billd.forgetting', true) is distinct from 'on')
    execute function billd_internal.refuse(
        'debts are kept: they say what was owed, and why it was not charged',
        'Set state to void to close it without a charge.');
create or replace trigger billing_cycles_are_kept before truncate on billd.billing_cycle
    for each statement
    execute function billd_internal.refuse(
        'debts are kept: they say what was owed, and why it was not charged',
        'Set state to void to close one without a charge.');

create or replace function billd_internal.billing_cycle_guard() returns trigger
language plpgsql
as $$
begin
    -- A claim of a later attempt locks this row and writes beside it, so PostgreSQL sees no conflict with it.
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'this can''t be done in a transaction that is %', current_setting('transaction_isolation')
            using errcode = 'invalid_transaction_state',
                  hint = 'Do it in one that is read committed, as PostgreSQL''s are by default: what was begun meanwhile has to be seen.';
    end if;
    if billd_internal.has_open_attempt(old.subscription_id, old.period) then
        raise exception 'an attempt of this cycle is open: its amount can''t change and it can''t be closed by hand'
            using errcode = 'check_violation', constraint = tg_name,
                  hint = 'Wait until charge_attempt.state is no longer started or unknown. billd.add_item and give_credit change the next period.';
    end if;
    return new;
end
$$;
comment on function billd_internal.billing_cycle_guard() is 'Keeps the amount of an open attempt''s debt as it is.';
create or replace trigger billing_cycle_amount_waits_for_the_attempt after update on billd.billing_cycle
    for each row
    when ((old.amount, old.currency, old.tax_free, old.vat_amount, old.card_quota)
          is distinct from (new.amount, new.currency, new.tax_free, new.vat_amount, new.card_quota))
    execute function billd_internal.billing_cycle_guard();
create or replace trigger billing_cycle_void_waits_for_the_attempt after update on billd.billing_cycle
    for each row
    when (new.state = 'void' and old.state <> 'void')
    execute function billd_internal.billing_cycle_guard();

create or replace function billd_internal.billing_cycle_voided() returns trigger
language plpgsql
as $$
declare
    writer text := billd_internal.write_as('plan');
begin
    update billd.subscription set recheck = true
    where id = new.subscription_id and period = new.period and not recheck;
    perform billd_internal.write_as(writer);
    return null;
end
$$;
comment on function billd_internal.billing_cycle_voided() is
    'Makes billd move a subscription past a debt that a person has forgiven.';
create or replace trigger billing_cycle_voided after update on billd.billing_cycle
    for each row
    when (new.state = 'void' and old.state <> 'void' and pg_trigger_depth() = 0
          and current_setting('billd.writer', true) is distinct from 'record')
    execute function billd_internal.billing_cycle_voided();
