-- Reading events: each once, in order, whatever else is going on.
--
-- A consumer's place is not a number. Ids are given before their transaction ends, so whoever reads beyond an id that is
-- not committed yet would miss it. A place is a window: what could be seen when it was opened, and could not when the
-- one before was opened. Within it, events are read by id, so many at a time; when it is used up, the next one is opened
-- as of now. So a transaction that stays open delays what it wrote itself, and nothing else. Who writes an event after
-- another one's transaction has ended has a higher id and is in the same window or a later one: its order holds for all.

create or replace function billd_internal.whole_number(xmin xid, top bigint) returns bigint
language sql immutable parallel safe
as $$
    -- The system column has the lower half of the number.
    select n + case when n < top then 4294967296 else 0 end
    from (select top - top % 4294967296 + xmin::text::bigint) x (n)
$$;
comment on function billd_internal.whole_number(xid, bigint) is
    'The whole number of a subtransaction of the transaction top.';

create or replace function billd_internal.settle_events() returns bigint
language plpgsql volatile
security definer set search_path = pg_catalog, public, pg_temp
as $$
declare
    was bigint;
    shift bigint;
begin
    update billd.control c
    set event_cluster = billd_internal.event_cluster(),
        event_offset = greatest(c.event_offset, (select max(e.tx) + 1 from billd_internal.event_row e),
            (select max(r.window_xmax) from billd.consumer r))
    from billd.control before
    where c.event_cluster is distinct from billd_internal.event_cluster()
    returning before.event_cluster into was;
    if was is not null then
        perform billd_internal.skip_event_ids();
    end if;
    select c.event_offset into shift from billd.control c;
    if exists (select from billd_internal.event_row e where e.tx = 0) then
        perform set_config('billd.forgetting', 'on', true);
        update billd_internal.event_row e set tx = pg_current_xact_id()::text::bigint + shift where e.tx = 0;
        perform set_config('billd.forgetting', 'off', true);
    end if;
    return shift;
end
$$;
comment on function billd_internal.settle_events() is
    'What is added to the number of a transaction of this cluster. In another cluster than before, where the book was put back from a dump, they count from above all that is written down, and ids go on above all that the place before may have given. What was written before this was settled gets this transaction''s number.';

create or replace function billd_internal.open_window(inout c billd.consumer)
language plpgsql volatile
as $$
declare
    shift bigint := billd_internal.settle_events();
    top bigint := pg_current_xact_id()::text::bigint;
    seen pg_snapshot;
    seen_to bigint;
    from_now_on bigint;
begin
    c.seen_id := c.window_id;
    c.seen_xmax := c.window_xmax;
    c.seen_xip := c.window_xip;
    -- One statement, so both are of one snapshot.
    select pg_current_snapshot(), coalesce(max(e.id), c.seen_id) into seen, c.window_id from billd_internal.event_row e;
    seen_to := pg_snapshot_xmax(seen)::text::bigint;
    -- Transactions may have numbers above the snapshot's last one, and ids below its highest. So the window is closed at
    -- a number that was given after it: that of a subtransaction, which a row keeps that it has written.
    begin
        update billd.consumer r set read_at = billd.now() where r.name = c.name
        returning billd_internal.whole_number(r.xmin, top) into from_now_on;
    exception when sqlstate 'BD002' then
        null; -- Never raised: that it could be makes a subtransaction of this.
    end;
    c.window_xmax := from_now_on + shift;
    -- This transaction is open, too: what it writes is in a later window.
    c.window_xip := array(
        select x::text::bigint + shift from pg_snapshot_xip(seen) x
        union select top + shift
        union select x + shift from generate_series(seen_to, from_now_on - 1) x
        order by 1);
    c.after_id := 0;
end
$$;
comment on function billd_internal.open_window(billd.consumer) is 'The next window of a consumer, as of now.';

create or replace function billd_internal.events_of(c billd.consumer, n int) returns setof billd_internal.event_row
language sql stable
set plan_cache_mode = force_custom_plan
as $$
    select * from (
        (select e.* from billd_internal.event_row e
        where e.id > greatest(c.seen_id, c.after_id) and e.id <= c.window_id
          and e.tx > 0 and e.tx < c.window_xmax and e.tx <> all (c.window_xip)
          and (c.kinds is null or e.kind = any (c.kinds))
        order by e.id limit n)
        union all
        (select late.* from unnest(c.seen_xip) x (tx)
        cross join lateral (
            select e.* from billd_internal.event_row e
            where e.tx = x.tx and e.id > c.after_id and e.id <= c.seen_id
              and (c.kinds is null or e.kind = any (c.kinds))
            order by e.id limit n
        ) late
        where x.tx <> all (c.window_xip))
    ) e
    order by e.id limit n
