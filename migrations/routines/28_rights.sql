-- Who may do what: roles, and who may speak as billd itself. Last, because it is about all that stands before it.

create or replace function billd_internal.only_billd_names_itself() returns trigger
language plpgsql
as $$
begin
    if current_setting('billd.writer', true) <> '' and not has_table_privilege('billd.charge_attempt'::regclass, 'insert') then
        raise exception 'only billd itself writes as %', current_setting('billd.writer', true)
            using errcode = 'insufficient_privilege', table = tg_table_name, schema = tg_table_schema,
                  hint = 'Reset billd.writer. Who may insert attempts, as the role billd_daemon, writes as billd.';
    end if;
    return null;
end
$$;
comment on function billd_internal.only_billd_names_itself() is
    'Lets the setting billd.writer, before which triggers stand aside, be used by those alone who write for billd: who may insert attempts, and billd''s own functions.';

create or replace function billd_internal.agreement_columns() returns text
language sql stable
as $$
    select string_agg(quote_ident(a.attname), ', ' order by a.attnum) from pg_attribute a
    where a.attrelid = 'billd.subscription'::regclass and a.attnum > 0 and not a.attisdropped
        and a.attname <> all (array['id', 'period', 'due_at', 'until_at', 'settled_until', 'paid_until', 'attempts', 'declines',
            'open_attempt', 'fence', 'recheck', 'row_version', 'adjusted', 'next_change_at', 'last_result', 'last_result_at', 'paused_at', 'resumed_at',
            'last_reason', 'last_message'])
$$;
comment on function billd_internal.agreement_columns() is 'What people write in a subscription; all else is derived.';

