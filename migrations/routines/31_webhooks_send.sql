-- Webhooks, the daemon's part: events are taken for an endpoint, claimed, and what came of it is recorded. Each is a
-- short transaction that writes one endpoint's rows under its lock.

create or replace function billd_internal.webhook_lane(v billd_internal.event_row) returns text
language sql immutable
as $$ select coalesce(v.subscription_id::text, v.merchant_uid, 'event ' || v.id) $$;
comment on function billd_internal.webhook_lane(billd_internal.event_row) is 'Whose events keep their order.';

create or replace function billd_internal.first_event_since(since timestamptz) returns bigint
language plpgsql stable
as $$
declare
    low bigint := (select min(v.id) from billd_internal.event_row v);
    high bigint := (select max(v.id) + 1 from billd_internal.event_row v);
    middle bigint;
    found_at timestamptz;
begin
    -- Ids go with the time, near enough; there is no index by time.
    while low < high loop
        middle := (low + high) / 2;
        select v.occurred_at into found_at from billd_internal.event_row v where v.id >= middle order by v.id limit 1;
        if found_at < since then
            low := middle + 1;
        else
            high := middle;
        end if;
    end loop;
    return low;
end
$$;
comment on function billd_internal.first_event_since(timestamptz) is 'The first event that occurred then or later, near enough.';

