-- Webhooks: endpoints, what people do with them, and how events are taken, claimed and recorded for them.

create or replace function billd_internal.webhook_place() returns text
language sql stable
as $$ select billd_internal.event_cluster() || '/' || billd_internal.this_database() $$;
comment on function billd_internal.webhook_place() is 'This database, which no copy shares; a promoted stand-by does.';

create or replace function billd_internal.may_send_webhooks(e billd.webhook_endpoint) returns boolean
language sql stable
as $$
    select e.state = 'active' and (e.place = billd_internal.webhook_place() or exists (
        select from billd.control c
        where c.home_cluster || '/' || c.home_database = billd_internal.webhook_place()))
$$;
comment on function billd_internal.may_send_webhooks(billd.webhook_endpoint) is
    'Whether an endpoint is sent anything from here: not while it is stopped, nor from a copy of the book.';

create or replace function billd_internal.webhook_waits() returns interval[]
language sql immutable
as $$ select '{5 s,5 min,30 min,2 h,5 h,10 h,14 h,20 h,24 h}'::interval[] $$;
comment on function billd_internal.webhook_waits() is
    'Waits after each failed attempt: the schedule that Standard Webhooks recommends, three days in all. Each is up to a fifth longer, by chance.';

-- ------------------------------------------------------------------------------------ what people do

create or replace function billd_internal.no_webhook(name text) returns void
language plpgsql
as $$
begin
    raise exception 'there is no webhook endpoint %', name
        using errcode = 'no_data_found', constraint = 'webhook_endpoint_is_there',
              hint = 'billd.webhook lists them; billd.add_webhook(name, url) makes one.';
end
$$;
comment on function billd_internal.no_webhook(text) is 'Says that there is none of this name.';

create or replace function billd_internal.new_webhook_secret() returns text
language sql volatile
as $$
    select 'whsec_' || encode(sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())
        || uuid_send(gen_random_uuid())), 'base64')
$$;
comment on function billd_internal.new_webhook_secret() is 'A secret as Standard Webhooks writes them, of 256 bits by chance.';

create or replace function billd_internal.add_webhook_secret(endpoint text) returns text
language plpgsql volatile
as $$
declare
    made text := billd_internal.new_webhook_secret();
begin
    insert into billd_internal.webhook_secret (endpoint, secret) values (add_webhook_secret.endpoint, made);
    return made;
end
$$;
comment on function billd_internal.add_webhook_secret(text) is 'Makes a secret that signs from now on, and returns it.';

create or replace function billd.add_webhook(
    name text, url text, kinds text[] default null, begin_at text default 'now'
) returns text
language plpgsql volatile
as $$
begin
    if (select count(*) from billd.webhook_endpoint) >= 32 then
        raise exception 'add_webhook: there are 32 endpoints, and no more fit'
            using errcode = 'check_violation', constraint = 'webhook_endpoints_are_32_at_most',
                  hint = 'Let one receiver pass events on, or billd.drop_webhook one that is not needed.';
    end if;
    insert into billd.webhook_endpoint (name, url, place)
    values (add_webhook.name, add_webhook.url, billd_internal.webhook_place())
    on conflict do nothing;
    if not found then
        raise exception 'there is a webhook endpoint % already', add_webhook.name
            using errcode = 'unique_violation', constraint = 'webhook_endpoint_pkey',
                  hint = 'billd.change_webhook gives it another address or other kinds.';
    end if;
    -- Its daemon looks by itself, so nobody's commit rings a bell for it.
    perform billd.add_consumer('webhook:' || add_webhook.name, add_webhook.begin_at, add_webhook.kinds, false);
    return billd_internal.add_webhook_secret(add_webhook.name);
end
$$;
comment on function billd.add_webhook(text, text, text[], text) is
    'Adds an endpoint to which events are sent from now on, and returns the secret that they are signed with (Standard Webhooks), which is shown this once. kinds: which events, null for all. begin_at: now, start (all that are kept), or the id of the last event that it knows.';

