-- Periods that fell due and have no debt in the book. PostgreSQL's own calendar counts them, so that
-- a mistake in billd's calendar can't hide. A past-due subscription waits in the period it has.
select count(*)
from billd.subscription s
cross join lateral generate_series(0, 24) as n
cross join lateral (
    select s.anchor_at at time zone s.time_zone
           + n * s.interval_count * ('1 ' || s.interval_unit)::interval as starts_at
) as period
where period.starts_at at time zone s.time_zone <= billd.now()
  and (s.state = 'active' or period.starts_at::date <= s.period)
  and not exists (
      select from billd.billing_cycle c
      where c.subscription_id = s.id and c.period = period.starts_at::date)
