-- A one-off charge that waits for a person is declined instead: its person charges the card again.

create function proof.write_off_one_off() returns trigger
language plpgsql security definer set search_path = pg_catalog
as $$
begin
    new.state := 'declined';
    new.reason := 'unspecified';
    new.finished_at := billd.now();
    new.ask_at := null;
    new.parked_at := null;
    return new;
end
$$;
create trigger proof_write_off_one_off before update on billd.charge_attempt
    for each row when (new.subscription_id is null and new.state = 'unknown' and new.parked_at is not null)
    execute function proof.write_off_one_off();
