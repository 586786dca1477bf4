-- Charges and refunds that people ask for by hand, under the same laws: written down before the
-- request leaves, one open question at a time, and what is doubtful is asked for.

-- ------------------------------------------------------------------------ charges by hand

create table billd.hand_charge (
    merchant_uid text collate "C" not null,
    kind text not null,
    state text not null default 'started',
    customer_uid text collate "C",
    name text not null,
    amount bigint not null,
    currency text not null,
    tax_free bigint,
    vat_amount bigint,
    started_at timestamptz not null default billd.now(),
    finished_at timestamptz,
    imp_uid text,
    reason text,
    code text,
    message text,
    ask_at timestamptz,
    asks smallint not null default 0,
    not_found smallint not null default 0,
    parked_at timestamptz,
    fence bigint not null default 0,
    pg_provider text,
    pg_tid text,
    receipt_url text,
    cancelled_amount bigint not null default 0,

    constraint hand_charge_pkey primary key (merchant_uid),
    constraint hand_charge_merchant_uid_has_1_to_40_letters_or_digits
        check (merchant_uid ~ '^[A-Za-z0-9]{1,40}$'),
    constraint hand_charge_kind_is_onetime_or_again check (kind in ('onetime', 'again')),
    constraint hand_charge_again_needs_a_customer_uid
        check (kind <> 'again' or customer_uid is not null),
    constraint hand_charge_state_is_known
        check (state in ('started', 'paid', 'declined', 'not_sent', 'unknown')),
    constraint hand_charge_customer_uid_has_1_to_80_characters
        check (char_length(customer_uid) between 1 and 80),
    constraint hand_charge_name_has_1_to_40_characters check (char_length(name) between 1 and 40),
    constraint hand_charge_amount_is_between_1_and_1000000000
        check (amount between 1 and 1000000000),
    constraint hand_charge_currency_is_three_capital_letters check (currency ~ '^[A-Z]{3}$'),
    constraint hand_charge_tax_free_is_within_amount check (tax_free between 0 and amount),
    constraint hand_charge_vat_amount_is_within_amount
        check (vat_amount >= 0 and vat_amount + coalesce(tax_free, 0) <= amount),
    constraint hand_charge_is_open_or_finished
        check ((state in ('started', 'unknown')) = (finished_at is null)),
    constraint hand_charge_is_asked_about_while_open
        check ((state in ('started', 'unknown')) = (ask_at is not null)),
    constraint hand_charge_paid_has_its_imp_uid check (state <> 'paid' or imp_uid is not null)
);

comment on table billd.hand_charge is
    'One charge outside a subscription, made with billd charge. Written before it leaves, kept for ever.';
comment on column billd.hand_charge.kind is
    'onetime: the card itself was sent. again: the billing key of customer_uid was charged.';
comment on column billd.hand_charge.state is
    'started: may be on its way, or was lost in a crash. unknown: nobody can tell yet, the gateway is being asked. paid: money moved. declined: refused, no money. not_sent: never left, no money.';
comment on column billd.hand_charge.customer_uid is
    'The billing key that is charged, or that a onetime charge stores; null for a card that is not stored.';
comment on column billd.hand_charge.tax_free is
    'Tax-free part of amount, as the gateway was told. A full refund gives it back with the same part.';
comment on column billd.hand_charge.vat_amount is
    'Value-added tax within amount, as the gateway was told; null let it compute that.';
comment on column billd.hand_charge.parked_at is
    'Since when it waits for a person; billd never sends it again. The gateway is still asked daily.';
comment on column billd.hand_charge.cancelled_amount is 'How much the gateway says was given back.';

create unique index hand_charge_one_open on billd.hand_charge (customer_uid)
    where state in ('started', 'unknown') and customer_uid is not null;
comment on index billd.hand_charge_one_open is
    'Law: one open question. No second charge of a card by hand while the first one''s fate is open.';
