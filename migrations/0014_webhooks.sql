-- Webhooks: events on their way to endpoints of the merchant's, signed, in order per subscription.

create table billd.webhook_endpoint (
    name text constraint webhook_endpoint_pkey primary key,
    url text not null,
    state text not null default 'active',
    state_reason text,
    concurrency smallint not null default 8,
    added_at timestamptz not null default billd.now(),
    place text not null,
    failures int not null default 0,
    failing_since timestamptz,
    last_error text,
    probe_at timestamptz,
    replay_id bigint,
    replay_to bigint,
    constraint webhook_endpoint_name_is_a_word check (name ~ '^[A-Za-z0-9_.-]{1,50}$'),
    constraint webhook_endpoint_url_is_http check (
        length(url) <= 2000 and url ~ '^https?://[^/?#@[:space:]]+([/?][^#[:space:]]*)?$'),
    constraint webhook_endpoint_state_is_known check (state in ('active', 'stopped')),
    constraint webhook_endpoint_concurrency_is_1_to_64 check (concurrency between 1 and 64)
) with (fillfactor = 50);
comment on table billd.webhook_endpoint is
    'Where events are sent. billd.add_webhook makes one, billd.webhook shows how each is doing. Each is a consumer of events of its own, webhook:NAME in billd.consumer, where its kinds stand.';
comment on constraint webhook_endpoint_name_is_a_word on billd.webhook_endpoint is 'It is typed in commands and shown in lists.';
comment on constraint webhook_endpoint_url_is_http on billd.webhook_endpoint is
    'An address such as https://shop.example/webhooks, without user, password and fragment. http is for addresses that the setting webhooks.allowed_networks names.';
comment on constraint webhook_endpoint_state_is_known on billd.webhook_endpoint is 'A word that the daemon knows.';
comment on constraint webhook_endpoint_concurrency_is_1_to_64 on billd.webhook_endpoint is 'Each takes a connection.';
comment on column billd.webhook_endpoint.name is 'As commands and lists call it.';
comment on column billd.webhook_endpoint.url is 'Where to. Whether the address may be reached is judged when a connection is made.';
comment on column billd.webhook_endpoint.state is 'active, or stopped: nothing is sent, and what happens waits.';
comment on column billd.webhook_endpoint.state_reason is 'Why it is stopped.';
comment on column billd.webhook_endpoint.concurrency is 'Most requests under way to it, over all daemons.';
comment on column billd.webhook_endpoint.added_at is 'Since when.';
comment on column billd.webhook_endpoint.place is
    'The cluster and database in which somebody said that events go there. A copy of the book sends nothing until that is said there, too.';
comment on column billd.webhook_endpoint.failures is 'Failed attempts in a row. From 5 on one event at a time tries whether it works again.';
comment on column billd.webhook_endpoint.failing_since is 'Since when no attempt has succeeded; null if the last one did.';
comment on column billd.webhook_endpoint.last_error is 'Of the last failed attempt.';
comment on column billd.webhook_endpoint.probe_at is 'Before this nothing is tried.';
comment on column billd.webhook_endpoint.replay_id is 'A replay from a time has come up to this event; null: none is under way.';
comment on column billd.webhook_endpoint.replay_to is 'The last event of it.';

create table billd_internal.webhook_secret (
    endpoint text not null,
    id bigint generated always as identity,
    secret text not null,
    made_at timestamptz not null default billd.now(),
    ends_at timestamptz not null default 'infinity',
    constraint webhook_secret_pkey primary key (endpoint, id),
    constraint webhook_secret_is_standard check (secret ~ '^whsec_[A-Za-z0-9+/]{43}=$')
);
comment on table billd_internal.webhook_secret is
    'What webhooks are signed with. The daemon''s role alone may read it; it is shown once, when it is made. It stands in the clear, because it must sign: whoever holds a dump could sign, so rotate after one went astray.';
