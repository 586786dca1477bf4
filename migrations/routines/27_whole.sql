-- Whether the schema is whole: its guards stand, and the rows that everything goes by are there.

create or replace view billd_internal.guard as
select c.relname || '.' || t.tgname as name, t.tgenabled in ('O', 'A') as stands
from pg_trigger t
join pg_class c on c.oid = t.tgrelid
join pg_proc f on f.oid = t.tgfoid
where not t.tgisinternal and c.relnamespace in ('billd'::regnamespace, 'billd_internal'::regnamespace)
  and f.pronamespace = 'billd_internal'::regnamespace;
comment on view billd_internal.guard is 'billd''s triggers, and whether they fire.';

create or replace function billd_internal.note_parts() returns void
language sql volatile
as $$
    update billd_internal.routines r
    set parts = (select array_agg(g.name order by g.name) from billd_internal.guard g)
    where r.parts is distinct from (select array_agg(g.name order by g.name) from billd_internal.guard g)
$$;
comment on function billd_internal.note_parts() is 'Notes what the schema is made of, right after it was made.';

create or replace function billd_internal.missing_parts() returns setof text
language sql stable
as $$
    select p || ' does not fire' from billd_internal.routines r, unnest(r.parts) p
    where p not in (select g.name from billd_internal.guard g where g.stands)
    union all
    select 'the row of billd.control' where not exists (select from billd.control)
    union all
    select 'the row of billd.rate_limit' where not exists (select from billd.rate_limit)
$$;
comment on function billd_internal.missing_parts() is
    'Guards that were dropped or disabled, and rows without which nothing goes by the rules. Empty if the schema is whole.';

create or replace function billd_internal.validate_constraints() returns setof text
language plpgsql volatile
as $$
declare
    one record;
begin
    for one in
        select c.conrelid::regclass as of_table, c.conname as name from pg_constraint c
        where not c.convalidated and c.connamespace = 'billd'::regnamespace and c.conrelid <> 0
        order by 1, 2
    loop
        begin
            execute format('alter table %s validate constraint %I', one.of_table, one.name);
        exception when check_violation or lock_not_available then
            return next format('%s of %s: %s', one.name, one.of_table, sqlerrm);
        end;
    end loop;
end
$$;
comment on function billd_internal.validate_constraints() is
    'Looks at old rows for what new ones must keep already; nobody waits for it. Returns what can''t be said of all rows yet, which stops nothing.';
