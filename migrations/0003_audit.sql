-- The auditor: the gateway's books against ours, and what did not agree. And when the gateway was last asked.

-- ------------------------------------------------------------------------------- the webhook

alter table billd.charge_attempt add column asked_at timestamptz;
comment on column billd.charge_attempt.asked_at is
    'When the gateway was last asked. A webhook or an audit makes nobody ask again while that question may be under way.';

alter table billd.hand_charge add column asked_at timestamptz;
comment on column billd.hand_charge.asked_at is 'As in charge_attempt.';

-- ------------------------------------------------------------------------ what we asked money for

create view billd.asked_for as
select merchant_uid, 'attempt'::text as made_by, subscription_id, period, state, amount, currency,
       customer_uid, imp_uid, cancelled_amount, started_at as asked_at
from billd.charge_attempt
union all
select merchant_uid, 'hand', null, null, state, amount, currency,
       customer_uid, imp_uid, cancelled_amount, started_at
from billd.hand_charge;
comment on view billd.asked_for is
    'Every request for money that billd made, by whom: the one place that says whether a merchant_uid is ours.';

create index charge_attempt_by_start on billd.charge_attempt using brin (started_at)
    with (pages_per_range = 32);
comment on index billd.charge_attempt_by_start is
    'Serves the auditor''s walk over a window. A BRIN index, because attempts are added in the order of time and it costs a charge nothing.';

-- ------------------------------------------------------------------------------------- the runs

create table billd.audit_run (
    id bigint generated always as identity constraint audit_run_pkey primary key,
    state text not null default 'running',
    by_cron boolean not null default false,
    from_at timestamptz not null,
    to_at timestamptz not null,
    stage text not null default 'books',
    window_from timestamptz not null,
    page int not null default 1,
    walked_to text collate "C" not null default '',
    payments bigint not null default 0,
    attempts bigint not null default 0,
    schedules bigint not null default 0,
    fence bigint not null default billd.next_fence(0),
    started_at timestamptz not null default billd.now(),
    touched_at timestamptz not null default statement_timestamp(),
    finished_at timestamptz,

    constraint audit_run_state_is_known check (state in ('running', 'done', 'failed')),
    constraint audit_run_stage_is_known check (stage in ('books', 'attempts', 'schedules')),
    constraint audit_run_covers_some_time check (from_at < to_at),
    constraint audit_run_page_is_positive check (page >= 1),
    constraint audit_run_is_finished_when_done check ((state = 'done') = (finished_at is not null))
);
comment on table billd.audit_run is
    'One comparison of the gateway''s books with ours. A run that was cut short goes on where it stood: billd audit --resume.';
comment on column billd.audit_run.state is
    'running: under way, or cut short and to be taken up again. done: it has come to its end. failed: a daemon took it up again, and it could not go on either; its days were not compared.';
comment on column billd.audit_run.by_cron is 'Whether a daemon began it at its hour, and not a person.';
comment on column billd.audit_run.stage is
    'Of each window first the gateway''s books, then our attempts that they did not hold; at last the gateway''s reservations.';
comment on column billd.audit_run.window_from is 'Where the window begins that is being compared. A window is at most a day.';
comment on column billd.audit_run.page is 'The next page of the gateway''s list.';
comment on column billd.audit_run.walked_to is 'The last merchant_uid of ours that was asked about in this window.';
comment on column billd.audit_run.payments is 'Records of the gateway''s books that were read.';
comment on column billd.audit_run.attempts is 'Attempts of ours that had to be asked about, because the books did not hold them.';
comment on column billd.audit_run.schedules is 'Reservations at the gateway that were read.';
comment on column billd.audit_run.fence is 'Raised by whoever takes the run over: the one before can''t move it any more.';
comment on column billd.audit_run.touched_at is
    'When it last moved, by PostgreSQL''s own clock. A daemon takes over a run that has not moved for ten minutes.';

create unique index audit_run_one_by_cron on billd.audit_run (by_cron)
    where by_cron and state = 'running';
comment on index billd.audit_run_one_by_cron is 'Of several daemons that wake at the same hour one runs the audit.';
create index audit_run_unfinished on billd.audit_run (id) where state = 'running';
comment on index billd.audit_run_unfinished is 'Serves the way to a run that was cut short.';

create unlogged table billd.audit_seen (
    run_id bigint not null,
    merchant_uid text collate "C" not null,
    constraint audit_seen_pkey primary key (run_id, merchant_uid)
);
comment on table billd.audit_seen is
    'What the gateway''s books held of ours in the window of a run; emptied with each window. Not logged: what a crash of the database takes from it is asked about one by one.';

-- --------------------------------------------------------------------------------- what was found

create table billd.finding (
    id bigint generated always as identity constraint finding_pkey primary key,
    kind text not null,
    state text not null default 'open',
    merchant_uid text collate "C" not null,
    imp_uid text,
    subscription_id uuid,
    amount_ours bigint,
    amount_theirs bigint,
    currency text,
    note text,
    first_seen_at timestamptz not null default billd.now(),
    last_seen_at timestamptz not null default billd.now(),
    told_at timestamptz,
    run_id bigint,

    constraint finding_kind_is_known check (kind in (
        'paid_there_not_here', 'paid_here_not_there', 'paid_twice', 'amount_mismatch',
        'customer_mismatch', 'cancelled_there', 'foreign_payment', 'foreign_schedule')),
    constraint finding_state_is_open_explained_or_mended
        check (state in ('open', 'explained', 'mended'))
);
comment on table billd.finding is
    'What the auditor found, once each. To close one: update billd.finding set state = ''explained'', note = ''…'' where id = …';
comment on column billd.finding.kind is
    'paid_there_not_here: money moved for an attempt that was declined, not sent or lost here, or under a name such as billd makes that the tables know nothing of. paid_here_not_there: the gateway knows nothing of a payment of ours. paid_twice: more than one payment kept for one debt. amount_mismatch, customer_mismatch: another sum or card than we asked for. cancelled_there: given back at the console. foreign_payment: somebody else charged a card of ours. foreign_schedule: the gateway will charge a card of ours by itself.';
comment on column billd.finding.state is
    'open: a person must look. explained: a person has looked; it is not told again. mended: it no longer holds, or needed no more than to be written down.';
comment on column billd.finding.amount_ours is 'What we asked for, or 0; for a cancellation what our books had as given back.';
comment on column billd.finding.amount_theirs is 'What the gateway''s books hold; for a cancellation what they have as given back.';
comment on column billd.finding.note is 'What is known of it; a person''s own words may take its place.';
comment on column billd.finding.told_at is 'When it was written to the log as an error; null until then, and again when it comes back.';
comment on column billd.finding.run_id is 'The last run that saw it.';

create unique index finding_is_told_once on billd.finding (kind, merchant_uid, coalesce(imp_uid, ''));
comment on index billd.finding_is_told_once is 'One thing is one row, however often it is seen.';
create index finding_open on billd.finding (kind) where state = 'open';
comment on index billd.finding_open is 'Serves the figures and the list of what a person must look at.';
create index finding_untold on billd.finding (id) where told_at is null;
comment on index billd.finding_untold is 'Serves the log: what has not been told yet.';
