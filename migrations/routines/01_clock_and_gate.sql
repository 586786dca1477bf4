-- The clock, and the gate before every request for money.

create or replace function billd.now() returns timestamptz
language sql stable parallel safe
as $$ select statement_timestamp() + (select clock_shift from billd.control) $$;
comment on function billd.now() is
    'The only wall clock of billd: due, lease and expiry are judged by it and by nothing else.';

create or replace function billd_internal.server_name() returns text
language sql volatile
as $$
    select system_identifier || '/'
        || ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int
    from pg_control_system()
$$;
comment on function billd_internal.server_name() is
    'The cluster''s identifier and its timeline, which every promotion and every restore raises. The log''s own, and not the last checkpoint''s: that one is late.';

create or replace function billd_internal.may_charge(lease interval) returns text
language plpgsql volatile
as $$
declare
    here text := billd_internal.server_name();
    known billd.control;
begin
    select * into known from billd.control;
    -- Not in ordinary times: no lock is taken and nothing is written.
    if known.server_name <> here or known.lease < may_charge.lease then
        update billd.control c
        set server_name = here,
            server_before = case when c.server_name <> here then c.server_name else c.server_before end,
            lease = greatest(c.lease, may_charge.lease),
            hold_until = case
                when c.server_name <> here then billd.now() + greatest(c.lease, may_charge.lease)
                else c.hold_until
            end
        where c.server_name <> here or c.lease < may_charge.lease;
        select * into known from billd.control;
    end if;
    return case when known.hold_until > billd.now() then 'fail-over hold' end;
end
$$;
comment on function billd_internal.may_charge(interval) is
    'Null if a request under a lease of this length may leave, else the reason why not: a fail-over hold, because what was under way on another server may not have ended. Asked by every statement after which a request may leave, within that statement: a connection may lead elsewhere from one to the next.';

create or replace function billd_internal.next_fence(fence bigint) returns bigint
language sql stable parallel safe
as $$ select greatest(fence + 1, (extract(epoch from statement_timestamp()) * 1000000)::bigint) $$;
comment on function billd_internal.next_fence(bigint) is
    'The fence of a new claim: PostgreSQL''s time in microseconds, and never less than one more. One more alone would come again after a fail-over that lost the last claim, and whoever holds that one would pass for the holder of this one.';

create or replace function billd_internal.refuse() returns trigger
language plpgsql
as $$
begin
    raise exception using
        errcode = 'check_violation',
        message = tg_argv[0],
        hint = tg_argv[1],
        constraint = tg_name,
        table = tg_table_name,
        schema = tg_table_schema;
end
$$;
comment on function billd_internal.refuse() is 'Refuses a write with the message and the hint given by its trigger.';

create or replace trigger control_is_kept before delete on billd.control
    for each row
    execute function billd_internal.refuse(
        'the row of control is kept: without it nothing is due and nothing may be charged',
        'Update its columns; clock_shift back to 0 ends a rehearsal.');
create or replace trigger control_is_not_truncated before truncate on billd.control
    for each statement
    execute function billd_internal.refuse(
        'the row of control is kept: without it nothing is due and nothing may be charged',
        'Update its columns; clock_shift back to 0 ends a rehearsal.');