create or replace function billd_internal.webhook_body(v billd_internal.event_row) returns text
language sql stable
set timezone to 'UTC'
as $$
    select case
        when octet_length(whole.body) <= 65536 then whole.body
        else jsonb_build_object('type', v.kind, 'timestamp', at.time, 'data', head.data || '{"cut": true}')::text
    end
    from (select to_char(v.occurred_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')) at (time)
    cross join lateral (
        select jsonb_build_object('id', v.id, 'version', v.version, 'subscription_id', v.subscription_id, 'external_id', (
            select s.external_id from billd.subscription s where s.id = v.subscription_id), 'period', v.period,
            'merchant_uid', v.merchant_uid)
    ) head (data)
    cross join lateral (
        select jsonb_build_object('type', v.kind, 'timestamp', at.time,
            'data', head.data || billd_internal.event_data(v))::text
    ) whole (body)
$$;
comment on function billd_internal.webhook_body(billd_internal.event_row) is
    'The body of a webhook: type, timestamp, and in data the event''s columns and its data. Of one that would be larger than 64 KiB the data is left out, and cut is true: billd.event has it.';

create or replace function billd_internal.has_webhooks(e billd.webhook_endpoint) returns boolean
language sql stable
as $$
    select billd_internal.may_send_webhooks(e) and coalesce(e.probe_at <= billd.now(), true) and (
        e.replay_id is not null
        or exists (
            select from billd.webhook_delivery d
            where d.endpoint = e.name and d.state = 'pending' and d.next_at <= billd.now()
              and coalesce(d.lease_until <= billd.now(), true))
        or exists (select from billd.consumer c where c.name = 'webhook:' || e.name and billd_internal.has_news(c)))
$$;
comment on function billd_internal.has_webhooks(billd.webhook_endpoint) is
    'Whether there may be something to take or to send. Writes nothing.';

create or replace function billd_internal.take_webhooks(e billd.webhook_endpoint) returns void
language plpgsql volatile
as $$
declare
    room int := least(500, 5000 - (
        select count(*) from billd.webhook_delivery d where d.endpoint = e.name and d.state = 'pending'));
    page bigint[];
begin
    if room > 0 and e.replay_id is not null then
        page := array(
            select v.id from billd_internal.event_row v
            where v.id > e.replay_id and v.id <= e.replay_to and exists (
                select from billd.consumer c
                where c.name = 'webhook:' || e.name and (c.kinds is null or v.kind = any (c.kinds)))
            order by v.id limit room);
        insert into billd.webhook_delivery as d (event_id, endpoint, lane)
        select v.id, e.name, billd_internal.webhook_lane(v) from billd_internal.event_row v where v.id = any (page)
        on conflict on constraint webhook_delivery_pkey do update
        set state = 'pending', tries = 0, next_at = billd.now(), closed_at = null
        where d.state <> 'pending';
        update billd.webhook_endpoint w
        set replay_id = case when cardinality(page) = room then page[room] end
        where w.name = e.name;
        room := room - cardinality(page);
    end if;
    if room > 0 then
        insert into billd.webhook_delivery (event_id, endpoint, lane)
        select r.id, e.name, coalesce(r.subscription_id::text, r.merchant_uid, 'event ' || r.id)
        from billd.read_events('webhook:' || e.name, room) r
        -- A replay was first.
        on conflict on constraint webhook_delivery_pkey do nothing;
    end if;
end
$$;
comment on function billd_internal.take_webhooks(billd.webhook_endpoint) is
    'Writes the next events of an endpoint down as deliveries, in the transaction that moves its consumer on. At most 5000 are pending: what is beyond waits in billd.event, so an endpoint that is dead or refuses a kind costs little.';

create or replace function billd_internal.lease_webhooks(endpoint text, lease interval, n int) returns bigint[]
language sql volatile
as $$
    with due as (
        select d.event_id from billd.webhook_delivery d
        where d.endpoint = $1 and d.state = 'pending' and d.next_at <= billd.now()
          and coalesce(d.lease_until <= billd.now(), true)
          and not exists (
            select from billd.webhook_delivery b
            where b.endpoint = $1 and b.state = 'pending' and b.lane = d.lane and b.event_id < d.event_id)
        order by d.next_at, d.event_id limit $3
    ),
    leased as (
        update billd.webhook_delivery d
        set attempts = d.attempts + 1, lease_until = billd.now() + $2
        where d.endpoint = $1 and d.event_id in (select u.event_id from due u)
        returning d.event_id
    )
    select coalesce(array_agg(event_id), '{}') from leased
$$;
comment on function billd_internal.lease_webhooks(text, interval, int) is
    'Takes up what is due: of each lane the oldest one that is pending, and those first that have waited longest.';

create or replace function billd_internal.claim_webhooks(endpoint text, lease interval, n int)
returns table (event_id bigint, attempt_no int, kind text, lane text, url text, secrets text[], sent_at bigint, body text)
language plpgsql volatile
as $$
#variable_conflict use_column
declare
    e billd.webhook_endpoint;
    free int;
    ids bigint[];
begin
    select w.* into e from billd.webhook_endpoint w where w.name = claim_webhooks.endpoint;
    if e.name is null or not billd_internal.has_webhooks(e) then
        return;
    end if;
    -- What a crash of the server forgets is sent again under the same id: nobody waits for a disk.
    perform set_config('synchronous_commit', 'off', true);
    select w.* into e from billd.webhook_endpoint w where w.name = claim_webhooks.endpoint for no key update;
    if e.name is null or not billd_internal.has_webhooks(e) then
        return;
    end if;
    select least(claim_webhooks.n, case when e.failures < 5 then e.concurrency else 1 end - count(*)) into free
    from billd.webhook_delivery d
    where d.endpoint = e.name and d.state = 'pending' and d.lease_until > billd.now();
    if free <= 0 then
        return;
    end if;
    ids := billd_internal.lease_webhooks(e.name, claim_webhooks.lease, free);
    if cardinality(ids) < free then
        perform billd_internal.take_webhooks(e);
        ids := ids || billd_internal.lease_webhooks(e.name, claim_webhooks.lease, free - cardinality(ids));
    end if;
    return query
        select d.event_id, d.attempts, v.kind, d.lane, e.url, array(
                select s.secret from billd_internal.webhook_secret s
                where s.endpoint = e.name and s.ends_at > billd.now() order by s.id desc limit 3),
            extract(epoch from statement_timestamp())::bigint, billd_internal.webhook_body(v)
        from billd.webhook_delivery d
        left join billd_internal.event_row v on v.id = d.event_id
        where d.event_id = any (ids) and d.endpoint = e.name
        order by d.event_id;
end
$$;
comment on function billd_internal.claim_webhooks(text, interval, int) is
    'What a daemon is to send to an endpoint now, at most n, leased to it; takes new events up if there is room. sent_at is this server''s clock and not billd''s: receivers compare it with theirs.';

create or replace function billd_internal.record_webhooks(endpoint text, results jsonb)
returns table (event_id bigint, attempt_no int, became text)
language plpgsql volatile
as $$
#variable_conflict use_column
declare
    e billd.webhook_endpoint;
    d billd.webhook_delivery;
    r record;
begin
    perform set_config('synchronous_commit', 'off', true);
    select w.* into e from billd.webhook_endpoint w where w.name = record_webhooks.endpoint for no key update;
    if e.name is null then
        return;
    end if;
    for r in
        select * from jsonb_to_recordset(results) x (
            event_id bigint, attempt_no int, status smallint, latency_ms int, error text, excerpt text)
    loop
        insert into billd.webhook_attempt (event_id, endpoint, attempt_no, latency_ms, status, error, excerpt)
        values (r.event_id, e.name, r.attempt_no, r.latency_ms, r.status, r.error, r.excerpt)
        on conflict do nothing;
        delete from billd.webhook_attempt a
        where a.event_id = r.event_id and a.endpoint = e.name and a.attempt_no <= r.attempt_no - 20;
        select o.* into d from billd.webhook_delivery o
        where o.event_id = r.event_id and o.endpoint = e.name and o.state = 'pending' and o.attempts = r.attempt_no
          and o.lease_until is not null
        for no key update;
        event_id := r.event_id;
        attempt_no := r.attempt_no;
        became := billd_internal.record_webhook(d, r.status, r.error);
        return next;
        e := billd_internal.judge_webhook(e, r.status, r.error);
    end loop;
    update billd.webhook_endpoint w
    set state = e.state, state_reason = e.state_reason, failures = e.failures, failing_since = e.failing_since,
        last_error = e.last_error, probe_at = e.probe_at
    where w.name = e.name and (w.state, w.failures, w.probe_at) is distinct from (e.state, e.failures, e.probe_at);
end
$$;
comment on function billd_internal.record_webhooks(text, jsonb) is
    'Writes down what came of attempts, and what follows: delivered, retried, dead, gone (the endpoint answered 410 and is stopped), or stale: somebody else has taken it up since, and it is for him to say.';

create or replace function billd_internal.record_webhook(d billd.webhook_delivery, status smallint, error text) returns text
language plpgsql volatile
as $$
declare
    wait interval := (billd_internal.webhook_waits())[d.tries + 1] * (1 + random() / 5);
    became text := case
        when d.event_id is null then 'stale'
        when error is null then 'delivered'
        when status = 410 then 'gone'
        when wait is null then 'dead'
        else 'retried' end;
begin
    update billd.webhook_delivery o
    set state = case when became in ('delivered', 'dead') then became else 'pending' end,
        lease_until = null,
        tries = d.tries + (became in ('retried', 'dead'))::int,
        next_at = case became when 'retried' then billd.now() + wait else d.next_at end,
        closed_at = case when became in ('delivered', 'dead') then billd.now() end
    where o.event_id = d.event_id and o.endpoint = d.endpoint;
    return became;
end
$$;
comment on function billd_internal.record_webhook(billd.webhook_delivery, smallint, text) is
    'Writes down what becomes of a delivery whose attempt has ended, and returns the word for it.';

create or replace function billd_internal.judge_webhook(
    e billd.webhook_endpoint, status smallint, error text
) returns billd.webhook_endpoint
language plpgsql stable
as $$
begin
    if error is null then
        e.failures := 0;
        e.failing_since := null;
        e.last_error := null;
        e.probe_at := null;
        return e;
    end if;
    e.failures := e.failures + 1;
    e.failing_since := coalesce(e.failing_since, billd.now());
    e.last_error := error;
    if e.failures >= 5 then
        e.probe_at := billd.now() + least(interval '10 s' * 2 ^ least(e.failures - 5, 10), interval '15 min');
    end if;
    if status = 410 and e.state = 'active' then
        e.state := 'stopped';
        e.state_reason := 'it answered 410 Gone; billd.start_webhook sends again';
    end if;
    return e;
end
$$;
comment on function billd_internal.judge_webhook(billd.webhook_endpoint, smallint, text) is
    'The circuit breaker of an endpoint: after five failures in a row nothing is tried but one event at a time, after 10 seconds, then after waits that double, up to a quarter of an hour. The first success ends that.';

create or replace procedure billd_internal.forget_webhooks(day date, batch int)
language plpgsql
as $$
declare
    page bigint[];
    oldest timestamptz;
begin
    loop
        -- Along the key: events go with the time, near enough.
        select array_agg(t.event_id order by t.event_id), min(t.taken_at) into page, oldest from (
            select d.event_id, d.taken_at from billd.webhook_delivery d
            where d.event_id > coalesce(page[cardinality(page)], 0) order by d.event_id limit batch) t;
        exit when oldest is null or oldest >= day;
        with closed as (
            delete from billd.webhook_delivery d
            where d.event_id = any (page) and d.state <> 'pending' and d.closed_at < day
            returning d.event_id, d.endpoint
        )
        delete from billd.webhook_attempt a using closed c
        where a.event_id = c.event_id and a.endpoint = c.endpoint;
        commit;
    end loop;
end
$$;
comment on procedure billd_internal.forget_webhooks(date, int) is
    'Deletes deliveries that were closed before a day, dead letters among them, and their attempts, in short transactions.';