create index hand_charge_to_ask on billd.hand_charge (ask_at) where state in ('started', 'unknown');
comment on index billd.hand_charge_to_ask is 'Serves reconciliation (claim_open_hand).';

create trigger hand_charge_terms_never_change before update on billd.hand_charge
    for each row
    when ((old.merchant_uid, old.kind, old.customer_uid, old.name, old.amount, old.currency,
           old.tax_free, old.vat_amount)
          is distinct from
          (new.merchant_uid, new.kind, new.customer_uid, new.name, new.amount, new.currency,
           new.tax_free, new.vat_amount))
    execute function billd.refuse(
        'the terms of a charge never change: the gateway was asked for exactly these',
        'Another sum or card is another charge, under another merchant_uid.');

create trigger hand_charge_facts_never_change before update on billd.hand_charge
    for each row
    when ((old.state = 'paid' and new.state <> 'paid')
          or (old.state in ('declined', 'not_sent') and new.state in ('started', 'unknown')))
    execute function billd.refuse(
        'a charge whose fate is proved is never opened again, and paid stays paid',
        'Charge again under another merchant_uid.');

create trigger hand_charge_is_kept before delete on billd.hand_charge
    for each row
    execute function billd.refuse(
        'charges are kept for ever: they are the record of what was asked from the gateway',
        'To give money back, use billd refund.');

-- --------------------------------------------------- subscriptions that begin with a payment

alter table billd.charge_attempt add column by_card boolean not null default false;
comment on column billd.charge_attempt.by_card is
    'True for the first payment of billd charge onetime --subscribe: the card itself was sent, so this request can''t be repeated. If it fails, the subscription is cancelled.';

drop trigger charge_attempt_terms_never_change on billd.charge_attempt;
create trigger charge_attempt_terms_never_change after update on billd.charge_attempt
    for each row
    when ((old.merchant_uid, old.subscription_id, old.period, old.attempt_no, old.amount,
           old.currency, old.customer_uid, old.by_card)
          is distinct from
          (new.merchant_uid, new.subscription_id, new.period, new.attempt_no, new.amount,
           new.currency, new.customer_uid, new.by_card))
    execute function billd.refuse(
        'the terms of a charge attempt never change: the gateway was asked for exactly these',
        'Change billd.subscription (for the next period) or billd.billing_cycle (for the next attempt).');

create function billd.first_payment_failed() returns trigger
language plpgsql
as $$
begin
    -- The subscription first, as everywhere: in another order two writers wait for each other.
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
        fence = billd.next_fence(fence)
    where id = new.subscription_id and period = new.period and state <> 'cancelled';
    return null;
end
$$;
comment on function billd.first_payment_failed() is
    'A subscription whose first payment, made with the card itself, was not made has never begun. Nobody may charge its billing key in place of the card.';
create trigger first_payment_failed after update on billd.charge_attempt
    for each row
    when (new.by_card and old.state in ('started', 'unknown') and new.state in ('declined', 'not_sent'))
    execute function billd.first_payment_failed();

-- -------------------------------------------------------------------------------- refunds

create table billd.refund (
    id uuid constraint refund_pkey primary key default gen_random_uuid(),
    merchant_uid text collate "C" not null,
    imp_uid text not null,
    key text not null,
    state text not null default 'started',
    amount bigint not null,
    currency text not null,
    payment_amount bigint not null,
    checksum bigint not null,
    tax_free bigint,
    vat_amount bigint,
    note text,
    started_at timestamptz not null default billd.now(),
    finished_at timestamptz,
    reason text,
    message text,
    ask_at timestamptz,
    asks smallint not null default 0,
    unchanged smallint not null default 0,
    parked_at timestamptz,
    fence bigint not null default 0,

    constraint refund_state_is_known
        check (state in ('started', 'refunded', 'refused', 'not_sent', 'unknown')),
    constraint refund_key_has_1_to_64_characters check (char_length(key) between 1 and 64),
    constraint refund_amount_is_within_the_balance check (amount between 1 and checksum),
    constraint refund_balance_is_within_the_payment check (checksum <= payment_amount),
    constraint refund_tax_free_is_within_amount check (tax_free between 0 and amount),
    constraint refund_vat_amount_is_within_amount check (vat_amount between 0 and amount),
    constraint refund_currency_is_three_capital_letters check (currency ~ '^[A-Z]{3}$'),
    constraint refund_is_open_or_finished
        check ((state in ('started', 'unknown')) = (finished_at is null)),
    constraint refund_is_asked_about_while_open
        check ((state in ('started', 'unknown')) = (ask_at is not null))
);

