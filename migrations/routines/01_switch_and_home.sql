-- The switch, and the book's home: what people say of charging as a whole.

create or replace function billd.stop_charging(
    why text, until timestamptz default 'infinity', by text default session_user
) returns billd.charging_stop
language plpgsql volatile
as $$
declare
    stop billd.charging_stop;
begin
    -- Whoever switches waits for whoever does; no claim does.
    perform from billd.control for update;
    if stop_charging.until <= billd.now() then
        raise exception using errcode = 'check_violation', constraint = 'charging_stop_lies_ahead',
            message = format('stop_charging: %s is not in the future', stop_charging.until),
            hint = 'Leave until out to stop until somebody calls billd.start_charging.';
    end if;
    update billd.charging_stop c set started_at = billd.now(), started_by = stop_charging.by
    where c.started_at is null and c.until_at > billd.now();
    insert into billd.charging_stop (why, stopped_by, until_at)
    values (stop_charging.why, stop_charging.by, coalesce(stop_charging.until, 'infinity'))
    returning * into stop;
    update billd.control c set stopped_until = stop.until_at;
    return stop;
end
$$;
comment on function billd.stop_charging(text, timestamptz, text) is
    'Switches charging off for the whole book, until somebody calls billd.start_charging, or until a time. What is due waits and nothing of it is lost; what is open is asked about, and refunds and audits go on.';

create or replace function billd.start_charging(by text default session_user) returns billd.charging_stop
language plpgsql volatile
as $$
declare
    stop billd.charging_stop;
begin
    perform from billd.control for update;
    update billd.charging_stop c set started_at = billd.now(), started_by = start_charging.by
    where c.started_at is null and c.until_at > billd.now()
    returning * into stop;
    update billd.control c
    set stopped_until = '-infinity', ceiling_round = c.ceiling_round + 1, yes_at = billd.now();
    return stop;
end
$$;
comment on function billd.start_charging(text) is
    'Switches charging on again, and returns the stop that has ended; null if it was on. It is also the yes to a large sweep, and ceilings count from here.';

create or replace function billd.adopt(by text default session_user) returns void
language plpgsql volatile
as $$
begin
    perform from billd.control for update;
    perform billd_internal.settle_here(coalesce(current_setting('billd.account', true), ''));
    update billd.control c set home_by = adopt.by;
end
$$;
comment on function billd.adopt(text) is
    'Makes this database the home of the book: from now on it charges here, and through the account of billd adopt, or of the first daemon that charges. Nothing stops the place before: do that first.';

create or replace function billd_internal.was_off_at(instant timestamptz) returns boolean
language plpgsql stable parallel safe
as $$
begin
    return exists (
        select from billd.charging_stop c
        where c.stopped_at <= instant and instant < least(c.started_at, c.until_at) + interval '1 day');
end
$$;
comment on function billd_internal.was_off_at(timestamptz) is
    'Whether charging was switched off then, or had been within the day before. A period that ended then was not missed.';

create or replace view billd.charging as
select g.reason is null as is_on, g.reason, case g.reason
        when 'elsewhere' then format(
            'the home of this book is database %s of cluster %s, and this is database %s of cluster %s: nothing is charged here before billd adopt',
            coalesce(g.home_name || ' (' || g.home_database || ')', g.home_database::text), g.home_cluster,
            current_database() || ' (' || g.database || ')', split_part(g.here, '/', 1))
        when 'account' then format(
            'this book charges through the merchant account %s, and the key of the settings is of %s: nothing is charged or asked with it before billd adopt',
            g.home_account, g.account)
        when 'clock' then format(
            'billd''s clock is moved by %s (billd.control.clock_shift), and the gateway is no sandbox: nothing is charged', g.clock_shift)
        when 'stopped' then format('charging is switched off by %s since %s%s: %s; what is due waits, billd start switches it on',
            coalesce(s.stopped_by, 'somebody'), coalesce(to_char(s.stopped_at, 'YYYY-MM-DD HH24:MI TZ'), 'some time'),
            case when g.stopped_until < 'infinity' then to_char(g.stopped_until, ' "until" YYYY-MM-DD HH24:MI TZ') else '' end,
            coalesce(s.why, 'no reason was given'))
        when 'fail-over hold' then format(
            'the database server changed (cluster and timeline %s → %s): nothing is begun, taken over or sent again until %s, when what was under way has ended',
            g.server_before, g.server_name, to_char(g.hold_until, 'HH24:MI:SS TZ'))
    end collate "default" as says,
    case g.reason when 'stopped' then s.stopped_at end as since,
    case g.reason when 'stopped' then g.stopped_until when 'fail-over hold' then g.hold_until end as until
from billd_internal.gate g
left join lateral (
    select c.* from billd.charging_stop c order by c.id desc limit 1
) s on true;
comment on view billd.charging is
    'Whether this book charges, and if not, why and until when. A session that does not say its account (billd.account) is told of all the rest.';

create or replace trigger charging_stop_is_kept before delete on billd.charging_stop
    for each row
    execute function billd_internal.refuse(
        'what stopped charging is kept: no period that ended meanwhile counts as missed', 'billd.start_charging() ends a stop.');
create or replace trigger charging_stop_is_not_truncated before truncate on billd.charging_stop
    for each statement
    execute function billd_internal.refuse(
        'what stopped charging is kept: no period that ended meanwhile counts as missed', 'billd.start_charging() ends a stop.');
