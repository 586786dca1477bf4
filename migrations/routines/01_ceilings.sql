-- Ceilings: how much may be asked for at once, in an hour and in a day, over all daemons.

create or replace function billd_internal.ceiling_of(currency text) returns billd.ceiling
language sql stable parallel safe
as $$
    select c.* from billd.ceiling c
    where c.currency in (ceiling_of.currency, 'any') order by c.currency = 'any' limit 1
$$;
comment on function billd_internal.ceiling_of(text) is 'The ceilings of a currency: its own row, or that of any.';

create or replace function billd_internal.is_above_ceiling(amount bigint, currency text) returns boolean
language plpgsql stable parallel safe
as $$
begin
    return coalesce(amount > (billd_internal.ceiling_of(currency)).charge_max, false);
end
$$;
comment on function billd_internal.is_above_ceiling(bigint, text) is 'Whether a sum is more than may be asked for at once.';

create or replace function billd_internal.day_of(instant timestamptz) returns timestamptz
language sql stable parallel safe
as $$ select date_trunc('day', instant at time zone 'Asia/Seoul') at time zone 'Asia/Seoul' $$;
comment on function billd_internal.day_of(timestamptz) is 'The beginning of its day in Korea.';

create or replace function billd_internal.count_asked(currency text, charges bigint, amount numeric) returns boolean
language plpgsql volatile
as $$
declare
    now timestamptz := billd.now();
    this_round int := (select c.ceiling_round from billd.control c);
    most billd.ceiling;
    said text;
begin
    -- Whoever counts under a ceiling does so alone, until its claim is committed; and sees what others have counted.
    if (select c.has_ceilings from billd.control c) then
        perform from billd.ceiling c order by c.currency for no key update;
        most := billd_internal.ceiling_of(count_asked.currency);
        select case
                when t.hour_charges > most.hour_charges_max then most.hour_charges_max || ' charges an hour'
                when t.day_charges > most.day_charges_max then most.day_charges_max || ' charges a day'
                when t.hour_amount > most.hour_max then most.hour_max || ' an hour'
                when t.day_amount > most.day_max then most.day_max || ' a day'
            end
        into said
        from (
            select coalesce(sum(a.charges), 0) + count_asked.charges as day_charges,
                coalesce(sum(a.amount), 0) + count_asked.amount as day_amount,
                coalesce(sum(a.charges) filter (where a.hour = date_trunc('hour', now)), 0) + count_asked.charges
                    as hour_charges,
                coalesce(sum(a.amount) filter (where a.hour = date_trunc('hour', now)), 0) + count_asked.amount
                    as hour_amount
            from billd_internal.asked a
            where a.hour >= billd_internal.day_of(now) and a.currency = count_asked.currency and a.round = this_round
        ) t;
        if said is not null then
            raise exception using errcode = 'BL001',
                message = format('the ceiling of %s in %s is reached', said, count_asked.currency),
                hint = 'See billd.ceiling. billd.start_charging() goes on, and counts anew.';
        end if;
    end if;
    insert into billd_internal.asked as a (hour, backend, currency, round, charges, amount)
    values (date_trunc('hour', now), pg_backend_pid(), count_asked.currency, this_round, count_asked.charges,
        count_asked.amount)
    on conflict on constraint asked_pkey do update
    set charges = a.charges + excluded.charges, amount = a.amount + excluded.amount;
    return true;
end
$$;
comment on function billd_internal.count_asked(text, bigint, numeric) is
    'Counts what has been begun, once per claim; raises BL001 if that would pass a ceiling of the hour or the day.';

create or replace function billd_internal.count_one(currency text, amount bigint) returns boolean
language plpgsql volatile
as $$
begin
    if billd_internal.is_above_ceiling(count_one.amount, count_one.currency) then
        raise exception using errcode = 'BL001',
            message = format('%s %s is more than may be asked for at once, which is %s', count_one.amount,
                count_one.currency, (billd_internal.ceiling_of(count_one.currency)).charge_max),
            hint = 'See charge_max in billd.ceiling.';
    end if;
    return (select not c.has_ceilings and c.surge is null from billd.control c)
        or billd_internal.count_asked(count_one.currency, 1, count_one.amount);
end
$$;
comment on function billd_internal.count_one(text, bigint) is 'Counts a charge that a person asks for, or raises BL001.';

create or replace function billd_internal.stop_at_ceiling(said text) returns boolean
language plpgsql volatile
as $$
begin
    perform from billd.control for update;
    if exists (select from billd.control c where c.stopped_until > billd.now()) then
        return false;
    end if;
    perform billd.stop_charging(stop_at_ceiling.said, by => 'billd');
    return true;
end
$$;
comment on function billd_internal.stop_at_ceiling(text) is
    'Switches charging off, once for all daemons. Returns whether it was on.';

create or replace function billd_internal.judge_sweep() returns text
language plpgsql volatile
as $$
declare
    now timestamptz := billd.now();
    today timestamptz := billd_internal.day_of(now);
    times numeric;
    before bigint;
    due bigint;
begin
    select c.surge into times from billd.control c
    where c.surge is not null and c.yes_at < today and c.stopped_until <= now;
    if times is not null then
        select sum(a.charges) into before from billd_internal.asked a
        where a.hour < today group by billd_internal.day_of(a.hour) order by billd_internal.day_of(a.hour) desc limit 1;
    end if;
    -- On the first day that is counted there is nothing to hold it against.
    if before is not null then
        select count(*) into due from (
            select from billd.subscription s
            where s.state = 'active' and s.next_charge_at <= now and s.open_attempt is null
            limit ceil(times * before) + 1
        ) bounded;
    end if;
    if due > times * before then
        return format('more than %s are due, %s times as many as on the last day (%s): a person must say yes',
            due - 1, times, before);
    end if;
    return null;
end
$$;
comment on function billd_internal.judge_sweep() is
    'Why a person must say yes before anything of what is due is charged; null if nobody need to. Asked when a sweep begins.';

create or replace function billd_internal.ceilings_have_changed() returns trigger
language plpgsql
as $$
declare
    writer text := billd_internal.write_as('plan');
begin
    update billd.control k
    set least_ceiling = coalesce(least, 9223372036854775807), has_ceilings = coalesce(has_others, false)
    from (
        select min(c.charge_max) as least,
            bool_or(coalesce(c.hour_max, c.day_max, c.hour_charges_max, c.day_charges_max) is not null) as has_others
        from billd.ceiling c
    ) t;
    update billd.subscription s set recheck = true, row_version = s.row_version + 2 where s.held = 'ceiling';
    perform billd_internal.write_as(writer);
    return null;
end
$$;
comment on function billd_internal.ceilings_have_changed() is
    'Tells claims that ceilings have changed, and plans anew what is held by one.';
create or replace trigger ceilings_have_changed after insert or update or delete or truncate on billd.ceiling
    for each statement execute function billd_internal.ceilings_have_changed();