comment on table billd.refund is
    'One request to give money back, made with billd refund. Written before it leaves, kept for ever.';
comment on column billd.refund.merchant_uid is 'The payment, in billd.charge_attempt or billd.hand_charge.';
comment on column billd.refund.key is
    'Names the refund within its payment: the same command twice is the same refund. The sum, or "full", unless --key says otherwise.';
comment on column billd.refund.state is
    'started: may be on its way. unknown: nobody can tell yet, the payment''s balance is being looked at. refunded: money was given back. refused, not_sent: it was not.';
comment on column billd.refund.checksum is
    'What could still be given back before this refund. Sent along: the gateway does nothing if its own balance differs, so the same refund can''t happen twice.';
comment on column billd.refund.unchanged is 'How often in a row the payment''s balance was found as it had been before.';
comment on column billd.refund.note is 'What the gateway was told as the reason.';

create unique index refund_one_open on billd.refund (imp_uid) where state in ('started', 'unknown');
comment on index billd.refund_one_open is
    'Law: one open question. No second refund of a payment while the first one''s fate is open.';
create unique index refund_once on billd.refund (imp_uid, key)
    where state in ('started', 'unknown');
comment on index billd.refund_once is
    'The same command twice gives money back once. Only an intent is constrained: that money was given back twice can be written down.';
create index refund_of_key on billd.refund (imp_uid, key) where state = 'refunded';
comment on index billd.refund_of_key is 'Serves begin_refund and refund_of_key.';
create index refund_to_ask on billd.refund (ask_at) where state in ('started', 'unknown');
comment on index billd.refund_to_ask is 'Serves reconciliation (claim_open_refund).';

create trigger refund_terms_never_change before update on billd.refund
    for each row
    when ((old.id, old.merchant_uid, old.imp_uid, old.key, old.amount, old.currency,
           old.payment_amount, old.checksum, old.tax_free, old.vat_amount)
          is distinct from
          (new.id, new.merchant_uid, new.imp_uid, new.key, new.amount, new.currency,
           new.payment_amount, new.checksum, new.tax_free, new.vat_amount))
    execute function billd.refuse(
        'the terms of a refund never change: the gateway was asked for exactly these',
        'Another sum is another refund.');

create trigger refund_facts_never_change before update on billd.refund
    for each row
    when ((old.state = 'refunded' and new.state <> 'refunded')
          or (old.state in ('refused', 'not_sent') and new.state in ('started', 'unknown')))
    execute function billd.refuse(
        'a refund whose fate is proved is never opened again, and refunded stays refunded',
        'Run billd refund again.');

create trigger refund_is_kept before delete on billd.refund
    for each row
    execute function billd.refuse(
        'refunds are kept for ever: they are the record of what was asked from the gateway',
        'There is nothing to do.');