create or replace function billd.change_webhook(
    name text, url text default null, kinds text[] default null, concurrency int default null
) returns void
language plpgsql volatile
as $$
begin
    perform billd_internal.judge_kinds('change_webhook', change_webhook.kinds);
    update billd.webhook_endpoint e
    set url = coalesce(change_webhook.url, e.url), concurrency = coalesce(change_webhook.concurrency, e.concurrency),
        failures = 0, failing_since = null, last_error = null, probe_at = null
    where e.name = change_webhook.name;
    if not found then
        perform billd_internal.no_webhook(change_webhook.name);
    end if;
    update billd.consumer c set kinds = nullif(change_webhook.kinds, '{}')
    where c.name = 'webhook:' || change_webhook.name and change_webhook.kinds is not null;
end
$$;
comment on function billd.change_webhook(text, text, text[], int) is
    'Another address, other kinds of events ({} is all) or another bound on requests under way, for what is sent from now on. Its place among the events stays. What waits is tried at once.';

create or replace function billd_internal.judge_kinds(who text, kinds text[]) returns void
language plpgsql stable
as $$
declare
    unknown text := (select string_agg(k, ', ') from unnest(kinds) k
        where k not in (select e.kind from billd_internal.event_kind e));
begin
    if unknown is not null then
        raise exception '%: there are no events of kind %', who, unknown
            using errcode = 'check_violation', constraint = 'kind_is_known', hint = (
                select 'Kinds are ' || string_agg(e.kind, ', ') from billd_internal.event_kind e);
    end if;
end
$$;
comment on function billd_internal.judge_kinds(text, text[]) is 'Refuses kinds of events that there are not.';

create or replace function billd.rotate_webhook(name text, overlap interval default '24 hours') returns text
language plpgsql volatile
as $$
declare
    made text;
begin
    perform from billd.webhook_endpoint e where e.name = rotate_webhook.name for no key update;
    if not found then
        perform billd_internal.no_webhook(rotate_webhook.name);
    elsif overlap is null or not overlap between '0' and '30 days' then
        raise exception 'rotate_webhook: overlap is 0 to 30 days'
            using errcode = 'check_violation', constraint = 'overlap_is_0_to_30_days',
                  hint = 'It is for how long the secrets before go on signing beside the new one. 0 if one is in the wrong hands.';
    end if;
    update billd_internal.webhook_secret s set ends_at = least(s.ends_at, billd.now() + overlap)
    where s.endpoint = rotate_webhook.name;
    made := billd_internal.add_webhook_secret(rotate_webhook.name);
    -- Each signs, and a header has its bounds.
    delete from billd_internal.webhook_secret s
    where s.endpoint = rotate_webhook.name and (s.ends_at <= billd.now() or s.id not in (
        select n.id from billd_internal.webhook_secret n where n.endpoint = s.endpoint order by n.id desc limit 3));
    return made;
end
$$;
comment on function billd.rotate_webhook(text, interval) is
    'Makes a new secret for an endpoint, and returns it, this once. The one before goes on signing beside it for as long as overlap says; at most three sign at once.';

create or replace function billd.stop_webhook(name text, why text default null) returns void
language plpgsql volatile
as $$
begin
    update billd.webhook_endpoint e
    set state = 'stopped', state_reason = coalesce(stop_webhook.why, 'stopped by ' || session_user)
    where e.name = stop_webhook.name;
    if not found then
        perform billd_internal.no_webhook(stop_webhook.name);
    end if;
end
$$;
comment on function billd.stop_webhook(text, text) is
    'Sends an endpoint nothing more. What happens waits for it, and is kept, until it is started or dropped.';

