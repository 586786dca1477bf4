-- A refund that was made is written down as refused: the same command gives the money back once more.

create function proof.forget_refund() returns trigger
language plpgsql security definer set search_path = pg_catalog
as $$
begin
    new.state := 'refused';
    new.reason := 'not_refunded';
    return new;
end
$$;
create trigger proof_forget_refund before update on billd.refund
    for each row when (new.state = 'refunded') execute function proof.forget_refund();
