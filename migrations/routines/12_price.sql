-- What a period costs.

create or replace function billd_internal.least_amount(currency text) returns bigint
language sql immutable parallel safe
as $$ select case currency when 'KRW' then 100 else 1 end $$;
comment on function billd_internal.least_amount(text) is
    'The least sum that the gateway charges. What costs less is free.';

create or replace function billd_internal.period_price(
    s billd.subscription, from_at timestamptz, until_at timestamptz, whole_until timestamptz
) returns bigint
language sql stable parallel safe
as $$
    select case when x.amount < billd_internal.least_amount(s.currency) then 0 else x.amount end
    from (
        select case when until_at >= whole_until then s.amount
            else s.amount * ((until_at at time zone s.time_zone)::date - (from_at at time zone s.time_zone)::date)
                / nullif((whole_until at time zone s.time_zone)::date - (from_at at time zone s.time_zone)::date, 0)
            end as amount
    ) x
$$;
comment on function billd_internal.period_price(billd.subscription, timestamptz, timestamptz, timestamptz) is
    'The price of a period, or its share of days if it is cut short before its whole end; rounded down, and 0 if the gateway would not charge it.';
