-- What time a debt pays for: [due_at, until_at). One cursor per subscription, settled_until, before which nothing
-- may begin any more. What stands in the book already is filled in by billd_internal.fill_time, in short transactions.

create domain billd.billing_day as smallint
    constraint billing_day_is_between_1_and_31 check (value between 1 and 31);
comment on domain billd.billing_day is 'A day of the month; of a weekly subscription a day of the week, 1 is Monday.';
create domain billd.catch_up as text
    constraint catch_up_is_all_latest_none_or_hold check (value in ('all', 'latest', 'none', 'hold'));
comment on domain billd.catch_up is 'What becomes of whole periods that were missed.';
create domain billd.periods_left as int
    constraint periods_left_is_not_negative check (value >= 0);
comment on domain billd.periods_left is 'A number of periods.';

alter table billd.subscription
    add column external_id text collate "C",
    add column billing_day billd.billing_day,
    add column trial_until timestamptz,
    add column ends_at timestamptz,
    add column periods_left billd.periods_left,
    add column catch_up billd.catch_up,
    add column settled_until timestamptz,
    add column paid_until timestamptz,
    add column until_at timestamptz,
    add column held text,
    add column adjusted boolean not null default false,
    drop constraint amount_is_between_1_and_1000000000,
    add constraint amount_is_between_0_and_1000000000
        check (amount between 0 and 1000000000) not valid;

comment on column billd.subscription.external_id is
    'The merchant''s own name for this agreement. An import that is run twice adds nothing twice.';
comment on column billd.subscription.billing_day is
    'On which day periods begin, if not on the anchor''s: of the month (the last one, where it has no such day), or of the week.';
comment on column billd.subscription.trial_until is
    'Until when it is free at first. The first period that is charged begins then.';
comment on column billd.subscription.ends_at is
    'When it ends by itself: no period begins then or later, and the last one costs its share of days.';
comment on column billd.subscription.periods_left is
    'After how many more periods it ends by itself. What is paid, free or given up counts; a pause does not.';
comment on column billd.subscription.catch_up is
    'What becomes of whole periods that were missed while nothing was charged, by downtime for instance. all: charged in order, at a pace. latest: the present one alone. none: the next one. hold: a person decides.';
comment on column billd.subscription.settled_until is
    'The cursor: all before it is billed, free, forgiven, passed over or out of service. No new debt begins before it. It only grows.';
comment on column billd.subscription.paid_until is
    'The end of the last period that is paid, or free: what an app grants access by.';
comment on column billd.subscription.until_at is 'The end of the current period; null while the calendar can''t be read.';
comment on column billd.subscription.held is 'Why nothing is asked for, until a person lifts it by setting it to null.';
comment on column billd.subscription.adjusted is
    'The next period differs from a plain one: the re-plan opens it, and not the claim.';
comment on column billd.subscription.amount is
    'In the currency''s minor unit (KRW has none). A change counts from the next period that is opened. Less than the gateway charges at all (100 KRW) is free.';
comment on column billd.subscription.anchor_at is
    'Its day and its time of the day are those on which periods begin; a late charge never moves it. Defaults to next_charge_at, or to now.';
comment on column billd.subscription.period is
    'The name of the current period: the day, in time_zone, on which it starts, or a later one if that name is taken.';
comment on column billd.subscription.due_at is 'When the current period begins, and falls due.';
comment on column billd.subscription.state is
    'active: charged when due. past_due: the last debt was finally declined; set it to active after the card was mended. paused: not charged. cancelled: not charged any more. What falls due while it is not active is never billed later.';

create unique index subscription_external_id on billd.subscription (external_id) where external_id is not null;
comment on index billd.subscription_external_id is 'One agreement per name of the merchant''s.';

alter table billd.billing_cycle
    add column until_at timestamptz,
    drop constraint billing_cycle_state_is_known,
    add constraint billing_cycle_state_is_known
        check (state in ('due', 'unresolved', 'paid', 'free', 'uncollectible', 'void')) not valid,
    drop constraint billing_cycle_amount_is_between_1_and_1000000000,
    add constraint billing_cycle_amount_is_between_0_and_1000000000
        check (amount between 0 and 1000000000) not valid,
    drop constraint billing_cycle_is_closed_when_terminal,
    add constraint billing_cycle_is_closed_when_terminal
        check ((closed_at is not null) = (state in ('paid', 'free', 'uncollectible', 'void'))) not valid,
    add constraint billing_cycle_ends_after_it_begins check (until_at > due_at) not valid;

comment on column billd.billing_cycle.due_at is 'When the time begins that it pays for.';
comment on column billd.billing_cycle.until_at is 'When that time ends.';
comment on column billd.billing_cycle.state is
    'due: will be asked for. unresolved: the last attempt''s fate is unknown, the gateway is being asked. paid: money moved. free: nothing to be charged. uncollectible: finally declined; due again when the subscription is set to active. void: closed without a charge.';
comment on column billd.billing_cycle.reason is 'Why it is uncollectible or void; for a time that was passed over, why nothing was billed.';