create function billd.refund_guard() returns trigger
language plpgsql
as $$
begin
    if not exists (
        select from billd.charge_attempt a
        where a.merchant_uid = new.merchant_uid and a.imp_uid = new.imp_uid
          and a.state = 'paid' and a.amount = new.payment_amount and a.currency = new.currency
        union all
        select from billd.hand_charge h
        where h.merchant_uid = new.merchant_uid and h.imp_uid = new.imp_uid
          and h.state = 'paid' and h.amount = new.payment_amount and h.currency = new.currency
    ) then
        raise exception 'no payment % of % % under merchant_uid % is in the book, so it can''t be given back',
            new.imp_uid, new.payment_amount, new.currency, new.merchant_uid
            using errcode = 'check_violation', constraint = 'refund_belongs_to_a_payment',
                  hint = 'billd gives back what billd charged. Give other payments back in the PortOne console.';
    end if;
    return new;
end
$$;
comment on function billd.refund_guard() is 'Refuses to give back what was not paid through billd.';
create trigger refund_belongs_to_a_payment before insert on billd.refund
    for each row execute function billd.refund_guard();

create function billd.refund_balance_guard() returns trigger
language plpgsql
as $$
begin
    if exists (
        select from billd.charge_attempt a
        where a.merchant_uid = new.merchant_uid
          and a.cancelled_amount > new.payment_amount - new.checksum
        union all
        select from billd.hand_charge h
        where h.merchant_uid = new.merchant_uid
          and h.cancelled_amount > new.payment_amount - new.checksum
    ) then
        raise exception 'more of payment % has been given back than a balance of % allows',
            new.imp_uid, new.checksum
            using errcode = 'check_violation', constraint = 'refund_knows_the_balance',
                  hint = 'Run billd refund again.';
    end if;
    return null;
end
$$;
comment on function billd.refund_balance_guard() is
    'Refuses a refund whose balance was looked up before another refund was recorded. After the insert: the place that refund_one_open gives is taken by then, so nothing can be recorded in between.';
create trigger refund_knows_the_balance after insert on billd.refund
    for each row execute function billd.refund_balance_guard();

-- ------------------------------------------------------------------------- for people's eyes

create or replace view billd.attention as
select 'unknown'::text as kind, a.subscription_id, a.merchant_uid, a.started_at as since,
       coalesce(a.reason, 'started') as reason, a.message,
       case when a.parked_at is null then 'billd is asking the gateway; nothing to do yet'
            else 'look the payment up in the console; see OPERATIONS.md, parked attempts' end as what_to_do
from billd.charge_attempt a
where a.state = 'unknown' and a.ask_at is not null
union all
select 'past_due', s.id, billd.last_attempt(s.id, s.period), s.last_result_at, s.state_reason, s.last_message,
       'ask the customer for a card, then set state to active'
from billd.subscription s
where s.state = 'past_due'
union all
select 'paid_twice', p.subscription_id, p.merchant_uids[1], null, p.payments || ' payments', null,
       'give the surplus back'
from billd.paid_twice p
union all
select 'stuck', s.id, billd.last_attempt(s.id, s.period), s.last_result_at, 'active, but nothing is planned', null,
       'set next_charge_at'
from billd.subscription s
where s.state = 'active' and s.next_charge_at is null and s.open_attempt is null and not s.recheck
union all
select 'stuck', s.id, billd.last_attempt(s.id, s.period), s.last_result_at, 'all 99 attempts are used', null,
       'void the billing_cycle of this period'
from billd.subscription s
where s.state = 'active' and s.next_charge_at <= billd.now() and s.attempts >= 99
union all
select 'hand_charge', null, h.merchant_uid, h.started_at, coalesce(h.reason, 'started'), h.message,
       case when h.parked_at is null then 'billd is asking the gateway; nothing to do yet'
            else 'look the payment up in the console; see OPERATIONS.md, parked charges' end
from billd.hand_charge h
where h.state = 'unknown'
union all
select 'refund', null, r.merchant_uid, r.started_at, coalesce(r.reason, 'started'), r.message,
       case when r.parked_at is null then 'billd is looking at the payment; nothing to do yet'
            else 'look the payment up in the console; see OPERATIONS.md, parked refunds' end
from billd.refund r
where r.state = 'unknown';
