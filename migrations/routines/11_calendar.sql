-- The calendar: when a period begins and when it ends. All else that knows a date asks these.
--
-- A period is [from, until). Both are read off a clock on the wall of the agreement's zone: the anchor's. The end is
-- counted from the day on which the period begins, and clamped to the billing day; the next period begins on the
-- first billing day that is not before the end of what is settled. So neither a short month nor a late charge moves
-- what follows, and no change of day, interval or zone makes two periods overlap.

create or replace function billd_internal.first_instant(wall timestamp, zone text) returns timestamptz
language plpgsql immutable strict parallel safe
as $$
declare
    -- A time that a gap leaves out is read with the offset before the gap, so that it moves on by the gap. Of two
    -- equal hours this is the second.
    found timestamptz := wall at time zone zone;
    day_before timestamptz := found - interval '24 hours';
    earlier timestamptz;
begin
    if day_before at time zone zone <> wall - interval '24 hours' then
        earlier := (wall - (day_before at time zone zone - day_before at time zone 'UTC')) at time zone 'UTC';
        if earlier < found and earlier at time zone zone = wall then
            return earlier;
        end if;
    end if;
    return found;
end
$$;
comment on function billd_internal.first_instant(timestamp, text) is
    'The instant at which clocks in a zone show this; the first of two equal hours. A time that is left out moves on by the gap.';

create or replace function billd_internal.day_in_month(month date, day int) returns date
language sql immutable parallel safe
as $$ select least(month + (day - 1), (month + interval '1 month')::date - 1) $$;
comment on function billd_internal.day_in_month(date, int) is
    'The given day of the month that begins on this date, or its last one if it has no such day.';

create or replace function billd_internal.billing_date(at timestamptz, clock time, zone text) returns date
language plpgsql immutable strict parallel safe
as $$
declare
    wall timestamp := at at time zone zone;
begin
    -- A gap before midnight has moved it into the next day.
    if wall::time < clock and billd_internal.first_instant(wall::date - 1 + clock, zone) = at then
        return wall::date - 1;
    end if;
    return wall::date;
end
$$;
comment on function billd_internal.billing_date(timestamptz, time, text) is
    'The day that a period which begins at this instant is counted from.';

create or replace function billd_internal.count_period(
    anchor_at timestamptz, billing_day smallint, unit text, count smallint, zone text, from_at timestamptz
) returns timestamptz
language plpgsql immutable parallel safe
as $$
declare
    anchor timestamp := anchor_at at time zone zone;
    wall timestamp := from_at at time zone zone;
    found timestamptz;
begin
    if wall::time < anchor::time then
        wall := billd_internal.billing_date(from_at, anchor::time, zone);
    end if;
    wall := anchor::time + case unit
        when 'day' then wall::date + count
        when 'week' then wall::date + 7 * count
        else billd_internal.day_in_month(
            (date_trunc('month', wall)
                + make_interval(months => case unit when 'year' then 12 * count else count end))::date,
            coalesce(billing_day, date_part('day', anchor))::int)
    end;
    found := wall at time zone zone;
    -- As in first_instant; a call of it would cost every charge a microsecond.
    if (found - interval '24 hours') at time zone zone <> wall - interval '24 hours' then
        return billd_internal.first_instant(wall, zone);
    end if;
    return found;
end
$$;
comment on function billd_internal.count_period(timestamptz, smallint, text, smallint, text, timestamptz) is
    'When a period that begins at an instant ends. An error if the calendar can''t be read: store::record does without it then.';

create or replace function billd_internal.period_end(
    anchor_at timestamptz, billing_day smallint, unit text, count smallint, zone text, from_at timestamptz
) returns timestamptz
language plpgsql immutable parallel safe
as $$
begin
    return billd_internal.count_period(anchor_at, billing_day, unit, count, zone, from_at);
exception
    -- A zone that this server does not know, or a date that no calendar has.
    when data_exception then
        return null;
end
$$;
comment on function billd_internal.period_end(timestamptz, smallint, text, smallint, text, timestamptz) is
    'count_period, and null if the calendar can''t be read. A charge calls count_period itself: the exception block would cost it a thirtieth more.';

create or replace function billd_internal.period_start(
    anchor_at timestamptz, billing_day smallint, unit text, zone text, not_before timestamptz
) returns timestamptz
language plpgsql immutable parallel safe
as $$
declare
    anchor timestamp;
    first_day date;
    month date;
    day date;
begin
    anchor := anchor_at at time zone zone;
    first_day := billd_internal.billing_date(not_before, anchor::time, zone);
    day := first_day;
    if unit = 'week' then
        day := day + (coalesce(billing_day, date_part('isodow', anchor))::int - date_part('isodow', day)::int + 7) % 7;
    elsif unit in ('month', 'year') then
        month := date_trunc('month', first_day::timestamp);
        day := billd_internal.day_in_month(month, coalesce(billing_day, date_part('day', anchor))::int);
        if day < first_day then
            month := month + interval '1 month';
            day := billd_internal.day_in_month(month, coalesce(billing_day, date_part('day', anchor))::int);
        end if;
    end if;
    return greatest(billd_internal.first_instant(day + anchor::time, zone), not_before);
exception
    when data_exception then
        return null;
end
$$;
comment on function billd_internal.period_start(timestamptz, smallint, text, text, timestamptz) is
    'When the next period begins that must not begin before an instant: on the first billing day (month, year: day of the month; week: weekday; day: any) that is not before the instant''s day. Null as in period_end.';

create or replace function billd_internal.period_name(at timestamptz, zone text, last date) returns date
language sql immutable parallel safe
as $$ select greatest((at at time zone zone)::date, last + 1) $$;
comment on function billd_internal.period_name(timestamptz, text, date) is
    'The name of a period that begins at an instant: its day, or the day after the last name, because civil dates can come twice. A label; nothing is computed from it.';
