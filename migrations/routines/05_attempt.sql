-- Triggers of billd.charge_attempt: one request for money.

create or replace trigger charge_attempt_terms_never_change after update on billd.charge_attempt
    for each row
    when ((old.merchant_uid, old.subscription_id, old.period, old.attempt_no, old.amount,
           old.currency, old.customer_uid, old.by_card, old.name, old.tax_free, old.vat_amount)
          is distinct from
          (new.merchant_uid, new.subscription_id, new.period, new.attempt_no, new.amount,
           new.currency, new.customer_uid, new.by_card, new.name, new.tax_free, new.vat_amount))
    execute function billd_internal.refuse(
        'the terms of a charge attempt never change: the gateway was asked for exactly these',
        'Change billd.subscription (for the next period) or billd.billing_cycle (for the next attempt). Another one-off charge takes another merchant_uid.');

create or replace trigger charge_attempt_facts_never_change after update on billd.charge_attempt
    for each row
    when ((old.state = 'paid' and new.state <> 'paid')
          or (old.state = 'declined' and new.state in ('started', 'unknown'))
          or (old.state = 'not_sent' and new.state = 'unknown'))
    execute function billd_internal.refuse(
        'a charge attempt whose fate is proved is never opened again, and paid stays paid',
        'A new request for money is a new attempt, and billd makes it.');

create or replace function billd_internal.open_attempt_beside(attempt billd.charge_attempt) returns text
language sql stable parallel safe
as $$
    select min(a.merchant_uid)
    from billd.attempts_of(attempt.subscription_id, attempt.period) a
    where a.merchant_uid <> attempt.merchant_uid and a.state in ('started', 'unknown')
$$;
comment on function billd_internal.open_attempt_beside(billd.charge_attempt) is
    'merchant_uid of another attempt of the same period that is open; null if there is none.';

create or replace function billd_internal.charge_attempt_reopened() returns trigger
language plpgsql
as $$
begin
    if old.not_sent > 0 and exists (
        select from billd.subscription s
        join billd.billing_cycle c on c.subscription_id = s.id and c.period = s.period
        where s.id = new.subscription_id and s.period = new.period
          and coalesce(s.open_attempt, new.merchant_uid) = new.merchant_uid and s.attempts = new.attempt_no
          and s.fence <= new.fence and old.fence < new.fence
          and c.state = 'due'
          and (c.amount, c.currency, s.customer_uid) = (new.amount, new.currency, new.customer_uid)
    ) and billd_internal.open_attempt_beside(new) is null then
        return null;
    end if;
    raise exception 'only a claim opens % again', new.merchant_uid
        using errcode = 'check_violation', constraint = tg_name,
              schema = tg_table_schema, table = tg_table_name,
              hint = 'Set next_charge_at of the subscription: billd claims it, and asks for the debt again.';
end
$$;
comment on function billd_internal.charge_attempt_reopened() is
    'What did not leave may be sent after all, under its own name, if the claim holds the subscription and the terms are still those of its due debt.';
create or replace trigger charge_attempt_is_opened_again_by_a_claim after update on billd.charge_attempt
    for each row when (old.state = 'not_sent' and new.state = 'started')
    execute function billd_internal.charge_attempt_reopened();

create or replace trigger charge_attempt_is_kept before delete on billd.charge_attempt
    for each row
    when (current_setting('billd.forgetting', true) is distinct from 'on')
    execute function billd_internal.refuse(
        'charge attempts are kept for ever: they are the record of what was asked from the gateway',
        'To stop charging, set the subscription to paused or cancelled.');
create or replace trigger charge_attempts_are_kept before truncate on billd.charge_attempt
    for each statement
    execute function billd_internal.refuse(
        'charge attempts are kept for ever: they are the record of what was asked from the gateway',
        'To stop charging, set the subscription to paused or cancelled.');

create or replace function billd_internal.charge_attempt_closed() returns trigger
language plpgsql
as $$
declare
    writer text := billd_internal.write_as('plan');
begin
    update billd.subscription s
    set recheck = true
    where s.id = new.subscription_id and s.period = new.period and not s.recheck;
    perform billd_internal.write_as(writer);
    return null;
end
$$;
comment on function billd_internal.charge_attempt_closed() is
    'Makes billd derive the next step of a subscription whose attempt was closed without it, by hand for instance.';
create or replace trigger charge_attempt_closed after update on billd.charge_attempt
    for each row
    when (old.state <> new.state and new.state in ('paid', 'declined', 'not_sent')
          and new.subscription_id is not null
          and current_setting('billd.writer', true) is distinct from 'record')
    execute function billd_internal.charge_attempt_closed();

create or replace function billd_internal.charge_attempt_guard() returns trigger
language plpgsql
as $$
declare
    is_claim boolean := coalesce(current_setting('billd.writer', true) in ('claim', 'claim_due'), false);
    is_open boolean := new.state in ('started', 'unknown');
    writer text;
    debt text;
    other text;