$$;
comment on function billd_internal.events_of(billd.consumer, int) is
    'The next events of a window: those above the window before, and those below that were not committed then.';

create or replace function billd_internal.has_news(c billd.consumer) returns boolean
language sql stable
as $$
    select c.after_id < c.window_id or exists (select from billd_internal.event_row e where e.id > c.window_id)
        or exists (select from unnest(c.window_xip) x (tx)
            cross join lateral (select from billd_internal.event_row e where e.tx = x.tx limit 1) late)
        or exists (select from billd_internal.event_row e where e.tx = 0)
$$;
comment on function billd_internal.has_news(billd.consumer) is 'Whether there may be something to read. Writes nothing.';

create or replace function billd_internal.no_consumer(name text) returns void
language plpgsql
as $$
begin
    raise exception 'there is no consumer %', name
        using errcode = 'no_data_found', constraint = 'consumer_is_there',
              hint = 'select billd.add_consumer(''name'') makes one; billd.consumer lists them.';
end
$$;
comment on function billd_internal.no_consumer(text) is 'Refuses to read for a consumer that was not added.';

create or replace function billd.read_events(consumer text, n int default 100)
returns table (id bigint, kind text, subscription_id uuid, external_id text, period date, merchant_uid text,
    occurred_at timestamptz, version smallint, data jsonb)
language plpgsql volatile
as $$
#variable_conflict use_column
declare
    c billd.consumer;
    page billd_internal.event_row[];
    rows_left int := n;
    is_fresh boolean := false;
begin
    select r.* into c from billd.consumer r where r.name = read_events.consumer;
    if c.name is null then
        perform billd_internal.no_consumer(read_events.consumer);
    elsif coalesce(n, 0) not between 1 and 100000 then
        raise exception 'read_events: n is 1 to 100000'
            using errcode = 'check_violation', constraint = 'n_is_1_to_100000', hint = 'It is how many events are read at once.';
    elsif not billd_internal.has_news(c) then
        return;
    end if;
    -- Two programs of one name take turns, each with the next events.
    select r.* into c from billd.consumer r where r.name = read_events.consumer for no key update;
    if c.name is null then
        perform billd_internal.no_consumer(read_events.consumer);
    end if;
    loop
        page := array(select e from billd_internal.events_of(c, rows_left) e);
        return query
            select e.id, e.kind, e.subscription_id, s.external_id, e.period, e.merchant_uid, e.occurred_at, e.version,
                billd_internal.event_data(e)
            from unnest(page) e
            left join billd.subscription s on s.id = e.subscription_id
            order by e.id;
        rows_left := rows_left - cardinality(page);
        c.after_id := case when rows_left = 0 then page[cardinality(page)].id else c.window_id end;
        exit when rows_left = 0 or is_fresh or not billd_internal.has_news(c);
        c := billd_internal.open_window(c);
        is_fresh := true;
    end loop;
    update billd.consumer r
    set read_at = billd.now(), after_id = c.after_id, seen_id = c.seen_id, seen_xmax = c.seen_xmax, seen_xip = c.seen_xip,
        window_id = c.window_id, window_xmax = c.window_xmax, window_xip = c.window_xip
    where r.name = c.name;
end
$$;
comment on function billd.read_events(text, int) is
    'The next events of a consumer, at most n, and moves its place on in your transaction: commit, and you have had them once; roll back, and you read them again. In order per subscription. No row: nothing is new. Each consumer is one row (billd.add_consumer), so two programs of one name take turns.';

create or replace function billd.add_consumer(
    name text, begin_at text default 'start', kinds text[] default null, bell boolean default true
) returns void
language plpgsql volatile
as $$
declare
    c billd.consumer;
