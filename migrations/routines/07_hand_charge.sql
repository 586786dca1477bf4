-- Triggers of billd.hand_charge.

create or replace trigger hand_charge_terms_never_change before update on billd.hand_charge
    for each row
    when ((old.merchant_uid, old.kind, old.customer_uid, old.name, old.amount, old.currency,
           old.tax_free, old.vat_amount)
          is distinct from
          (new.merchant_uid, new.kind, new.customer_uid, new.name, new.amount, new.currency,
           new.tax_free, new.vat_amount))
    execute function billd_internal.refuse(
        'the terms of a charge never change: the gateway was asked for exactly these',
        'Another sum or card is another charge, under another merchant_uid.');

create or replace trigger hand_charge_facts_never_change before update on billd.hand_charge
    for each row
    when ((old.state = 'paid' and new.state <> 'paid')
          or (old.state in ('declined', 'not_sent') and new.state in ('started', 'unknown')))
    execute function billd_internal.refuse(
        'a charge whose fate is proved is never opened again, and paid stays paid',
        'Charge again under another merchant_uid.');

create or replace trigger hand_charge_is_kept before delete on billd.hand_charge
    for each row
    execute function billd_internal.refuse(
        'charges are kept for ever: they are the record of what was asked from the gateway',
        'To give money back, use billd refund.');
