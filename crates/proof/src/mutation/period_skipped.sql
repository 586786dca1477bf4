-- A paid period is followed by the next but one.

create function proof.period_skipped() returns trigger language plpgsql as $$
begin
    new.period := (new.period + interval '1 month')::date;
    new.due_at := new.due_at + interval '30 days';
    new.next_charge_at := greatest(new.next_charge_at, new.due_at);
    return new;
end
$$;
create trigger zz_proof_period_skipped before update on billd.subscription
    for each row when (new.period > old.period)
    execute function proof.period_skipped();