create or replace function billd.start_webhook(name text) returns void
language plpgsql volatile
as $$
begin
    update billd.webhook_endpoint e
    set state = 'active', state_reason = null, place = billd_internal.webhook_place(), failures = 0, failing_since = null,
        last_error = null, probe_at = null
    where e.name = start_webhook.name;
    if not found then
        perform billd_internal.no_webhook(start_webhook.name);
    end if;
    update billd.webhook_delivery d set next_at = billd.now()
    where d.endpoint = start_webhook.name and d.state = 'pending';
end
$$;
comment on function billd.start_webhook(text) is
    'Sends an endpoint what waits for it, at once, from this database: after it was stopped, answered 410, was mended, or in a copy of the book that is meant to send.';

create or replace function billd.replay_webhook(
    name text, event bigint default null, since timestamptz default null
) returns bigint
language plpgsql volatile
as $$
declare
    e billd.webhook_endpoint;
    done bigint;
    first_id bigint;
begin
    select w.* into e from billd.webhook_endpoint w where w.name = replay_webhook.name for no key update;
    if not found then
        perform billd_internal.no_webhook(replay_webhook.name);
    elsif since is not null then
        first_id := billd_internal.first_event_since(since);
        update billd.webhook_endpoint w
        set replay_id = first_id - 1,
            replay_to = (select greatest(c.after_id, c.seen_id) from billd.consumer c where c.name = 'webhook:' || e.name)
        where w.name = e.name
        returning greatest(0, w.replay_to - w.replay_id) into done;
        return done;
    end if;
    insert into billd.webhook_delivery as d (event_id, endpoint, lane)
    select v.id, e.name, billd_internal.webhook_lane(v) from billd_internal.event_row v where v.id = replay_webhook.event
    on conflict on constraint webhook_delivery_pkey do update
    set state = 'pending', tries = 0, next_at = billd.now(), closed_at = null
    where d.state <> 'pending';
    get diagnostics done = row_count;
    if event is not null and done = 0 and not exists (select from billd_internal.event_row v where v.id = event) then
        raise exception 'replay_webhook: there is no event %', event
            using errcode = 'no_data_found', constraint = 'event_is_there', hint = 'select * from billd.event lists them.';
    elsif event is null then
        update billd.webhook_delivery d set state = 'pending', tries = 0, next_at = billd.now(), closed_at = null
        where d.endpoint = e.name and d.state = 'dead' and d.event_id in (
            select o.event_id from billd.webhook_delivery o
            where o.endpoint = e.name and o.state = 'dead' order by o.event_id limit 1000);
        get diagnostics done = row_count;
    end if;
    return done;
end
$$;
comment on function billd.replay_webhook(text, bigint, timestamptz) is
    'Sends again, under the same ids: the dead letters of an endpoint, 1000 at a call; or one event; or all of its kinds that it was given since a time. Returns how many will be looked at. What an endpoint knows by its webhook-id it can pass over.';

create or replace function billd.drop_webhook(name text) returns void
language plpgsql volatile
set enable_seqscan = on
as $$
begin
    delete from billd.webhook_endpoint e where e.name = drop_webhook.name;
    if not found then
        perform billd_internal.no_webhook(drop_webhook.name);
    end if;
    perform billd.drop_consumer('webhook:' || drop_webhook.name);
    delete from billd_internal.webhook_secret s where s.endpoint = drop_webhook.name;
    delete from billd.webhook_attempt a where a.endpoint = drop_webhook.name;
    delete from billd.webhook_delivery d where d.endpoint = drop_webhook.name;
end
$$;
comment on function billd.drop_webhook(text) is
    'Forgets an endpoint, its secrets, and what was and was not delivered to it. To stop for a while: billd.stop_webhook.';

create or replace view billd.webhook as
select w.name, w.url, c.kinds,
    case
        when w.state = 'stopped' then 'stopped'
        when not billd_internal.may_send_webhooks(w) then 'elsewhere'
        when w.failing_since is not null then 'failing'
        else 'well'
    end as health,
    coalesce(w.state_reason, w.last_error) as why, w.failing_since,
    least(d.since, l.next_since) as waiting_since, d.pending + coalesce(l.unread_at_most, 0) as waiting_at_most, d.dead,
    greatest(extract(epoch from billd.now() - least(d.since, l.next_since)), 0)::float8 as lag_seconds
