-- One decline takes two rungs of the ladder. The book would refuse to believe it.

alter table billd.subscription drop constraint declines_are_at_most_attempts;

create function proof.decline_counts_twice() returns trigger language plpgsql as $$
begin
    new.declines := new.declines + (new.declines - old.declines);
    return new;
end
$$;
create trigger zz_proof_decline_counts_twice before update on billd.subscription
    for each row when (new.declines > old.declines)
    execute function proof.decline_counts_twice();
