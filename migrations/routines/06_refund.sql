-- Triggers of billd.refund: one request to give money back.

create or replace trigger refund_terms_never_change before update on billd.refund
    for each row
    when ((old.id, old.merchant_uid, old.imp_uid, old.key, old.amount, old.currency,
           old.payment_amount, old.checksum, old.tax_free, old.vat_amount)
          is distinct from
          (new.id, new.merchant_uid, new.imp_uid, new.key, new.amount, new.currency,
           new.payment_amount, new.checksum, new.tax_free, new.vat_amount))
    execute function billd_internal.refuse(
        'the terms of a refund never change: the gateway was asked for exactly these',
        'Another sum is another refund.');

create or replace trigger refund_facts_never_change before update on billd.refund
    for each row
    when ((old.state = 'refunded' and new.state <> 'refunded')
          or (old.state in ('refused', 'not_sent') and new.state in ('started', 'unknown')))
    execute function billd_internal.refuse(
        'a refund whose fate is proved is never opened again, and refunded stays refunded',
        'Run billd refund again.');

create or replace trigger refund_is_kept before delete on billd.refund
    for each row
    execute function billd_internal.refuse(
        'refunds are kept for ever: they are the record of what was asked from the gateway',
        'There is nothing to do.');

create or replace function billd_internal.refund_guard() returns trigger
language plpgsql
as $$
begin
    if not exists (
        select from billd.charge_attempt a
        where a.merchant_uid = new.merchant_uid and a.imp_uid = new.imp_uid
          and a.state = 'paid' and a.amount = new.payment_amount and a.currency = new.currency
    ) then
        raise exception 'no payment % of % % under merchant_uid % is in the book, so it can''t be given back',
            new.imp_uid, new.payment_amount, new.currency, new.merchant_uid
            using errcode = 'check_violation', constraint = 'refund_belongs_to_a_payment',
                  hint = 'billd gives back what billd charged. Give other payments back in the PortOne console.';
    end if;
    return new;
end
$$;
comment on function billd_internal.refund_guard() is 'Refuses to give back what was not paid through billd.';

create or replace trigger refund_belongs_to_a_payment before insert on billd.refund
    for each row execute function billd_internal.refund_guard();

create or replace function billd_internal.refund_balance_guard() returns trigger
language plpgsql
as $$
begin
    if exists (
        select from billd.charge_attempt a
        where a.merchant_uid = new.merchant_uid
          and a.cancelled_amount > new.payment_amount - new.checksum
    ) then
        raise exception 'more of payment % has been given back than a balance of % allows',
            new.imp_uid, new.checksum
            using errcode = 'check_violation', constraint = 'refund_knows_the_balance',
                  hint = 'Run billd refund again.';
    elsif new.state in ('started', 'unknown') and exists (
        select from billd.refund r where r.imp_uid = new.imp_uid and r.key = new.key and r.state = 'refunded')
    then
        raise exception 'payment % has been given back under the key % meanwhile', new.imp_uid, new.key
            using errcode = 'check_violation', constraint = 'refund_is_made_once_under_its_key',
                  hint = 'To give the same sum back once more, give it another key.';
    end if;
    return null;
end
$$;
comment on function billd_internal.refund_balance_guard() is
    'Refuses a refund whose balance was looked up before another refund was recorded, and one whose key has been used. After the insert: the place that refund_one_open gives is taken by then, so nothing can be recorded in between, and what this waited for is seen.';

create or replace trigger refund_knows_the_balance after insert on billd.refund
    for each row execute function billd_internal.refund_balance_guard();