-- Only where columns are written that others may write, too: a claim writes none of them, and so pays nothing.
do $$
begin
    execute format('create or replace trigger only_billd_names_itself before insert or update of %s on billd.subscription
        for each statement execute function billd_internal.only_billd_names_itself()', billd_internal.agreement_columns());
end
$$;
create or replace trigger only_billd_names_itself
    before update of amount, tax_free, vat_amount, card_quota on billd.billing_cycle
    for each statement execute function billd_internal.only_billd_names_itself();

create or replace function billd.close_attempt(merchant_uid text, note text) returns void
language plpgsql volatile
as $$
begin
    update billd.charge_attempt a
    set state = 'not_sent', finished_at = billd.now(), ask_at = null, message = close_attempt.note
    where a.merchant_uid = close_attempt.merchant_uid and a.state = 'unknown' and close_attempt.note ~ '\S';
    if not found then
        raise exception 'close_attempt: no attempt of unknown fate is called %, or nothing is said in note', close_attempt.merchant_uid
            using errcode = 'check_violation', constraint = 'attempt_is_unknown',
                  hint = 'select * from billd.charge_attempt where parked_at is not null; note says who looked where.';
    end if;
end
$$;
comment on function billd.close_attempt(text, text) is
    'Your word that no money moved, nor ever will, under a number whose fate is unknown; note says how you know. What is owed is then asked for under the next number.';

-- What a plain update or a verb sets off is written by billd, whoever said it. Triggers of the merchant's own that this
-- sets off find what lies in public.
do $$
declare
    f record;
begin
    for f in
        select p.oid::regprocedure as name from pg_proc p
        where p.pronamespace = 'billd_internal'::regnamespace and p.prorettype = 'trigger'::regtype
            and p.proname not in ('refuse', 'subscription_fill', 'only_billd_names_itself')
        union all
        select p.oid::regprocedure from pg_proc p
        where p.oid = 'billd_internal.verb(uuid, text, jsonb, text, boolean)'::regprocedure
            or p.pronamespace = 'billd'::regnamespace and p.prokind = 'f' and p.provolatile = 'v' and p.prolang = (
                select l.oid from pg_language l where l.lanname = 'plpgsql')
    loop
        execute format('alter function %s security definer set search_path = pg_catalog, public, pg_temp', f.name);
    end loop;
end
$$;

create or replace function billd_internal.grant_rights() returns void
language plpgsql volatile
as $$
declare
    r record;
    f record;
    read text := 'grant usage on schema billd, billd_internal to %1$s; grant select on all tables in schema billd, billd_internal to %1$s';
    app text := format('grant insert, update (%s, row_version) on billd.subscription to %%1$s', billd_internal.agreement_columns());
begin
    for r in select unnest(array['billd_reader', 'billd_app', 'billd_operator', 'billd_daemon']) as name intersect select rolname from pg_roles loop
        execute format(read, r.name);
        case r.name
            when 'billd_app' then
                execute format(app, r.name);
            when 'billd_operator' then
                execute format(app, r.name);
                execute 'grant delete on billd.subscription to billd_operator;
                    grant update (amount, tax_free, vat_amount, card_quota) on billd.billing_cycle to billd_operator;
                    grant update (state, finished_at, ask_at, reason, message) on billd.refund to billd_operator;
                    grant update (state, note) on billd.finding to billd_operator;
                    grant update (clock_shift, consent, surge, catch_up_pace, lease, events, grace, notice_days, upcoming_days) on billd.control to billd_operator;
                    grant update (per_second) on billd.rate_limit to billd_operator;
                    grant insert, update, delete on billd.ceiling to billd_operator';
            when 'billd_daemon' then
                execute format('grant insert, update on %s to billd_daemon', (
                    select string_agg(c.oid::regclass::text, ', ') from pg_class c
                    where c.relnamespace in ('billd'::regnamespace, 'billd_internal'::regnamespace) and c.relkind = 'r'
                        and c.relname not in ('schema_migration', 'routines')));
                grant delete on billd_internal.asked, billd.audit_seen, billd.webhook_attempt to billd_daemon;
            else null;
        end case;
        if r.name <> 'billd_daemon' then
            execute format('revoke all on billd_internal.webhook_secret from %s', r.name);
        end if;
    end loop;
    -- Whoever could write before these roles were made goes on.
    for f in
        select p.oid::regprocedure as name, p.proname in ('stop_charging', 'start_charging', 'adopt', 'close_attempt', 'add_webhook',
            'change_webhook', 'rotate_webhook', 'start_webhook', 'stop_webhook', 'replay_webhook', 'drop_webhook') as is_for_operators
        from pg_proc p
        where p.prosecdef and p.pronamespace in ('billd'::regnamespace, 'billd_internal'::regnamespace)
    loop
        execute format('revoke execute on function %s from public', f.name);
        for r in
            select distinct case when x.grantee = 0 then 'public' else quote_ident(pg_get_userbyid(x.grantee)) end as name
            from pg_class c
            left join pg_attribute a on a.attrelid = c.oid and a.attacl is not null
            cross join lateral (select (aclexplode(c.relacl)).* union all select (aclexplode(a.attacl)).*) x
            where c.oid = case when f.is_for_operators then 'billd.control' else 'billd.subscription' end::regclass
                and x.privilege_type = 'UPDATE'
        loop
            execute format('grant execute on function %s to %s', f.name, r.name);
        end loop;
    end loop;
end
$$;
comment on function billd_internal.grant_rights() is
    'Gives billd_reader, billd_app, billd_operator and billd_daemon their rights in this database, those of them that exist. Called by billd migrate; and by whoever makes a role afterwards.';

-- Roles are of the whole cluster: other books share them, and not everybody may make one.
do $$
declare
    name text;
begin
    foreach name in array array['billd_reader', 'billd_app', 'billd_operator', 'billd_daemon'] loop
        begin
            if not exists (select from pg_roles where rolname = name) then
                execute format('create role %I', name);
            end if;
        exception when insufficient_privilege or duplicate_object or unique_violation then
            null;
        end;
    end loop;
end
$$;
select billd_internal.grant_rights();
