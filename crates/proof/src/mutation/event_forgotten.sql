-- Each third payment is not told.

create function proof.forget_event() returns trigger
language plpgsql security definer set search_path = pg_catalog
as $$
begin
    return case when new.id % 3 <> 0 then new end;
end
$$;
create trigger proof_forget_event before insert on billd_internal.event_row
    for each row when (new.kind = 'paid') execute function proof.forget_event();
