-- Notices ahead: what lies so many days before us, told once per period. Each is looked for along an index, page by page,
-- and written under the lock of its row; a daemon that was down tells late.

create or replace function billd_internal.note_notice(
    s uuid, kind text, about text, period date, at timestamptz
) returns boolean
language plpgsql volatile
as $$
declare
    before date := (select n.period from billd_internal.notice n
        where (n.subscription_id, n.kind, n.about) = (s, note_notice.kind, note_notice.about));
begin
    insert into billd_internal.notice as n (subscription_id, kind, about, period, at)
    values (s, note_notice.kind, note_notice.about, note_notice.period, note_notice.at)
    on conflict on constraint notice_pkey do update set period = excluded.period, at = excluded.at;
    return note_notice.period is distinct from before;
end
$$;
comment on function billd_internal.note_notice(uuid, text, text, date, timestamptz) is
    'Notes what is told. Returns whether it is to be told: not if this period was told of before.';

create or replace function billd_internal.upcoming_days(s billd.subscription) returns int
language sql stable
as $$ select coalesce(s.upcoming_days, (select k.upcoming_days from billd.control k), 0) $$;
comment on function billd_internal.upcoming_days(billd.subscription) is 'How many days ahead a charge is told; 0: it is not.';

create or replace function billd_internal.tell_upcoming(id uuid) returns boolean
language plpgsql volatile
as $$
declare
    s billd.subscription;
    f billd.forecast;
begin
    select t.* into s from billd.subscription t
    where t.id = tell_upcoming.id and t.state = 'active' and t.next_charge_at > billd.now() and t.attempts = 0 and t.held is null
      and t.next_charge_at <= billd.now() + make_interval(days => billd_internal.upcoming_days(t))
    for no key update skip locked;
    if s.id is null then
        return false;
    end if;
    select t.* into f from billd.forecast(s.id, 6) t where t.kind in ('charge', 'debt', 'free', 'end', 'hold') limit 1;
    if f.kind not in ('charge', 'debt')
        or not billd_internal.note_notice(s.id, 'charge_upcoming', '', s.period, s.next_charge_at)
    then
        return false;
    end if;
    perform billd_internal.tell('charge_upcoming', s.id, s.period, amount => f.amount, currency => f.currency,
        from_at => f.from_at, until_at => f.until_at, next_charge_at => s.next_charge_at,
        more => case when f.made_of is not null then jsonb_build_object('made_of', f.made_of) end);
    return true;
end
$$;
comment on function billd_internal.tell_upcoming(uuid) is
    'Tells of the next charge of a subscription, if it is near and was not told of. Not of one that is a retry.';

create or replace function billd_internal.tell_trial(id uuid) returns boolean
language plpgsql volatile
as $$
declare
    s billd.subscription;
begin
    select t.* into s from billd.subscription t where t.id = tell_trial.id for no key update skip locked;
    if s.id is null or s.state <> 'active' or s.ends_at <= s.trial_until
        or not billd_internal.note_notice(s.id, 'trial_ending', '', s.period, s.trial_until)
    then
        return false;
    end if;
    perform billd_internal.tell('trial_ending', s.id, s.period, amount => s.amount, currency => s.currency,
        next_charge_at => s.next_charge_at, more => jsonb_build_object('trial_until', billd_internal.utc(s.trial_until)));
    return true;
end
$$;
comment on function billd_internal.tell_trial(uuid) is 'Tells that a trial ends soon.';

create or replace function billd_internal.tell_discount(id bigint) returns boolean
language plpgsql volatile
as $$
declare
    s billd.subscription;
    a billd.adjustment;
    writer text;
begin
    select t.* into s from billd.subscription t
    where t.id = (select d.subscription_id from billd.adjustment d where d.id = tell_discount.id) for no key update skip locked;
    if s.id is null then
        return false;
    end if;
    writer := billd_internal.write_as('plan');
    update billd.adjustment d set end_told = true
    where d.id = tell_discount.id and not d.end_told and d.periods_left = 0 returning d.* into a;
    perform billd_internal.write_as(writer);
    if a.id is null then
        return false;
    end if;
    perform billd_internal.tell('discount_ending', s.id, s.period, amount => s.amount, currency => s.currency,
        next_charge_at => s.next_charge_at, more => jsonb_build_object('discount', a.name));
    return true;
end
$$;
comment on function billd_internal.tell_discount(bigint) is 'Tells that a discount has been used up.';

create or replace function billd_internal.tell_consent(id uuid) returns int
language plpgsql volatile
as $$
declare
    c billd.consent_due;
    s billd.subscription;
    told int := 0;