begin
    if begin_at is null or begin_at !~ '^(start|now|[0-9]{1,18})$' then
        raise exception 'add_consumer: begin_at is start, now, or the id of the last event that it knows'
            using errcode = 'check_violation', constraint = 'begin_is_said',
                  hint = 'start: all events that are kept. now: what happens from now on.';
    elsif exists (select from unnest(kinds) k where k not in (select e.kind from billd_internal.event_kind e)) then
        raise exception 'add_consumer: there are no events of kind %', (
                select string_agg(k, ', ') from unnest(kinds) k where k not in (select e.kind from billd_internal.event_kind e))
            using errcode = 'check_violation', constraint = 'kind_is_known', hint = (
                select 'Kinds are ' || string_agg(e.kind, ', ') from billd_internal.event_kind e);
    end if;
    insert into billd.consumer (name, kinds, bell) values (add_consumer.name, add_consumer.kinds, add_consumer.bell)
    on conflict do nothing
    returning * into c;
    if c.name is null then
        raise exception 'there is a consumer % already', add_consumer.name
            using errcode = 'unique_violation', constraint = 'consumer_pkey',
                  hint = 'To read from another place: billd.drop_consumer, then add it again.';
    end if;
    if begin_at = 'now' then
        c := billd_internal.open_window(c);
        c.after_id := c.window_id;
    elsif begin_at <> 'start' then
        c.window_id := begin_at::bigint;
        c.after_id := c.window_id;
    end if;
    update billd.consumer r
    set after_id = c.after_id, window_id = c.window_id, window_xmax = c.window_xmax, window_xip = c.window_xip, read_at = null
    where r.name = c.name;
end
$$;
comment on function billd.add_consumer(text, text, text[], boolean) is
    'Adds a reader of events. begin_at: start (all that are kept), now, or an id (what has a higher one). kinds: which it is given, null for all. bell: notify on channel billd_event when there is something; the bell is no promise, so look now and then without it, too.';

create or replace function billd.drop_consumer(name text) returns void
language plpgsql volatile
as $$
begin
    delete from billd.consumer c where c.name = drop_consumer.name;
    if not found then
        perform billd_internal.no_consumer(drop_consumer.name);
    end if;
end
$$;
comment on function billd.drop_consumer(text) is 'Forgets a reader of events, and its place. Nothing is kept for it any more.';

create or replace view billd.consumer_lag as
select c.name, c.kinds, c.read_at, n.id as next_id, n.occurred_at as next_since,
    coalesce((select max(e.id) from billd_internal.event_row e) - n.id + 1, 0) as unread_at_most
from billd.consumer c
left join lateral (
    select e.id, e.occurred_at from (
        -- Of whatever kind: those it is not given may be many.
        select e.id, e.occurred_at from billd_internal.events_of(row(c.name, null, c.bell, c.added_at, c.read_at, c.after_id,
            c.seen_id, c.seen_xmax, c.seen_xip, c.window_id, c.window_xmax, c.window_xip)::billd.consumer, 1) e
        union all
        (select e.id, e.occurred_at from billd_internal.event_row e where e.id > c.window_id order by e.id limit 1)
        union all
        (select late.id, late.occurred_at from unnest(c.window_xip) x (tx)
        cross join lateral (
            select e.id, e.occurred_at from billd_internal.event_row e
            where e.tx = x.tx and e.id <= c.window_id order by e.id limit 1) late)
    ) e order by e.id limit 1
) n on true;
comment on view billd.consumer_lag is
    'How far each consumer has come: the next event, of whatever kind, and since when it waits; null if all are read. And how many events have that id or a higher one: no more than so many are unread.';

create or replace function billd_internal.has_read(c billd.consumer, e billd_internal.event_row) returns boolean
language sql stable
as $$
    select e.tx > 0 and e.tx < c.seen_xmax and e.tx <> all (c.seen_xip)
        or e.tx > 0 and e.tx < c.window_xmax and e.tx <> all (c.window_xip) and e.id <= c.after_id
$$;
comment on function billd_internal.has_read(billd.consumer, billd_internal.event_row) is
    'Whether an event lies behind a consumer''s place.';

create or replace procedure billd_internal.forget_events(day date, batch int)
language plpgsql
as $$
declare
    page bigint[];
    oldest timestamptz;
begin
    loop
        select array_agg(e.id), min(e.occurred_at) into page, oldest from (
            select t.id, t.occurred_at from billd_internal.event_row t
            where t.id > coalesce(page[cardinality(page)], 0) order by t.id limit batch) e;
        -- Ids go with the time, near enough.
        exit when oldest is null or oldest >= day;
        perform set_config('billd.forgetting', 'on', true);
        delete from billd_internal.event_row e
        where e.id = any (page) and e.occurred_at < day
          and not exists (select from billd.consumer c where not billd_internal.has_read(c, e))
          and not exists (select from billd.webhook_delivery d where d.event_id = e.id and d.state = 'pending');
        perform set_config('billd.forgetting', 'off', true);
        commit;
    end loop;
end
$$;
comment on procedure billd_internal.forget_events(date, int) is
    'Deletes events from before a day that every consumer has read and no endpoint waits for, in short transactions.';
