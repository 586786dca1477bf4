-- What the merchant's program must know: each fact once, in an order in which no reader can miss one.

create table billd_internal.event_row (
    id bigint generated always as identity constraint event_row_pkey primary key,
    tx bigint not null,
    occurred_at timestamptz not null default billd.now(),
    amount bigint,
    from_at timestamptz,
    until_at timestamptz,
    next_charge_at timestamptz,
    subscription_id uuid,
    period date,
    attempt_no smallint,
    version smallint not null default 1,
    kind text not null,
    currency text,
    merchant_uid text collate "C",
    more jsonb
);
create index event_row_by_tx on billd_internal.event_row (tx, id);
comment on table billd_internal.event_row is
    'What billd.event shows. Columns in place of JSON, because a charge writes one: they are made to billd.event.data when they are read, and never change.';
comment on index billd_internal.event_row_pkey is 'Readers go along it.';
comment on index billd_internal.event_row_by_tx is
    'Finds what a transaction wrote that was open while others were read.';
comment on column billd_internal.event_row.id is
    'Given while the writer has the subscription locked, so it grows with the commits of one subscription; and given after tx.';
comment on column billd_internal.event_row.tx is
    'The transaction that wrote it: its number in this cluster, plus billd.control.event_offset. 0: not settled yet (billd_internal.event_tx).';
comment on column billd_internal.event_row.occurred_at is 'When it became true, by billd.now().';
comment on column billd_internal.event_row.amount is 'In minor units.';
comment on column billd_internal.event_row.from_at is 'The time that is paid for begins.';
comment on column billd_internal.event_row.until_at is 'It ends.';
comment on column billd_internal.event_row.next_charge_at is 'When money is asked for next, as it was known then.';
comment on column billd_internal.event_row.subscription_id is 'Whose; null for a one-off charge.';
comment on column billd_internal.event_row.period is 'Of which debt.';
comment on column billd_internal.event_row.attempt_no is 'Which attempt of the period.';
comment on column billd_internal.event_row.version is 'Of the shape of data, per kind.';
comment on column billd_internal.event_row.kind is 'One of billd_internal.event_kind.';
comment on column billd_internal.event_row.currency is 'ISO 4217.';
comment on column billd_internal.event_row.merchant_uid is 'Of which attempt.';
comment on column billd_internal.event_row.more is 'What else data holds.';

create table billd.consumer (
    name text constraint consumer_pkey primary key,
    kinds text[],
    bell boolean not null default true,
    added_at timestamptz not null default billd.now(),
    read_at timestamptz,
    after_id bigint not null default 0,
    seen_id bigint not null default 0,
    seen_xmax bigint not null default 0,
    seen_xip bigint[] not null default '{}',
    window_id bigint not null default 0,
    window_xmax bigint not null default 0,
    window_xip bigint[] not null default '{}',
    constraint consumer_name_is_a_word check (name ~ '^[A-Za-z0-9_.:-]{1,63}$')
) with (fillfactor = 50);
comment on table billd.consumer is
    'Who reads events, and how far each has come. billd.add_consumer makes one, billd.read_events moves its place on, billd.drop_consumer ends it. Events are kept until all have read them.';
comment on constraint consumer_name_is_a_word on billd.consumer is 'It is typed in programs and shown in lists.';
comment on column billd.consumer.name is 'As its program calls itself.';
comment on column billd.consumer.kinds is 'Kinds of events that it is given; null: all.';
comment on column billd.consumer.bell is
    'Whether it is woken by notify on channel billd_event. While nobody is, nobody''s commit waits for the bell.';
comment on column billd.consumer.added_at is 'Since when.';
comment on column billd.consumer.read_at is 'When its place was moved last.';
comment on column billd.consumer.after_id is 'Of the window, it has read up to this id.';
comment on column billd.consumer.seen_id is 'Highest id that could be seen when the window before was opened.';
comment on column billd.consumer.seen_xmax is
    'Transactions from this number on had not begun when the window before was opened.';
comment on column billd.consumer.seen_xip is 'Transactions below it that were open then.';
comment on column billd.consumer.window_id is
    'Highest id that could be seen when the window was opened: what could be seen then, and not when the one before was opened.';
comment on column billd.consumer.window_xmax is 'Transactions from this number on had not begun then.';
comment on column billd.consumer.window_xip is 'Transactions below it that were open then. What they write is in a later window.';

alter table billd.control
    add column events boolean not null default true,
    add column event_offset bigint not null default 0,
    add column event_cluster bigint,
    add column grace interval,
    add column notice_days smallint not null default 7,
    add column upcoming_days smallint,
    add constraint notice_days_are_0_to_60 check (notice_days between 0 and 60),
    add constraint upcoming_days_are_0_to_60 check (upcoming_days between 0 and 60);
comment on column billd.control.events is
    'Whether events are written (billd.event). What happens while it is off is never told.';
comment on column billd.control.event_offset is
    'Added to the numbers of transactions. Raised when the book is found in another cluster, where they begin anew, so that what is written there counts as later.';
comment on column billd.control.event_cluster is 'The cluster that the offset is for.';
update billd.control set event_cluster = (select system_identifier from pg_control_system());
comment on column billd.control.grace is
    'How long after paid_until a customer may go on while the debt is being asked for (billd.may_use); null: as long as it is, so until it is past due.';
comment on column billd.control.notice_days is 'How many days ahead the end of a trial or a discount is told.';
comment on column billd.control.upcoming_days is
    'How many days ahead a charge is told (charge_upcoming); null or 0: it is not. subscription.upcoming_days goes before it.';

alter table billd.subscription add column upcoming_days smallint;
comment on column billd.subscription.upcoming_days is
    'How many days ahead each charge is told (event charge_upcoming), 0 to 60; null: as billd.control.upcoming_days says, 0: never.';
create index subscription_on_trial on billd.subscription (trial_until) where trial_until is not null;
comment on index billd.subscription_on_trial is
    'Finds trials that end soon. No charge touches it: an update that leaves trial_until as it is writes no index.';

create index subscription_told_ahead on billd.subscription (next_charge_at, id)
    where state = 'active' and upcoming_days is not null;
comment on index billd.subscription_told_ahead is 'Finds those whose charges are told so many days ahead by their own wish.';

alter table billd.adjustment add column end_told boolean not null default false;
comment on column billd.adjustment.end_told is 'Whether the end of this discount has been told (event discount_ending).';
update billd.adjustment set end_told = true where kind = 'discount' and periods_left = 0;
create index adjustment_ended on billd.adjustment (subscription_id)
    where kind = 'discount' and periods_left = 0 and not end_told;
comment on index billd.adjustment_ended is 'Finds discounts whose last period has been billed, and of which nobody was told yet.';

create table billd_internal.notice (
    subscription_id uuid not null,
    kind text not null,
    about text not null default '',
    period date not null,
    at timestamptz not null,
    constraint notice_pkey primary key (subscription_id, kind, about)
);
comment on table billd_internal.notice is
    'The last notice ahead of each kind, so that each period is told of once, whatever becomes of its date.';
comment on constraint notice_pkey on billd_internal.notice is 'One each.';
comment on column billd_internal.notice.subscription_id is 'Whom it is about.';
comment on column billd_internal.notice.kind is 'The kind of event.';
comment on column billd_internal.notice.about is 'What else it is told once for: which consent.';
comment on column billd_internal.notice.period is 'The period that was told of.';
comment on column billd_internal.notice.at is 'Its date, as it was looked at last. While it stands, there is nothing to tell.';
