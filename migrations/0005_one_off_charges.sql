-- A one-off charge (billd charge) is a charge attempt without a period: the same table, loop, cap and recorder.
--
-- The rows of billd.hand_charge move, and keep their names. That an attempt is a one-off is said by its
-- subscription_id, which is null: what every charge writes grows by no column.

lock table billd.charge_attempt, billd.hand_charge in access exclusive mode;

alter table billd.charge_attempt
    alter column subscription_id drop not null,
    alter column period drop not null,
    alter column attempt_no drop not null,
    alter column customer_uid drop not null,
    add column name text,
    add column tax_free bigint,
    add column vat_amount bigint,
    add constraint charge_attempt_is_of_a_period_or_a_one_off check (
        case when subscription_id is null
            then period is null and attempt_no is null and name is not null
                and (by_card or customer_uid is not null)
            else period is not null and attempt_no is not null and customer_uid is not null
        end),
    add constraint charge_attempt_one_off_is_asked_about_while_open check (
        subscription_id is not null or (state in ('started', 'unknown')) = (ask_at is not null)),
    add constraint charge_attempt_one_off_is_named_in_letters_and_digits check (
        subscription_id is not null or merchant_uid ~ '^[A-Za-z0-9]{1,40}$'),
    add constraint charge_attempt_one_off_currency_is_three_capital_letters check (
        subscription_id is not null or currency ~ '^[A-Z]{3}$'),
    add constraint charge_attempt_one_off_customer_uid_has_1_to_80_characters check (
        subscription_id is not null or char_length(customer_uid) between 1 and 80),
    add constraint charge_attempt_name_has_1_to_40_characters check (char_length(name) between 1 and 40),
    add constraint charge_attempt_tax_free_is_within_amount check (tax_free between 0 and amount),
    add constraint charge_attempt_vat_amount_is_within_amount check (
        vat_amount >= 0 and vat_amount + coalesce(tax_free, 0) <= amount);

comment on table billd.charge_attempt is
    'One request for money under one merchant_uid, for a period of a subscription or for a one-off charge; written before it leaves. Kept for ever.';
comment on column billd.charge_attempt.subscription_id is
    'Whose debt is asked for; null for a one-off charge, which has no period and is never sent again.';
comment on column billd.charge_attempt.customer_uid is
    'The billing key that is charged, or under which the card itself is stored; null for a card that is not stored.';
comment on column billd.charge_attempt.by_card is
    'True if the card itself was sent (billd charge onetime), so that this request can''t be repeated. If it was the first payment of a subscription and fails, the subscription is cancelled.';
comment on column billd.charge_attempt.name is 'What the buyer''s statement says of a one-off charge; null for a period.';
comment on column billd.charge_attempt.tax_free is
    'Tax-free part of a one-off charge, as the gateway was told. A full refund gives it back with the same part. Null for a period: see its billing_cycle.';
comment on column billd.charge_attempt.vat_amount is
    'Value-added tax within a one-off charge, as the gateway was told; null let it compute that.';

create unique index charge_attempt_one_off_one_open on billd.charge_attempt (customer_uid)
    -- Not by state: a predicate that an outcome changes would end HOT updates for all attempts.
    where subscription_id is null and ask_at is not null and customer_uid is not null;
comment on index billd.charge_attempt_one_off_one_open is
    'Law: one open question. No second one-off charge of a card while the first one''s fate is open.';

-- To the triggers this is the claim that it once was.
select set_config('billd.writer', 'claim', true);
insert into billd.charge_attempt
    (merchant_uid, by_card, state, customer_uid, name, amount, currency, tax_free, vat_amount, started_at, finished_at,
     imp_uid, reason, code, message, ask_at, asks, asked_at, not_found, parked_at, fence, pg_provider, pg_tid,
     receipt_url, cancelled_amount)
select merchant_uid, kind = 'onetime', state, customer_uid, name, amount, currency, tax_free, vat_amount, started_at,
    finished_at, imp_uid, reason, code, message, ask_at, asks, asked_at, not_found, parked_at, fence, pg_provider,
    pg_tid, receipt_url, cancelled_amount
from billd.hand_charge;
select set_config('billd.writer', '', true);

-- ------------------------------------------------------------------------------ for billd 0.1
-- It goes on beginning, asking about and recording charges under the old name, until it has gone.

-- Renamed and not dropped: until the routines are applied, views stand on it.
alter table billd.hand_charge rename to hand_charge_moved;

create view billd.hand_charge as
select merchant_uid, case when by_card then 'onetime' else 'again' end as kind, state, customer_uid, name, amount,
       currency, tax_free, vat_amount, started_at, finished_at, imp_uid, reason, code, message, ask_at, asks, not_found,
       parked_at, fence, pg_provider, pg_tid, receipt_url, cancelled_amount, asked_at
from billd.charge_attempt
where subscription_id is null;
comment on view billd.hand_charge is 'One-off charges, as billd 0.1 knows them. See billd.charge_attempt.';

create or replace view billd.asked_for as
select merchant_uid, case when subscription_id is null then 'hand' else 'attempt' end as made_by, subscription_id, period,
       state, amount, currency, customer_uid, imp_uid, cancelled_amount, started_at as asked_at
from billd.charge_attempt;

do $$
declare
    one record;
begin
    for one in
        select a.grantee::regrole as grantee, a.privilege_type
        from pg_class c cross join lateral aclexplode(c.relacl) a
        where c.oid = 'billd.hand_charge_moved'::regclass and a.grantee <> 0 and a.grantee <> c.relowner
    loop
        execute format('grant %s on billd.hand_charge to %s', one.privilege_type, one.grantee);
    end loop;
end
$$;
truncate billd.hand_charge_moved;

create function billd_internal.begin_one_off_of_0_1() returns trigger
language plpgsql
as $$
begin
    insert into billd.charge_attempt
        (merchant_uid, by_card, customer_uid, name, amount, currency, tax_free, vat_amount, ask_at, fence)
    values (new.merchant_uid, new.kind = 'onetime', new.customer_uid, new.name, new.amount, new.currency, new.tax_free,
        new.vat_amount, new.ask_at, new.fence)
    on conflict do nothing;
    return case when found then new end;
end
$$;
comment on function billd_internal.begin_one_off_of_0_1() is 'Begins a one-off charge for billd 0.1.';
create trigger hand_charge_of_0_1 instead of insert on billd.hand_charge
    for each row execute function billd_internal.begin_one_off_of_0_1();
