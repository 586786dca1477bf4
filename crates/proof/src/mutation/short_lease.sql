-- The lease ends while the call may still be under way: nobody is believed to hold one for longer than
-- 150 ms, whether a charge was begun, taken over to be asked about, or is about to leave again.

create function proof.short_lease() returns trigger language plpgsql as $$
begin
    new.lease := least(new.lease, interval '150 milliseconds');
    return new;
end
$$;
create trigger zz_proof_short_lease before insert or update on billd.control
    for each row execute function proof.short_lease();

create function proof.short_lease_of_a_question() returns trigger language plpgsql as $$
begin
    new.ask_at := least(new.ask_at, billd.now() + interval '150 milliseconds');
    return new;
end
$$;
create trigger zz_proof_short_lease before update on billd.charge_attempt
    for each row when (new.asks > old.asks or new.sends > old.sends)
    execute function proof.short_lease_of_a_question();