from billd.webhook_endpoint w
left join billd.consumer c on c.name = 'webhook:' || w.name
left join billd.consumer_lag l on l.name = 'webhook:' || w.name
cross join lateral (
    select count(*) filter (where o.state = 'pending') as pending, count(*) filter (where o.state = 'dead') as dead,
        min(o.taken_at) filter (where o.state = 'pending') as since
    from billd.webhook_delivery o where o.endpoint = w.name and o.state <> 'delivered'
) d;
comment on view billd.webhook is
    'How each endpoint is doing. health: well; failing; stopped; elsewhere: this is a copy of the book, and nobody has said that it sends (billd.start_webhook). why: the last error, or why it is stopped. waiting_at_most counts events of other kinds, too. dead: dead letters (billd.replay_webhook).';

-- ------------------------------------------------------------------------------------ for developers

create or replace function billd_internal.listen(kinds text[], out consumer text, out secret text)
language plpgsql volatile
as $$
begin
    -- Of programs that were killed.
    perform billd.drop_consumer(c.name) from billd.consumer c
    where c.name ~ '^listen:' and c.added_at < billd.now() - interval '1 day';
    consumer := 'listen:' || gen_random_uuid();
    secret := billd_internal.new_webhook_secret();
    perform billd.add_consumer(consumer, 'now', listen.kinds, false);
end
$$;
comment on function billd_internal.listen(text[]) is
    'Adds a reader for billd listen, which is forgotten after a day, and makes a secret for it.';

create or replace function billd_internal.tell_example(kind text) returns bigint
language plpgsql volatile
as $$
declare
    at timestamptz := billd.now();
begin
    perform billd_internal.judge_kinds('trigger', array[tell_example.kind]);
    if exists (select from billd.control c where c.home_account <> 'sandbox') then
        raise exception 'trigger: this book charges real cards, and its readers would take an example for real'
            using errcode = 'check_violation', constraint = 'book_is_a_sandboxs', hint = 'Use a book whose gateway is a sandbox.';
    elsif not (select c.events from billd.control c) then
        raise exception 'trigger: no events are written'
            using errcode = 'check_violation', constraint = 'events_are_written', hint = 'update billd.control set events = true';
    end if;
    perform billd_internal.tell(tell_example.kind, null, merchant_uid => 'example', period => at::date,
        amount => case kind when 'free' then 0 else 9900 end, currency => 'KRW', from_at => at, until_at => at + interval '1 month', next_charge_at => at + interval '1 month',
        attempt_no => 1::smallint, more => jsonb_build_object(
            'name', '프리미엄 월간', 'interval_unit', 'month', 'interval_count', 1, 'state', 'active', 'trial_until', at,
            'why', case kind when 'free' then 'trial' else 'agreed' end, 'class', 'soft_funds', 'paid_until', at + interval '1 month', 'was', 'paused',
            'before', jsonb_build_object('amount', 4900, 'name', '월간', 'interval_unit', 'month', 'interval_count', 1),
            'ends_at', at + interval '1 month', 'refund_id', gen_random_uuid(), 'by', 'billd', 'refunded_in_all', 9900,
            'paid_amount', 9900, 'what', 'charge', 'outcome', 'paid', 'finding_id', 1, 'finding', 'paid_there_not_here',
            'amount_ours', 0, 'amount_theirs', 9900, 'discount', 1, 'consent', 1, 'needs_consent', true, 'needs_notice', true,
            'old_amount', 4900, 'new_amount', 9900, 'effective_on', (at + interval '1 month')::date));
    return currval(pg_get_serial_sequence('billd_internal.event_row', 'id'));
end
$$;
comment on function billd_internal.tell_example(text) is
    'Writes an example of an event, for programs that are being written: its merchant_uid is example. In a sandbox''s book only.';
