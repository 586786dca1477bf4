-- The next period begins a day before the end of the one that was paid, and is asked for so much earlier.

create function proof.periods_overlap() returns trigger language plpgsql as $$
begin
    new.due_at := new.due_at - interval '1 day';
    new.settled_until := greatest(old.settled_until, new.settled_until - interval '1 day');
    new.next_charge_at := new.next_charge_at - interval '1 day';
    return new;
end
$$;
create trigger zz_proof_periods_overlap before update on billd.subscription
    for each row when (new.period > old.period and new.state = 'active' and new.due_at = old.until_at)
    execute function proof.periods_overlap();