begin
    if new.merchant_uid <> billd.merchant_uid(new.subscription_id, new.period, new.attempt_no) then
        raise exception 'attempt % of period % is named %, and not %', new.attempt_no, new.period,
            billd.merchant_uid(new.subscription_id, new.period, new.attempt_no), new.merchant_uid
            using errcode = 'check_violation', constraint = 'merchant_uid_names_the_attempt',
                  schema = tg_table_schema, table = tg_table_name,
                  hint = 'billd.merchant_uid(subscription_id, period, attempt_no) gives the name.';
    end if;
    if is_open and not is_claim then
        -- Noted, as a claim does. Whoever else has written the row since this transaction's snapshot is met here.
        writer := billd_internal.write_as('plan');
        update billd.subscription s
        set open_attempt = case when s.period = new.period then coalesce(s.open_attempt, new.merchant_uid)
                                else s.open_attempt end,
            recheck = true
        where s.id = new.subscription_id;
        perform billd_internal.write_as(writer);
    end if;
    select c.state into debt
    from billd.billing_cycle c
    where c.subscription_id = new.subscription_id and c.period = new.period;
    if debt is null then
        raise exception 'subscription % has no cycle of %', new.subscription_id, new.period
            using errcode = 'foreign_key_violation', constraint = 'charge_attempt_belongs_to_a_cycle',
                  schema = tg_table_schema, table = tg_table_name,
                  hint = 'An attempt asks for a debt: its billing_cycle comes first.';
    elsif not is_open then
        return null;
    elsif debt <> 'due' then
        raise exception 'the cycle of % for subscription % is %, so no attempt may begin',
            new.period, new.subscription_id, debt
            using errcode = 'check_violation', constraint = 'charge_attempt_needs_a_due_cycle',
                  schema = tg_table_schema, table = tg_table_name,
                  hint = 'Only a cycle in state due can be charged.';
    elsif new.ask_at is null and not is_claim then
        raise exception 'attempt % is open, so ask_at must say from when to ask about it', new.merchant_uid
            using errcode = 'check_violation', constraint = 'charge_attempt_is_asked_about_while_open',
                  schema = tg_table_schema, table = tg_table_name,
                  hint = 'Only what a claim began is found without it.';
    end if;
    other := billd_internal.open_attempt_beside(new);
    if other is not null then
        raise exception 'attempt % of the same cycle is open, so no other may begin', other
            using errcode = 'unique_violation', constraint = 'charge_attempt_one_open',
                  schema = tg_table_schema, table = tg_table_name,
                  hint = 'Wait until its fate is proved: charge_attempt.state is then no longer started or unknown.';
    end if;
    return null;
end
$$;
comment on function billd_internal.charge_attempt_guard() is
    'Law: an attempt bears the name of its debt and its number, its debt is due, and no other attempt of that debt is open. A claim computes the name and opens the debt itself with the first attempt; later ones are looked at here whoever writes them.';
create or replace trigger charge_attempt_guard after insert on billd.charge_attempt
    for each row
    when (new.subscription_id is not null
          and (new.attempt_no > 1
               or coalesce(current_setting('billd.writer', true), '') not in ('claim', 'claim_due')))
    execute function billd_internal.charge_attempt_guard();

create or replace trigger charge_attempt_one_off_is_not_named_like_an_attempt after insert on billd.charge_attempt
    for each row
    -- By its form: the subscription of that name may be made later.
    when (new.subscription_id is null and new.merchant_uid ~ '^[0-9a-f]{32}[0-9]{8}$'
          and coalesce(current_setting('billd.writer', true), '') <> 'claim')
    execute function billd_internal.refuse(
        'a name of 32 hexadecimal digits and 8 decimal ones is an attempt''s of a subscription',
        'Take another merchant_uid.');

create or replace function billd_internal.first_payment_failed() returns trigger
language plpgsql
as $$
declare
    writer text := billd_internal.write_as('plan');
begin
    -- The subscription first: see the order of locks.
    perform 1 from billd.subscription where id = new.subscription_id for no key update;
    update billd.billing_cycle
    set state = 'void', closed_at = billd.now(), reason = 'the first payment was not made'
    where subscription_id = new.subscription_id and period = new.period
      and state in ('due', 'unresolved', 'uncollectible');
    update billd.subscription
    set state = 'cancelled',
        state_reason = coalesce(state_reason, 'first_payment; ' || coalesce(new.message, new.state)),
        next_charge_at = null,
        open_attempt = null,
        fence = billd_internal.next_fence(fence)
    where id = new.subscription_id and period = new.period and state <> 'cancelled';
    perform billd_internal.write_as(writer);
    return null;
end
$$;
comment on function billd_internal.first_payment_failed() is
    'A subscription whose first payment, made with the card itself, was not made has never begun. Nobody may charge its billing key in place of the card.';
create or replace trigger first_payment_failed after update on billd.charge_attempt
    for each row
    when (new.by_card and new.subscription_id is not null
          and old.state in ('started', 'unknown') and new.state in ('declined', 'not_sent'))
    execute function billd_internal.first_payment_failed();
