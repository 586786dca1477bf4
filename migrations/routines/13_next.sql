-- What comes next: one rule, for all who ask. The claim compares what it wrote down; recording moves plain rows on
-- by period_end alone; everything else is derived here.

create or replace function billd_internal.is_plain(s billd.subscription) returns boolean
language sql immutable parallel safe
as $$
    select s.ends_at is null and s.periods_left is null
        and s.amount >= billd_internal.least_amount(s.currency)
$$;
comment on function billd_internal.is_plain(billd.subscription) is
    'Whether the next period begins where this one ends and costs the price, so that a claim may open it.';

create or replace function billd_internal.next_period(
    s billd.subscription, now timestamptz,
    out step text, out from_at timestamptz, out until_at timestamptz, out whole_until timestamptz, out missed boolean
)
language plpgsql stable parallel safe
as $$
begin
    missed := false;
    from_at := billd_internal.period_start(
        s.anchor_at, s.billing_day, s.interval_unit, s.time_zone, s.settled_until);
    whole_until := billd_internal.period_end(
        s.anchor_at, s.billing_day, s.interval_unit, s.interval_count, s.time_zone, from_at);
    if whole_until <= now and s.state = 'active' and s.catch_up <> 'all' and coalesce(from_at < s.ends_at, true) then
        missed := true;
        while whole_until <= now or s.catch_up = 'none' and from_at <= now loop
            exit when s.catch_up = 'hold';
            from_at := whole_until;
            whole_until := billd_internal.period_end(
                s.anchor_at, s.billing_day, s.interval_unit, s.interval_count, s.time_zone, from_at);
        end loop;
    end if;
    until_at := least(whole_until, s.ends_at);
    step := case
        when whole_until is null or from_at >= timestamptz '2099-12-30' then 'unreadable'
        when s.ends_at <= from_at or s.periods_left = 0 then 'end'
        when missed and s.catch_up = 'hold' then 'hold'
        else 'period'
    end;
end
$$;
comment on function billd_internal.next_period(billd.subscription, timestamptz) is
    'The period that follows what is settled. period: this one. end: none, the agreement has ended. hold: whole periods were missed, and a person decides. unreadable: the calendar can''t be read.';
