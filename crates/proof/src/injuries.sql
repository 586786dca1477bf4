-- A row that can't be written: what is named here is refused, as by a trigger of somebody's.

create table proof.poison (subscription_id uuid);
comment on table proof.poison is 'Whose attempts can''t be updated for now.';

create function proof.refuse_poison() returns trigger
language plpgsql security definer set search_path = pg_catalog
as $$
begin
    if exists (select from proof.poison p where p.subscription_id = new.subscription_id) then
        raise exception 'this row is poisoned' using errcode = 'check_violation';
    end if;
    return new;
end
$$;
create trigger proof_poison before update on billd.charge_attempt
    for each row execute function proof.refuse_poison();