begin
    select t.* into s from billd.subscription t where t.id = tell_consent.id for no key update skip locked;
    for c in select t.* from billd.consent_due t where t.subscription_id = s.id and (t.needs_consent or t.needs_notice) loop
        continue when not billd_internal.note_notice(s.id, 'consent_due', c.kind, c.effective_on, c.effective_on);
        perform billd_internal.tell('consent_due', s.id, currency => s.currency, next_charge_at => s.next_charge_at,
            more => to_jsonb(c) - '{subscription_id,kind,consent,notice}'::text[] || jsonb_build_object('consent', c.kind));
        told := told + 1;
    end loop;
    return told;
end
$$;
comment on function billd_internal.tell_consent(uuid) is 'Tells that consent or a notice is missing, once for each day on which it is needed.';

create or replace function billd_internal.last_notice(s uuid) returns billd_internal.notice
language sql stable
as $$
    select n from billd_internal.notice n where n.subscription_id = s and n.kind = 'charge_upcoming' and n.about = ''
$$;
comment on function billd_internal.last_notice(uuid) is 'What was told or looked at last of the charges of a subscription.';

create or replace function billd_internal.charges_ahead(after_at timestamptz, after_id uuid, rows int)
returns table (id uuid, at timestamptz, is_new boolean)
language sql stable
-- Row by row along the indexes, whatever the planner knows: a page costs what a page costs.
set enable_seqscan = off
set enable_bitmapscan = off
set max_parallel_workers_per_gather = 0
set jit = off
as $$
    select * from (
        -- The index has both, so rows that were looked at are not fetched.
        (select s.id, s.next_charge_at, (billd_internal.last_notice(s.id)).at is distinct from s.next_charge_at
        from billd.subscription s
        where s.state = 'active' and (s.next_charge_at, s.id) > (after_at, after_id)
          and s.next_charge_at <= billd.now() + make_interval(days => (select coalesce(k.upcoming_days, 0) from billd.control k))
        order by s.next_charge_at, s.id limit rows)
        union all
        (select s.id, s.next_charge_at, (billd_internal.last_notice(s.id)).period is distinct from s.period
        from billd.subscription s
        where s.state = 'active' and s.upcoming_days is not null and (s.next_charge_at, s.id) > (after_at, after_id)
          and s.next_charge_at <= billd.now() + interval '60 days'
          and s.next_charge_at <= billd.now() + make_interval(days => s.upcoming_days)
        order by s.next_charge_at, s.id limit rows)
    ) near
    order by next_charge_at, id limit rows
$$;
comment on function billd_internal.charges_ahead(timestamptz, uuid, int) is
    'The charges that lie near, from one on, and which of them are to be looked at.';

create or replace function billd_internal.give_notices(
    rows int, inout after_at timestamptz, inout after_id uuid, out told int
)
language plpgsql volatile
set plan_cache_mode = auto
as $$
declare
    now timestamptz := billd.now();
    near timestamptz := now + make_interval(days => (select k.notice_days from billd.control k));
    one record;
begin
    told := 0;
    if not (select k.events from billd.control k) then
        after_at := null;
        return;
    end if;
    if after_at is null then
        for one in select s.id from billd.subscription s
            left join billd_internal.notice n on n.subscription_id = s.id and n.kind = 'trial_ending' and n.about = ''
            where s.trial_until > now and s.trial_until <= near and n.at is null
        loop
            told := told + billd_internal.tell_trial(one.id)::int;
        end loop;
        for one in select d.id from billd.adjustment d join billd.subscription s on s.id = d.subscription_id
            where d.kind = 'discount' and d.periods_left = 0 and not d.end_told
              and s.state = 'active' and s.next_charge_at > now and s.next_charge_at <= near
        loop
            told := told + billd_internal.tell_discount(one.id)::int;
        end loop;
        for one in select p.subscription_id as id from billd.planned_change p where p.state = 'pending' and p.change ? 'amount'
            union select s.id from billd.subscription s
            where s.trial_until > now - interval '30 days' and s.trial_until <= now + interval '31 days'
        loop
            exit when (select k.consent from billd.control k) = 'off';
            told := told + billd_internal.tell_consent(one.id);
        end loop;
    end if;
    after_at := greatest(after_at, now);
    after_id := coalesce(after_id, '00000000-0000-0000-0000-000000000000');
    for one in select * from billd_internal.charges_ahead(after_at, after_id, rows) loop
        told := told + case when one.is_new then billd_internal.tell_upcoming(one.id)::int else 0 end;
        after_at := one.at;
        after_id := one.id;
        rows := rows - 1;
    end loop;
    if rows > 0 then
        after_at := null;
        after_id := null;
    end if;
end
$$;
comment on function billd_internal.give_notices(int, timestamptz, uuid) is
    'Looks at so many charges that lie ahead, from one on, and tells of those that were not told of; from null on, of trials, discounts and consents, too. Returns where to go on, null at the end.';
