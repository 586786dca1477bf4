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

create or replace function billd_internal.this_database() returns oid
language sql stable parallel safe
as $$ select split_part(pg_relation_filepath('billd.control'), '/', -2)::oid $$;
comment on function billd_internal.this_database() is
    'The oid of this database, which no copy shares; read off a path, because asking pg_database costs a claim more.';

create or replace view billd_internal.gate as
select g.*, case
        when g.is_elsewhere and not g.is_sandbox then 'elsewhere'
        when not g.is_account then 'account'
        when g.clock_shift <> '0' and not g.is_sandbox then 'clock'
        when g.hold_until > billd.now() then 'fail-over hold'
        when g.stopped_until > billd.now() then 'stopped'
    end as reason
from (
    select c.*, h.*,
        coalesce(c.home_cluster <> split_part(h.here, '/', 1) or c.home_database <> h.database, false) as is_elsewhere,
        -- Who does not say it, in psql for instance, is told of all the rest.
        coalesce(nullif(h.account, ''), c.home_account, '') = 'sandbox' as is_sandbox,
        h.account = '' or coalesce(c.home_account, h.account) = h.account
            or h.account = 'sandbox' and (c.home_cluster <> split_part(h.here, '/', 1) or c.home_database <> h.database)
            as is_account
    from billd.control c, (
        select billd_internal.server_name() as here, coalesce(current_setting('billd.account', true), '') as account,
            billd_internal.this_database() as database
        offset 0
    ) h
) g;
comment on view billd_internal.gate is
    'Whether money may be asked for from this place and session, and if not, why. elsewhere: not the book''s home, and the gateway no sandbox. account: another merchant account than the book''s; a sandbox stands in for it only in another place. clock: it is moved, and the gateway no sandbox. fail-over hold: what left from the server before may not have ended. stopped: switched off, which stands last: it alone leaves refunds alone. A daemon says its account in billd.account.';

create or replace function billd_internal.note_server(lease interval) returns void
language sql volatile
as $$
    update billd.control c
    set server_name = n.here,
        server_before = case when c.server_name <> n.here then c.server_name else c.server_before end,
        lease = greatest(c.lease, note_server.lease),
        hold_until = case
            when c.server_name <> n.here then billd.now() + greatest(c.lease, note_server.lease)
            else c.hold_until
        end
    from (select billd_internal.server_name() as here) n
    where c.server_name <> n.here or c.lease < note_server.lease
$$;
comment on function billd_internal.note_server(interval) is
    'Notes another server, which begins a fail-over hold, or a longer lease.';

create or replace function billd_internal.may_charge(lease interval) returns text
language plpgsql volatile
as $$
declare
    k billd.control;
    g billd_internal.gate;
begin
    -- In ordinary times no lock is taken, nothing is written, and this is all that a claim pays.
    select * into k from billd.control;
    if k.server_name = billd_internal.server_name() and k.home_database = billd_internal.this_database()
        and k.home_cluster = split_part(k.server_name, '/', 1) and k.home_account = current_setting('billd.account', true)
        and k.clock_shift = '0' and greatest(k.stopped_until, k.hold_until) <= statement_timestamp()
        and k.lease >= may_charge.lease
    then
        return null;
    end if;
    select * into g from billd_internal.gate;
    if g.server_name <> g.here or g.lease < may_charge.lease then
        perform billd_internal.note_server(may_charge.lease);
        select * into g from billd_internal.gate;
    end if;
    if g.reason is null and (g.home_cluster is null or g.home_account is null and g.account <> '' and not g.is_elsewhere) then
        perform billd_internal.settle_here(g.account);
    end if;
    return case when g.reason is null and g.account = '' and g.home_account is not null then 'account' else g.reason end;
end
$$;
comment on function billd_internal.may_charge(interval) is
    'Null if a request for money under a lease of this length may leave, else the reason why not (billd_internal.gate). Asked by every statement after which a request may leave, within that statement: a connection may lead elsewhere from one to the next. The first one that may makes this place the book''s home.';

create or replace function billd_internal.may_ask(lease interval) returns text
language plpgsql volatile
as $$
declare
    g billd_internal.gate;
begin
    select * into g from billd_internal.gate;
    if g.server_name <> g.here or g.lease < may_ask.lease then
        perform billd_internal.note_server(may_ask.lease);
        select * into g from billd_internal.gate;
    end if;
    return case
        when not g.is_account then 'account'
        when g.hold_until > billd.now() then 'fail-over hold'
    end;
end
$$;
comment on function billd_internal.may_ask(interval) is
    'Null if what is open may be taken over to be asked about, else the reason why not: after a fail-over it may be under way, and another merchant''s books say nothing of it. Neither the switch nor another place stands against it.';

create or replace function billd_internal.settle_here(account text) returns void
language sql volatile
as $$
    update billd.control c
    set home_cluster = split_part(billd_internal.server_name(), '/', 1),
        home_database = billd_internal.this_database(),
        home_name = current_database(), home_account = nullif(settle_here.account, ''), home_since = billd.now()
    -- No claim waits for this: if somebody has the row, the next one will do it.
    where c.only_row in (select k.only_row from billd.control k for no key update skip locked)
$$;
comment on function billd_internal.settle_here(text) is 'Makes this place and this account the book''s home.';

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
