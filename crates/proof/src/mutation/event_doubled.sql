-- Each third payment is told twice.

create function proof.double_event() returns trigger
language plpgsql security definer set search_path = pg_catalog
as $$
begin
    insert into billd_internal.event_row (tx, kind, subscription_id, period, merchant_uid, amount, currency, attempt_no)
    values (new.tx, 'paid', new.subscription_id, new.period, new.merchant_uid, new.amount, new.currency, new.attempt_no);
    return null;
end
$$;
create trigger proof_double_event after insert on billd_internal.event_row
    for each row when (new.kind = 'paid' and new.id % 3 = 0 and pg_trigger_depth() = 0) execute function proof.double_event();
