-- What the statements of a claim share.

drop function if exists billd_internal.gateway_fields(billd.subscription);
create function billd_internal.gateway_fields(s billd.subscription) returns text[]
language sql stable parallel safe
as $$
    select array[s.buyer_name, s.buyer_email, s.buyer_tel, s.buyer_addr, s.buyer_postcode, s.custom_data, s.notice_url,
        s.channel_key, s.product_type, s.gateway_options::text]
$$;
comment on function billd_internal.gateway_fields(billd.subscription) is
    'What else the gateway is told with every charge, in the order in which store::rows reads it. An array, because JSON would cost a charge a tenth more.';

create or replace function billd_internal.may_begin(
    debt_state text, attempts smallint, adjusted boolean, due_at timestamptz, until_at timestamptz,
    settled_until timestamptz, catch_up text, now timestamptz
) returns boolean
language sql stable
as $$
    select case debt_state
        when 'due' then true
        else debt_state = 'new' and attempts = 0 and not adjusted and due_at >= settled_until and until_at > due_at
            and (until_at > now or catch_up = 'all' or billd_internal.was_off_at(until_at))
    end
$$;
comment on function billd_internal.may_begin(text, smallint, boolean, timestamptz, timestamptz, timestamptz, text, timestamptz) is
    'Whether a claim may ask for a debt, or open it: plain, its time not settled, and not missed. All else is the re-plan''s.';

create or replace view billd_internal.unsent_attempt as
select * from billd.charge_attempt a where a.state = 'not_sent' and a.not_sent > 0 and not a.by_card;
comment on view billd_internal.unsent_attempt is
    'Attempts that did not leave, by billd''s own word. A claim opens one again under its own name: only the gateway''s refusal of a paid name tells of a payment that a fail-over made us forget.';

create or replace function billd_internal.may_be_rewritten() returns boolean
language sql stable
as $$
    select exists (
        select from pg_trigger t join pg_proc f on f.oid = t.tgfoid
        where t.tgrelid in ('billd.billing_cycle'::regclass, 'billd.charge_attempt'::regclass)
          and t.tgtype & 2 <> 0 and f.pronamespace <> 'billd_internal'::regnamespace
    )
$$;
comment on function billd_internal.may_be_rewritten() is
    'Whether somebody''s own trigger stands before what a claim writes. Only then can a row be other than the claim meant it, and only then is it compared: that costs every charge a fiftieth.';

create or replace function billd_internal.reserve_slots(
    spacing float8, most int, within float8, out wait_seconds float8, out slots int
)
language plpgsql volatile
as $$
declare
    free timestamptz;
    at timestamptz;
begin
    select r.next_free_at into free from billd.rate_limit r for update;
    if not found then
        raise exception 'the row of billd.rate_limit is missing, so nothing keeps the pace of all daemons together'
            using errcode = 'no_data_found', hint = 'insert into billd.rate_limit default values';
    end if;
    -- Read when the row is ours: whoever waited for it must not be given a slot that has passed.
    at := clock_timestamp();
    -- Nobody reserves further ahead than its lease. Such a place is of a clock that was ahead, and counts as now.
    if free > at + (select greatest(c.lease, interval '2 minutes') from billd.control c) then
        free := at;
    end if;
    wait_seconds := extract(epoch from greatest(free, at) - at);
    slots := greatest(0, least(most, 1 + floor((within - wait_seconds) / spacing)));
    if slots > 0 then
        update billd.rate_limit
        set next_free_at = at + make_interval(secs => wait_seconds + slots * spacing);
    end if;
end
$$;
comment on function billd_internal.reserve_slots(float8, int, float8) is
    'Reserves slots under a rate cap for one daemon, so many seconds apart, up to so many and none further ahead than within. Counts in PostgreSQL''s own time, which no rehearsal moves.';

create or replace trigger rate_limit_is_kept before delete on billd.rate_limit
    for each row
    execute function billd_internal.refuse(
        'the row of rate_limit is kept: without it nothing is charged under a rate cap', 'A cap is a setting: gateway.rate_per_second.');
create or replace trigger rate_limit_is_not_truncated before truncate on billd.rate_limit
    for each statement
    execute function billd_internal.refuse(
        'the row of rate_limit is kept: without it nothing is charged under a rate cap', 'A cap is a setting: gateway.rate_per_second.');