comment on constraint webhook_secret_pkey on billd_internal.webhook_secret is 'The secrets of an endpoint.';
comment on constraint webhook_secret_is_standard on billd_internal.webhook_secret is '32 bytes, as Standard Webhooks writes them.';
comment on column billd_internal.webhook_secret.endpoint is 'Whose.';
comment on column billd_internal.webhook_secret.id is 'Grows with the time.';
comment on column billd_internal.webhook_secret.secret is 'whsec_ and base64.';
comment on column billd_internal.webhook_secret.made_at is 'Since when it signs.';
comment on column billd_internal.webhook_secret.ends_at is 'Until when: it goes on for a while beside the one that follows it.';

create table billd.webhook_delivery (
    event_id bigint not null,
    attempts int not null default 0,
    tries smallint not null default 0,
    taken_at timestamptz not null default billd.now(),
    next_at timestamptz not null default billd.now(),
    lease_until timestamptz,
    closed_at timestamptz,
    endpoint text not null,
    state text not null default 'pending',
    lane text collate "C" not null,
    constraint webhook_delivery_pkey primary key (event_id, endpoint),
    constraint webhook_delivery_state_is_known check (state in ('pending', 'delivered', 'dead'))
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
create index webhook_delivery_open on billd.webhook_delivery (endpoint, state, lane, event_id) where state <> 'delivered';
comment on table billd.webhook_delivery is
    'What becomes of an event at an endpoint. Written in the transaction that moves the endpoint''s consumer on, so each event of its kinds is here once.';
comment on constraint webhook_delivery_pkey on billd.webhook_delivery is 'Each event once per endpoint.';
comment on constraint webhook_delivery_state_is_known on billd.webhook_delivery is 'A word that the daemon knows.';
comment on index billd.webhook_delivery_open is
    'Finds what waits, and dead letters; of each lane the oldest one first.';
comment on column billd.webhook_delivery.event_id is 'billd.event.id; the receiver gets it as webhook-id evt_….';
comment on column billd.webhook_delivery.attempts is 'How often it was taken up. The number of the attempt under way is its fence.';
comment on column billd.webhook_delivery.tries is 'Failed attempts; a replay counts anew. After the tenth it is dead.';
comment on column billd.webhook_delivery.taken_at is 'When it was read for this endpoint.';
comment on column billd.webhook_delivery.next_at is 'When it is tried next.';
comment on column billd.webhook_delivery.lease_until is 'Until then it is in a daemon''s hands; then another one may take it up.';
comment on column billd.webhook_delivery.closed_at is 'When it was delivered, or given up.';
comment on column billd.webhook_delivery.endpoint is 'Where to: billd.webhook_endpoint.name.';
comment on column billd.webhook_delivery.state is
    'pending; delivered: the endpoint answered 2xx; dead: ten attempts over three days have failed (billd.replay_webhook).';
comment on column billd.webhook_delivery.lane is
    'Whose events keep their order: the subscription''s, or those of a one-off charge. Only the oldest that is pending is sent.';

create table billd.webhook_attempt (
    event_id bigint not null,
    attempt_no int not null,
    latency_ms int not null,
    at timestamptz not null default billd.now(),
    status smallint,
    endpoint text not null,
    error text,
    excerpt text,
    constraint webhook_attempt_pkey primary key (event_id, endpoint, attempt_no)
);
create index webhook_attempt_newest on billd.webhook_attempt (endpoint, at);
comment on table billd.webhook_attempt is 'Each attempt to deliver an event, the last 20 of each.';
comment on constraint webhook_attempt_pkey on billd.webhook_attempt is 'The attempts of a delivery.';
comment on index billd.webhook_attempt_newest is 'Shows what an endpoint answered lately.';
comment on column billd.webhook_attempt.event_id is 'Which event.';
comment on column billd.webhook_attempt.attempt_no is 'Its number; one that is missing was cut off with its daemon.';
comment on column billd.webhook_attempt.latency_ms is 'How long the answer took.';
comment on column billd.webhook_attempt.at is 'When it ended.';
comment on column billd.webhook_attempt.status is 'The HTTP status; null if there was no answer.';
comment on column billd.webhook_attempt.endpoint is 'Where to.';
comment on column billd.webhook_attempt.error is 'Why it failed; null if it succeeded.';
comment on column billd.webhook_attempt.excerpt is 'How the answer begins that said no.';
