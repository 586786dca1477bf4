-- The book of billd: who owes what and when, every request for money, and what became of it.
--
-- The laws that a database can hold are held here, whoever writes the SQL. Intents are constrained:
-- nobody can open a second attempt while one is open. Facts are not: if money moved twice, the
-- tables can say so, and the view billd.paid_twice does.

create schema if not exists billd;
comment on schema billd is 'Recurring billing through PortOne V1. Start with \d+ billd.subscription.';

-- ---------------------------------------------------------------------------------- the clock

create table billd.clock_shift (
    only_row boolean primary key default true,
    shift interval not null default interval '0',
    constraint clock_shift_has_one_row check (only_row)
);
comment on table billd.clock_shift is
    'How far billd''s clock runs ahead of PostgreSQL''s. Zero in production; a test or a rehearsal moves it.';
insert into billd.clock_shift default values;

create function billd.now() returns timestamptz
language sql stable parallel safe
as $$ select statement_timestamp() + (select shift from billd.clock_shift) $$;
comment on function billd.now() is
    'The only wall clock of billd: due, lease and expiry are judged by it and by nothing else.';

create table billd.rate_limit (
    only_row boolean primary key default true,
    next_free_at timestamptz not null default '-infinity',
    constraint rate_limit_has_one_row check (only_row)
) with (fillfactor = 10);
comment on table billd.rate_limit is
    'When the next request may leave, over all daemons together. Used while gateway.rate_per_second is not 0.';
insert into billd.rate_limit default values;

-- -------------------------------------------------------------- after the server has changed

create function billd.server_name() returns text
language sql volatile
as $$
    select system_identifier || '/'
        || ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int
    from pg_control_system()
$$;
comment on function billd.server_name() is
    'The cluster''s identifier and its timeline, which every promotion and every restore raises. The log''s own, and not the last checkpoint''s: that one is late.';

create table billd.server (
    only_row boolean primary key default true,
    name text not null,
    name_before text,
    quiet_until timestamptz not null default '-infinity',
    lease interval not null default '0',
    constraint server_has_one_row check (only_row)
) with (fillfactor = 10);
comment on table billd.server is
    'Which server this book was on when it was last looked at. A stand-by that was promoted may lack the last commits, and requests that left under them may still be under way.';
comment on column billd.server.quiet_until is
    'Until then nothing is begun, taken over or sent again. Written by whichever claim meets another server first.';
comment on column billd.server.lease is
    'The longest lease of any daemon, so how long a request may be under way. Only grows by itself; may be lowered by hand.';
insert into billd.server (name) values (billd.server_name());

create function billd.at_rest(lease interval) returns boolean
language plpgsql volatile
as $$
declare
    here text := billd.server_name();
    known billd.server;
begin
    select * into known from billd.server;
    -- Not in ordinary times: no lock is taken and nothing is written.
    if known.name <> here or known.lease < at_rest.lease then
        update billd.server s
        set name = here,
            name_before = case when s.name <> here then s.name else s.name_before end,
            lease = greatest(s.lease, at_rest.lease),
            quiet_until = case
                when s.name <> here then billd.now() + greatest(s.lease, at_rest.lease)
                else s.quiet_until
            end
        where s.name <> here or s.lease < at_rest.lease;
        select * into known from billd.server;
    end if;
    return known.quiet_until > billd.now();
end
$$;
comment on function billd.at_rest(interval) is
    'Whether a claim with this lease must leave everything alone, because what was under way on another server may not have ended. Asked by every statement after which a request may leave, within that statement: a connection may lead elsewhere from one to the next.';

create function billd.next_fence(fence bigint) returns bigint
language sql stable parallel safe
as $$ select greatest(fence + 1, (extract(epoch from statement_timestamp()) * 1000000)::bigint) $$;
comment on function billd.next_fence(bigint) is
    'The fence of a new claim: PostgreSQL''s time in microseconds, and never less than one more. One more alone would come again after a fail-over that lost the last claim, and whoever holds that one would pass for the holder of this one.';

-- ------------------------------------------------------------------------------ the agreement

-- Domains, and not checks of a table: a domain is checked when its column is written, a check of the
-- table on every update of the row, and the row of a subscription is updated with every charge.
create domain billd.currency as text
    constraint currency_is_three_capital_letters check (value ~ '^[A-Z]{3}$');
comment on domain billd.currency is 'A currency by its ISO 4217 letters.';
create domain billd.time_zone as text
    constraint time_zone_is_an_iana_name check (value ~ '^[A-Za-z]+(/[A-Za-z0-9_+-]+)*$');
comment on domain billd.time_zone is 'A time zone by its IANA name.';
create domain billd.gateway_options as jsonb
    constraint gateway_options_is_an_object check (jsonb_typeof(value) = 'object')
    constraint gateway_options_has_only_fields_of_again check (
        jsonb_typeof(value) <> 'object' or value - array[
            'browser_ip', 'bypass', 'cash_receipt_type', 'extra', 'interest_free_by_merchant',
            'product_count', 'promotion_id', 'use_card_point'
        ] = '{}'::jsonb
    );
comment on domain billd.gateway_options is
    'Fields of POST /subscribe/payments/again. No others: a misspelt one would be dropped in silence by the gateway.';

create function billd.new_id() returns uuid
language sql volatile parallel safe
as $$
    select encode(
        set_bit(set_bit(
            overlay(uuid_send(gen_random_uuid())
                placing substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3)
                from 1 for 6),
            52, 1), 53, 1),
        'hex')::uuid
$$;
comment on function billd.new_id() is
    'A UUID of version 7: it begins with the time, so rows that were made together lie together in every index. Any other UUID is as valid.';

create function billd.refuse() returns trigger
language plpgsql
as $$
begin
    raise exception using
        errcode = 'check_violation',
        message = tg_argv[0],
        hint = tg_argv[1],
        constraint = tg_name,
        table = tg_table_name,
        schema = tg_table_schema;
end
$$;
comment on function billd.refuse() is 'Refuses a write with the message and the hint given by its trigger.';

create table billd.subscription (
    id uuid constraint subscription_pkey primary key default billd.new_id(),
    customer_uid text collate "C" not null,
    name text not null,
    amount bigint not null,
    currency billd.currency not null default 'KRW',
    interval_unit text not null default 'month',
    interval_count smallint not null default 1,
    time_zone billd.time_zone not null default 'Asia/Seoul',
    anchor_at timestamptz not null,
    state text not null default 'active',
    next_charge_at timestamptz,
    period date not null,
    due_at timestamptz not null,
    state_reason text,
    last_result text,
    last_result_at timestamptz,
    last_reason text,
    last_message text,
    attempts smallint not null default 0,
    declines smallint not null default 0,
    open_attempt text collate "C",
    fence bigint not null default 0,
    recheck boolean not null default false,
    paused_at timestamptz,
    resumed_at timestamptz,
    tax_free bigint,
    vat_amount bigint,
    buyer_name text,
    buyer_email text,
    buyer_tel text,
    buyer_addr text,
    buyer_postcode text,
    card_quota smallint,
    custom_data text,
    notice_url text,
    channel_key text,
    product_type text,
    gateway_options billd.gateway_options not null default '{}',
    created_at timestamptz not null default now(),

    constraint state_is_active_past_due_paused_or_cancelled
        check (state in ('active', 'past_due', 'paused', 'cancelled')),
    constraint customer_uid_has_1_to_80_characters
        check (char_length(customer_uid) between 1 and 80),
    constraint name_has_1_to_40_characters check (char_length(name) between 1 and 40),
    constraint amount_is_between_1_and_1000000000 check (amount between 1 and 1000000000),
    constraint interval_unit_is_day_week_month_or_year
        check (interval_unit in ('day', 'week', 'month', 'year')),
    constraint interval_count_is_between_1_and_366 check (interval_count between 1 and 366),
    constraint period_is_between_2000_and_2099
        check (period between date '2000-01-01' and date '2099-12-31'),
    constraint last_result_is_a_state_of_an_attempt
        check (last_result in ('paid', 'declined', 'not_sent', 'unknown')),
    constraint attempts_are_at_most_99 check (attempts between 0 and 99),
    constraint declines_are_at_most_attempts check (declines between 0 and attempts),
    constraint tax_free_is_within_amount check (tax_free between 0 and amount),
    constraint vat_amount_is_within_amount
        check (vat_amount >= 0 and vat_amount + coalesce(tax_free, 0) <= amount),
    constraint buyer_name_has_at_most_16_characters check (char_length(buyer_name) <= 16),
    constraint buyer_email_has_at_most_64_characters check (char_length(buyer_email) <= 64),
    constraint buyer_tel_has_at_most_16_characters check (char_length(buyer_tel) <= 16),
    constraint buyer_addr_has_at_most_128_characters check (char_length(buyer_addr) <= 128),
    constraint buyer_postcode_has_at_most_8_characters check (char_length(buyer_postcode) <= 8),
    constraint card_quota_is_0_or_2_to_36 check (card_quota = 0 or card_quota between 2 and 36),
    constraint card_quota_needs_an_amount_of_50000_krw
        check (card_quota is null or card_quota = 0 or (currency = 'KRW' and amount >= 50000)),
    constraint custom_data_has_at_most_10000_characters check (char_length(custom_data) <= 10000),
    constraint notice_url_is_http check (notice_url ~ '^https?://' and char_length(notice_url) <= 2000),
    constraint channel_key_has_at_most_55_characters check (char_length(channel_key) <= 55),
    constraint product_type_is_real_or_digital check (product_type in ('real', 'digital'))
) with (
    -- Room for every row of a page to be recorded at once, without leaving it.
    fillfactor = 45,
    autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000,
    autovacuum_analyze_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 1
);

comment on table billd.subscription is
    'The standing agreement: who, how much, how often. The shortest insert names customer_uid, name and amount.';
comment on column billd.subscription.state is
    'active: charged when due. past_due: the last debt was finally declined; set it to active after the card was mended. paused: not charged. cancelled: not charged any more. Periods that fall due while it is not active are never billed later.';
comment on column billd.subscription.next_charge_at is
    'When money is asked for next; null while nothing is planned (past_due, or an attempt whose fate is unknown). May be moved by hand.';
comment on column billd.subscription.customer_uid is 'The merchant''s name for one billing key at PortOne, so for one card.';
comment on column billd.subscription.name is 'What the buyer''s statement says.';
comment on column billd.subscription.amount is 'In the currency''s minor unit (KRW has none). A change counts from the next period that is opened.';
comment on column billd.subscription.time_zone is 'Months and days are counted in this zone.';
comment on column billd.subscription.anchor_at is
    'The instant that periods are counted from; a late charge never moves it. Defaults to next_charge_at, or to now.';
comment on column billd.subscription.period is 'The day, in time_zone, on which the current period starts. It names the debt.';
comment on column billd.subscription.due_at is 'When the current period fell or falls due.';
comment on column billd.subscription.state_reason is 'Why the subscription is past_due, or what a person wrote.';
comment on column billd.subscription.last_reason is 'The class of the decline, or the kind of doubt.';
comment on column billd.subscription.last_message is 'What the gateway said, word for word.';
comment on column billd.subscription.attempts is 'Charge attempts of the current period whose outcome, or whose doubt, is recorded here.';
comment on column billd.subscription.declines is 'How many of them took a rung of a dunning ladder.';
comment on column billd.subscription.open_attempt is
    'merchant_uid of the attempt whose fate is unknown; no other may begin until it is proved. An attempt that is just under way is not noted here: see billd.charge_attempt.';
comment on column billd.subscription.fence is
    'The claim that wrote here last; never lowered, and no number comes twice (billd.next_fence). A claim with a lower one can''t move this row any more.';
comment on column billd.subscription.recheck is 'True while billd has to derive this row''s next step from the attempts again.';
comment on column billd.subscription.paused_at is 'When it last stopped being active.';
comment on column billd.subscription.resumed_at is 'When it last became active again. Periods that fell due between paused_at and then are passed over.';
comment on column billd.subscription.tax_free is 'Tax-free part of amount. Always fill it for a mixed-tax (복합과세) contract: KG Inicis books the whole amount as tax-free otherwise.';
comment on column billd.subscription.vat_amount is 'Value-added tax within amount; null lets the gateway compute it.';
comment on column billd.subscription.card_quota is 'Months to pay in; 0 is at once.';
comment on column billd.subscription.custom_data is 'Text that PortOne stores and returns.';
comment on column billd.subscription.gateway_options is 'The rarely used fields of POST /subscribe/payments/again, sent as they are.';

create index subscription_due on billd.subscription (next_charge_at, id) where state = 'active';
comment on index billd.subscription_due is 'Serves the claim (claim_due), which goes on where the last one ended, also among a million that fall due at one midnight. A claim writes nothing here: the row leaves this index when the outcome is recorded.';
create index subscription_to_recheck on billd.subscription (id) where recheck;
comment on index billd.subscription_to_recheck is 'Serves recheck; empty in quiet times.';
create index subscription_past_due on billd.subscription (id) where state = 'past_due';
comment on index billd.subscription_past_due is 'Serves the view attention.';
create index subscription_by_customer_uid on billd.subscription (customer_uid);
comment on index billd.subscription_by_customer_uid is 'Serves people who look a customer up.';

create function billd.subscription_fill() returns trigger
language plpgsql
as $$
begin
    if new.anchor_at is null then
        new.anchor_at := coalesce(new.next_charge_at, billd.now());
    elsif new.next_charge_at is null and new.anchor_at < billd.now() and new.state = 'active' then
        raise exception 'anchor_at lies in the past, so next_charge_at must say when the next charge is'
            using errcode = 'check_violation', constraint = 'next_charge_at_is_known',
                  hint = 'Without it every period since anchor_at would be charged. For the first charge now, leave both out.';
    end if;
    new.next_charge_at := coalesce(new.next_charge_at, new.anchor_at);
    new.due_at := coalesce(new.due_at, new.next_charge_at);
    new.period := coalesce(new.period, (new.due_at at time zone new.time_zone)::date);
    return new;
end
$$;
comment on function billd.subscription_fill() is
    'Derives anchor_at, next_charge_at, due_at and period of a new subscription from what was given.';
create trigger subscription_fill before insert on billd.subscription
    for each row execute function billd.subscription_fill();

-- ----------------------------------------------------------------------------------- the debt

create table billd.billing_cycle (
    subscription_id uuid not null,
    period date not null,
    amount bigint not null,
    currency billd.currency not null,
    tax_free bigint,
    vat_amount bigint,
    card_quota smallint,
    due_at timestamptz not null,
    opened_at timestamptz not null default billd.now(),
    state text not null default 'due',
    closed_at timestamptz,
    reason text,

    constraint billing_cycle_pkey primary key (subscription_id, period),
    constraint billing_cycle_state_is_known
        check (state in ('due', 'unresolved', 'paid', 'uncollectible', 'void')),
    constraint billing_cycle_amount_is_between_1_and_1000000000
        check (amount between 1 and 1000000000),
    constraint billing_cycle_tax_free_is_within_amount check (tax_free between 0 and amount),
    constraint billing_cycle_vat_amount_is_within_amount
        check (vat_amount >= 0 and vat_amount + coalesce(tax_free, 0) <= amount),
    constraint billing_cycle_is_closed_when_terminal
        check ((closed_at is not null) = (state in ('paid', 'uncollectible', 'void')))
) with (
    fillfactor = 45,
    autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.02,
    autovacuum_vacuum_cost_delay = 1
);

comment on table billd.billing_cycle is
    'The debt of one period; exactly one row per subscription and period, opened by its first attempt.';
comment on column billd.billing_cycle.state is
    'due: will be asked for. unresolved: the last attempt''s fate is unknown, the gateway is being asked. paid: money moved. uncollectible: finally declined; due again when the subscription is set to active. void: closed without a charge.';
comment on column billd.billing_cycle.amount is
    'What is owed, fixed with its tax and instalments when the period was opened. May be changed by hand while no attempt is open.';
comment on column billd.billing_cycle.reason is 'Why it is uncollectible or void.';

-- Some triggers leave billd's own two great writers alone: store::claim_due and store::record name themselves
-- in `billd.writer`, for their own transaction, and do within their statement what the trigger is for. A
-- foreign key, which can't tell writers apart, cost a third of all work of a charge.

create function billd.billing_cycle_belongs() returns trigger
language plpgsql
as $$
begin
    -- It is held: whoever deletes it waits, and then finds the debt; and a claim passes it by.
    perform from billd.subscription s where s.id = new.subscription_id for no key update;
    if not found then
        raise exception 'there is no subscription %', new.subscription_id
            using errcode = 'foreign_key_violation', constraint = tg_name,
                  schema = tg_table_schema, table = tg_table_name;
    end if;
    return null;
end
$$;
comment on function billd.billing_cycle_belongs() is 'Refuses a debt of no subscription. A claim has locked the subscription itself.';
create trigger billing_cycle_belongs_to_a_subscription after insert on billd.billing_cycle
    for each row when (current_setting('billd.writer', true) is distinct from 'claim')
    execute function billd.billing_cycle_belongs();

create trigger billing_cycle_stays_what_it_is after update on billd.billing_cycle
    for each row
    when ((old.subscription_id, old.period) is distinct from (new.subscription_id, new.period))
    execute function billd.refuse(
        'a debt stays with its subscription and its period',
        'Set state to void to close it without a charge.');
create trigger billing_cycle_is_kept before delete on billd.billing_cycle
    for each row
    when (current_setting('billd.forgetting', true) is distinct from 'on')
    execute function billd.refuse(
        'debts are kept: they say what was owed, and why it was not charged',
        'Set state to void to close it without a charge.');
create trigger billing_cycles_are_kept before truncate on billd.billing_cycle
    for each statement
    execute function billd.refuse(
        'debts are kept: they say what was owed, and why it was not charged',
        'Set state to void to close one without a charge.');

create function billd.needs_fresh_snapshots() returns void
language plpgsql
as $$
begin
    if current_setting('transaction_isolation') in ('repeatable read', 'serializable') then
        raise exception 'this can''t be done in a transaction that is %', current_setting('transaction_isolation')
            using errcode = 'invalid_transaction_state',
                  hint = 'Do it in one that is read committed, as PostgreSQL''s are by default: what was begun meanwhile has to be seen.';
    end if;
end
$$;
comment on function billd.needs_fresh_snapshots() is
    'Refuses what can''t be judged under an old snapshot. A claim locks the subscription and writes beside it, so PostgreSQL itself would see no conflict.';

create function billd.subscription_has_debts() returns trigger
language plpgsql
as $$
begin
    perform billd.needs_fresh_snapshots();
    -- The row is locked by now: a claim that was under way has ended, and a new one passes it by.
    if exists (select from billd.billing_cycle c where c.subscription_id = old.id) then
        raise exception 'subscription % has debts that refer to it', old.id
            using errcode = 'foreign_key_violation', constraint = 'billing_cycle_belongs_to_a_subscription',
                  schema = tg_table_schema, table = tg_table_name,
                  hint = 'Set state to cancelled to end it.';
    end if;
    return case tg_op when 'DELETE' then old else new end;
end
$$;
comment on function billd.subscription_has_debts() is 'Refuses to delete or rename a subscription that was charged.';
create trigger subscription_is_kept before delete on billd.subscription
    for each row execute function billd.subscription_has_debts();
create trigger subscription_keeps_its_id after update on billd.subscription
    for each row when (old.id <> new.id)
    execute function billd.subscription_has_debts();
create trigger subscriptions_are_kept before truncate on billd.subscription
    for each statement
    execute function billd.refuse(
        'subscriptions are kept: debts refer to them', 'Set state to cancelled to end one.');

-- ------------------------------------------------------------------------------- the requests

create function billd.merchant_uid(subscription_id uuid, period date, attempt_no int) returns text
language sql immutable parallel safe
as $$
    -- Not strict, so that it is inlined. encode and date_part are the quickest way there.
    select encode(uuid_send(subscription_id), 'hex')
        || lpad(
            ( date_part('year', period)::int % 100 * 1000000
            + date_part('month', period)::int * 10000
            + date_part('day', period)::int * 100
            + attempt_no )::text, 8, '0')
$$;
comment on function billd.merchant_uid(uuid, date, int) is
    'Names an attempt: 32 digits of the subscription, YYMMDD of the period, attempt 01 to 99. Nothing random: who repeats an attempt repeats its name.';

create table billd.charge_attempt (
    merchant_uid text collate "C" not null,
    subscription_id uuid not null,
    period date not null,
    attempt_no smallint not null,
    amount bigint not null,
    currency text not null,
    customer_uid text collate "C" not null,
    started_at timestamptz not null default billd.now(),
    state text not null default 'started',
    ask_at timestamptz,
    finished_at timestamptz,
    imp_uid text,
    reason text,
    code text,
    message text,
    parked_at timestamptz,
    pg_provider text,
    pg_tid text,
    receipt_url text,
    cancelled_amount bigint not null default 0,
    fence bigint not null default 0,
    asks smallint not null default 0,
    not_found smallint not null default 0,
    sends smallint not null default 1,
    not_sent smallint not null default 0,

    constraint charge_attempt_pkey primary key (merchant_uid),
    constraint charge_attempt_no_is_between_1_and_99 check (attempt_no between 1 and 99),
    constraint charge_attempt_state_is_known
        check (state in ('started', 'paid', 'declined', 'not_sent', 'unknown')),
    constraint charge_attempt_amount_is_between_1_and_1000000000
        check (amount between 1 and 1000000000),
    constraint charge_attempt_is_open_or_finished
        check ((state in ('started', 'unknown')) = (finished_at is null)),
    constraint charge_attempt_is_asked_about_while_open
        check (state = 'started' or (state = 'unknown') = (ask_at is not null)),
    constraint paid_has_its_imp_uid check (state <> 'paid' or imp_uid is not null)
) with (
    -- An outcome makes a row twice as long and more. It stays on its page, so that vacuum need not go through an
    -- index that grows for ever.
    fillfactor = 32,
    autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.02,
    autovacuum_vacuum_cost_delay = 1
);

comment on table billd.charge_attempt is
    'One request for money under one merchant_uid, written before it leaves. Kept for ever.';
comment on column billd.charge_attempt.state is
    'started: may be on its way, or was lost in a crash. unknown: nobody can tell yet, the gateway is being asked. paid: money moved. declined: refused, no money. not_sent: did not leave; billd tries it again under the same merchant_uid.';
comment on column billd.charge_attempt.reason is 'Class of the decline, kind of doubt, or why it was not sent.';
comment on column billd.charge_attempt.code is 'The provider''s code, if the message held one.';
comment on column billd.charge_attempt.message is 'What the gateway said, word for word.';
comment on column billd.charge_attempt.ask_at is
    'From when the gateway is asked what became of it. Null while it is simply under way: then it is asked about when its lease (billd.server.lease, from started_at) has ended.';
comment on column billd.charge_attempt.asks is 'How often the gateway was asked.';
comment on column billd.charge_attempt.not_found is 'How often in a row it said that it knows nothing.';
comment on column billd.charge_attempt.sends is 'How often it left, or may have left, under this same merchant_uid.';
comment on column billd.charge_attempt.not_sent is
    'How often in a row it could not leave. While it is not 0, not_sent is billd''s own word, and a claim may open the attempt again.';
comment on column billd.charge_attempt.parked_at is 'Since when it waits for a person. The gateway is still asked daily.';
comment on column billd.charge_attempt.fence is 'The claim that may write to this row.';
comment on column billd.charge_attempt.cancelled_amount is 'How much the gateway says was given back.';

create index charge_attempt_to_ask on billd.charge_attempt (ask_at) where ask_at is not null;
comment on index billd.charge_attempt_to_ask is
    'Serves reconciliation (claim_open). Ordinary attempts never enter it, so that recording them is a HOT update.';
create index charge_attempt_retries on billd.charge_attempt (subscription_id, period)
    where attempt_no > 1;
comment on index billd.charge_attempt_retries is
    'Serves the view paid_twice: money can only move twice where there was a second attempt.';

create function billd.begun_before(names text[])
returns table (merchant_uid text, is_open boolean)
language sql volatile rows 1
as $$
    select a.merchant_uid, a.state in ('started', 'unknown')
    from billd.charge_attempt a
    where a.merchant_uid = any (names)
$$;
comment on function billd.begun_before(text[]) is
    'Which of these attempts exist by now. Volatile, so that it sees what was committed after the statement began that asks.';

create function billd.attempts_of(subscription_id uuid, period date default null)
returns setof billd.charge_attempt
language sql stable parallel safe
as $$
    select a.*
    from billd.charge_attempt a
    where a.merchant_uid between
        billd.merchant_uid(attempts_of.subscription_id, coalesce(attempts_of.period, date '2000-01-01'), 0)
        and billd.merchant_uid(attempts_of.subscription_id, coalesce(attempts_of.period, date '2099-12-31'), 99)
    order by a.merchant_uid
$$;
comment on function billd.attempts_of(uuid, date) is
    'The attempts of a subscription, or of one of its periods, oldest first. By merchant_uid, which begins with both: an index of its own would cost every charge a tenth of its writing.';

create function billd.has_open_attempt(subscription_id uuid, period date default null) returns boolean
language plpgsql stable parallel safe
-- Asked for row after row: planning takes five times as long as looking, and a plan for any period at all
-- expects so many rows that it would be compiled and given to several workers.
set plan_cache_mode = force_generic_plan
set max_parallel_workers_per_gather = 0
set jit = off
as $$
begin
    return exists (
        select from billd.attempts_of(has_open_attempt.subscription_id, has_open_attempt.period) a
        where a.state in ('started', 'unknown'));
end
$$;
comment on function billd.has_open_attempt(uuid, date) is
    'Whether an attempt of a subscription, or of one of its periods, is open.';

create function billd.is_in_hand(subscription_id uuid, period date) returns boolean
language sql volatile
as $$
    select exists (
        select from billd.attempts_of(is_in_hand.subscription_id, is_in_hand.period) a
        where a.state in ('started', 'unknown'))
$$;
comment on function billd.is_in_hand(uuid, date) is
    'billd.has_open_attempt with what was committed by now. Volatile, like billd.begun_before.';

create function billd.open_attempt_beside(attempt billd.charge_attempt) returns text
language sql stable parallel safe
as $$
    select min(a.merchant_uid)
    from billd.attempts_of(attempt.subscription_id, attempt.period) a
    where a.merchant_uid <> attempt.merchant_uid and a.state in ('started', 'unknown')
$$;
comment on function billd.open_attempt_beside(billd.charge_attempt) is
    'merchant_uid of another attempt of the same period that is open; null if there is none.';

create function billd.last_attempt(subscription_id uuid, period date) returns text
language sql stable parallel safe
as $$ select max(a.merchant_uid) from billd.attempts_of(last_attempt.subscription_id, last_attempt.period) a $$;
comment on function billd.last_attempt(uuid, date) is 'merchant_uid of the last attempt of a period.';

create trigger charge_attempt_terms_never_change after update on billd.charge_attempt
    for each row
    when ((old.merchant_uid, old.subscription_id, old.period, old.attempt_no, old.amount,
           old.currency, old.customer_uid)
          is distinct from
          (new.merchant_uid, new.subscription_id, new.period, new.attempt_no, new.amount,
           new.currency, new.customer_uid))
    execute function billd.refuse(
        'the terms of a charge attempt never change: the gateway was asked for exactly these',
        'Change billd.subscription (for the next period) or billd.billing_cycle (for the next attempt).');

create trigger charge_attempt_facts_never_change after update on billd.charge_attempt
    for each row
    when ((old.state = 'paid' and new.state <> 'paid')
          or (old.state = 'declined' and new.state in ('started', 'unknown'))
          or (old.state = 'not_sent' and new.state = 'unknown'))
    execute function billd.refuse(
        'a charge attempt whose fate is proved is never opened again, and paid stays paid',
        'A new request for money is a new attempt, and billd makes it.');

create function billd.charge_attempt_reopened() returns trigger
language plpgsql
as $$
begin
    if old.not_sent > 0 and exists (
        select from billd.subscription s
        join billd.billing_cycle c on c.subscription_id = s.id and c.period = s.period
        where s.id = new.subscription_id and s.period = new.period
          and s.open_attempt is null and s.attempts = new.attempt_no
          and s.fence < new.fence and old.fence < new.fence
          and c.state = 'due'
          and (c.amount, c.currency, s.customer_uid) = (new.amount, new.currency, new.customer_uid)
    ) and billd.open_attempt_beside(new) is null then
        return null;
    end if;
    raise exception 'only a claim opens % again', new.merchant_uid
        using errcode = 'check_violation', constraint = tg_name,
              schema = tg_table_schema, table = tg_table_name,
              hint = 'Set next_charge_at of the subscription: billd claims it, and asks for the debt again.';
end
$$;
comment on function billd.charge_attempt_reopened() is
    'What did not leave may be sent after all, under its own name, if the claim holds the subscription and the terms are still those of its due debt.';
create trigger charge_attempt_is_opened_again_by_a_claim after update on billd.charge_attempt
    for each row when (old.state = 'not_sent' and new.state = 'started')
    execute function billd.charge_attempt_reopened();

create trigger charge_attempt_is_kept before delete on billd.charge_attempt
    for each row
    when (current_setting('billd.forgetting', true) is distinct from 'on')
    execute function billd.refuse(
        'charge attempts are kept for ever: they are the record of what was asked from the gateway',
        'To stop charging, set the subscription to paused or cancelled.');

create trigger charge_attempts_are_kept before truncate on billd.charge_attempt
    for each statement
    execute function billd.refuse(
        'charge attempts are kept for ever: they are the record of what was asked from the gateway',
        'To stop charging, set the subscription to paused or cancelled.');

create function billd.charge_attempt_closed() returns trigger
language plpgsql
as $$
begin
    update billd.subscription s
    set recheck = true
    where s.id = new.subscription_id and s.period = new.period and not s.recheck;
    return null;
end
$$;
comment on function billd.charge_attempt_closed() is
    'Makes billd derive the next step of a subscription whose attempt was closed without it, by hand for instance.';
create trigger charge_attempt_closed after update on billd.charge_attempt
    for each row
    when (old.state <> new.state and new.state in ('paid', 'declined', 'not_sent')
          and current_setting('billd.writer', true) is distinct from 'record')
    execute function billd.charge_attempt_closed();

create function billd.charge_attempt_guard() returns trigger
language plpgsql
as $$
declare
    is_claim boolean := coalesce(current_setting('billd.writer', true) = 'claim', false);
    is_open boolean := new.state in ('started', 'unknown');
    debt text;
    other text;
begin
    if new.merchant_uid <> billd.merchant_uid(new.subscription_id, new.period, new.attempt_no) then
        raise exception 'attempt % of period % is named %, and not %', new.attempt_no, new.period,
            billd.merchant_uid(new.subscription_id, new.period, new.attempt_no), new.merchant_uid
            using errcode = 'check_violation', constraint = 'merchant_uid_names_the_attempt',
                  schema = tg_table_schema, table = tg_table_name,
                  hint = 'billd.merchant_uid(subscription_id, period, attempt_no) gives the name.';
    end if;
    if is_open and not is_claim then
        perform billd.needs_fresh_snapshots();
        -- A claim that is under way ends first, and none begins another attempt beside this one.
        update billd.subscription s set recheck = true where s.id = new.subscription_id;
    end if;
    select c.state into debt
    from billd.billing_cycle c
    where c.subscription_id = new.subscription_id and c.period = new.period;
    if debt is null then
        raise exception 'subscription % has no cycle of %', new.subscription_id, new.period
            using errcode = 'foreign_key_violation', constraint = 'charge_attempt_belongs_to_a_cycle',
                  schema = tg_table_schema, table = tg_table_name,
                  hint = 'An attempt asks for a debt: its billing_cycle comes first.';
    elsif not is_open then
        return null;
    elsif debt <> 'due' then
        raise exception 'the cycle of % for subscription % is %, so no attempt may begin',
            new.period, new.subscription_id, debt
            using errcode = 'check_violation', constraint = 'charge_attempt_needs_a_due_cycle',
                  schema = tg_table_schema, table = tg_table_name,
                  hint = 'Only a cycle in state due can be charged.';
    elsif new.ask_at is null and not is_claim then
        raise exception 'attempt % is open, so ask_at must say from when to ask about it', new.merchant_uid
            using errcode = 'check_violation', constraint = 'charge_attempt_is_asked_about_while_open',
                  schema = tg_table_schema, table = tg_table_name,
                  hint = 'Only what a claim began is found without it.';
    end if;
    other := billd.open_attempt_beside(new);
    if other is not null then
        raise exception 'attempt % of the same cycle is open, so no other may begin', other
            using errcode = 'unique_violation', constraint = 'charge_attempt_one_open',
                  schema = tg_table_schema, table = tg_table_name,
                  hint = 'Wait until its fate is proved: charge_attempt.state is then no longer started or unknown.';
    end if;
    return null;
end
$$;
comment on function billd.charge_attempt_guard() is
    'Law: an attempt bears the name of its debt and its number, its debt is due, and no other attempt of that debt is open. A claim computes the name and opens the debt itself with the first attempt; later ones are looked at here whoever writes them.';
create trigger charge_attempt_guard after insert on billd.charge_attempt
    for each row
    when (new.attempt_no > 1 or current_setting('billd.writer', true) is distinct from 'claim')
    execute function billd.charge_attempt_guard();

create function billd.billing_cycle_guard() returns trigger
language plpgsql
as $$
begin
    perform billd.needs_fresh_snapshots();
    if billd.has_open_attempt(old.subscription_id, old.period) then
        raise exception 'an attempt of this cycle is open: its amount can''t change and it can''t be closed by hand'
            using errcode = 'check_violation', constraint = tg_name,
                  hint = 'Wait until charge_attempt.state is no longer started or unknown.';
    end if;
    return new;
end
$$;
comment on function billd.billing_cycle_guard() is 'Keeps the amount of an open attempt''s debt as it is.';
create trigger billing_cycle_amount_waits_for_the_attempt after update on billd.billing_cycle
    for each row
    when ((old.amount, old.currency, old.tax_free, old.vat_amount, old.card_quota)
          is distinct from (new.amount, new.currency, new.tax_free, new.vat_amount, new.card_quota))
    execute function billd.billing_cycle_guard();
create trigger billing_cycle_void_waits_for_the_attempt after update on billd.billing_cycle
    for each row
    when (new.state = 'void' and old.state <> 'void')
    execute function billd.billing_cycle_guard();

-- ------------------------------------------------------------------- what people do by hand

create function billd.subscription_state_changed() returns trigger
language plpgsql
as $$
declare
    tries_again boolean := new.state = 'active' and old.state = 'past_due';
    resumes boolean := new.state = 'active' and old.state in ('paused', 'cancelled');
    goes_on boolean := true;
begin
    if tries_again then
        -- The card was mended: the same debt again, from the first rung.
        if new.attempts >= 99 and exists (
            select from billd.billing_cycle c
            where c.subscription_id = new.id and c.period = new.period and c.state <> 'void'
        ) then
            raise exception 'this period has used all of its 99 attempts'
                using errcode = 'check_violation', constraint = 'attempts_are_at_most_99',
                      hint = 'Void its billing_cycle first; the next period then starts anew.';
        end if;
        update billd.billing_cycle
        set state = 'due', closed_at = null, reason = null
        where subscription_id = new.id and period = new.period and state = 'uncollectible';
        goes_on := found;
    elsif new.state = 'cancelled' then
        update billd.billing_cycle c
        set state = 'void', closed_at = billd.now(), reason = 'the subscription was cancelled'
        where c.subscription_id = new.id and c.state in ('due', 'uncollectible')
          and not billd.has_open_attempt(c.subscription_id, c.period);
    end if;
    update billd.subscription s
    set paused_at = case when old.state = 'active' then billd.now() else s.paused_at end,
        resumed_at = case when new.state = 'active' then billd.now() else s.resumed_at end,
        recheck = s.recheck or resumes or not goes_on,
        state_reason = case when not (resumes or tries_again) then s.state_reason end,
        declines = case when tries_again then 0 else s.declines end,
        next_charge_at = case
            when tries_again then coalesce(s.next_charge_at, billd.now())
            else s.next_charge_at
        end
    where s.id = new.id;
    return null;
end
$$;
comment on function billd.subscription_state_changed() is
    'Lets a plain update of state do what a person means by it: resume, try again, cancel. After the update, like every trigger on a row that a charge writes: one before it would make PostgreSQL lock and log each row once more.';
create trigger subscription_state_changed after update on billd.subscription
    for each row when (old.state <> new.state)
    execute function billd.subscription_state_changed();

create function billd.subscription_left_its_turn() returns trigger
language plpgsql
as $$
begin
    if old.next_charge_at > billd.now() then
        return null;
    end if;
    -- Only a fresh snapshot shows an attempt that a claim began just before.
    if current_setting('transaction_isolation') <> 'read committed' or billd.has_open_attempt(new.id) then
        update billd.subscription s set recheck = true where s.id = new.id and not s.recheck;
    end if;
    return null;
end
$$;
comment on function billd.subscription_left_its_turn() is
    'An attempt that is under way is found among what is due, should its daemon die (see billd.under_way), or among what is to be derived again: which this subscription is, if it is moved away from there meanwhile, by hand for instance.';
create trigger subscription_left_its_turn after update on billd.subscription
    for each row
    when (old.state = 'active' and old.open_attempt is null and new.open_attempt is null
          and (old.state <> new.state or old.next_charge_at is distinct from new.next_charge_at
               or (old.period, old.attempts) <> (new.period, new.attempts))
          and current_setting('billd.writer', true) is distinct from 'record')
    execute function billd.subscription_left_its_turn();

create function billd.billing_cycle_voided() returns trigger
language plpgsql
as $$
begin
    update billd.subscription set recheck = true
    where id = new.subscription_id and period = new.period and not recheck;
    return null;
end
$$;
comment on function billd.billing_cycle_voided() is 'Makes billd move a subscription past a debt that a person has forgiven.';
create trigger billing_cycle_voided after update on billd.billing_cycle
    for each row when (new.state = 'void' and old.state <> 'void' and pg_trigger_depth() = 0)
    execute function billd.billing_cycle_voided();

-- -------------------------------------------------------------------------------- old history

create procedure billd.forget_before(day date, batch int default 1000)
language plpgsql
as $$
declare
    ids uuid[];
    last_id uuid := '00000000-0000-0000-0000-000000000000';
begin
    if day is null or day > (billd.now() - interval '1 year')::date then
        raise exception 'what is younger than a year is not forgotten'
            using errcode = 'check_violation', constraint = 'history_is_kept_for_a_year',
                  hint = 'A payment can be given back, disputed or audited for that long.';
    end if;
    loop
        -- Locked like a claim does, and what a claim holds is left for the next time.
        select array_agg(t.id order by t.id), (array_agg(t.id order by t.id desc))[1] into ids, last_id
        from (
            select s.id from billd.subscription s
            where s.id > last_id order by s.id limit batch
        ) t;
        exit when ids is null;
        perform set_config('billd.forgetting', 'on', true);
        -- Compiling such a plan takes longer than running it.
        perform set_config('jit', 'off', true);
        with held as materialized (
            select s.id, s.period from billd.subscription s
            where s.id = any (ids) and s.open_attempt is null and not s.recheck
            for no key update skip locked
        ),
        debt as (
            delete from billd.billing_cycle c
            using held h
            where c.subscription_id = h.id and c.period < least(day, h.period)
              and c.state in ('paid', 'uncollectible', 'void') and c.closed_at < day
              and not billd.has_open_attempt(c.subscription_id, c.period)
            returning c.subscription_id, c.period
        )
        delete from billd.charge_attempt a
        using debt d
        where a.merchant_uid between billd.merchant_uid(d.subscription_id, d.period, 0)
            and billd.merchant_uid(d.subscription_id, d.period, 99);
        perform set_config('billd.forgetting', 'off', true);
        commit;
    end loop;
end
$$;
comment on procedure billd.forget_before(date, int) is
    'Deletes closed debts of periods before a day, and their attempts, in short transactions; safe to stop and to run again. Never the current period of a subscription, so no merchant_uid can be made a second time. Keep a copy if the law asks for one.';

-- ---------------------------------------------------------------------------- for people's eyes

create view billd.paid_twice as
select a.subscription_id, a.period, count(*) as payments, sum(a.amount - a.cancelled_amount) as kept,
       array_agg(a.merchant_uid order by a.attempt_no) as merchant_uids
from (select distinct subscription_id, period from billd.charge_attempt where attempt_no > 1) r
cross join lateral billd.attempts_of(r.subscription_id, r.period) a
where a.state = 'paid' and a.cancelled_amount < a.amount
group by a.subscription_id, a.period
having count(*) > 1;
comment on view billd.paid_twice is 'Debts for which money moved more than once. Must be empty; give the surplus back.';

create view billd.under_way as
select a.*
from (
    select s.id, s.period from billd.subscription s
    where s.state = 'active' and s.next_charge_at <= billd.now() and not s.recheck
    union all
    select s.id, null from billd.subscription s where s.recheck
) s
cross join lateral billd.attempts_of(s.id, s.period) a
where a.state = 'started';
comment on view billd.under_way is
    'Attempts that were begun and whose outcome is not recorded yet. Looked up from what is due and what is to be derived again, because an index of them would have to be written twice for every charge.';

create view billd.attention as
select 'unknown'::text as kind, a.subscription_id, a.merchant_uid, a.started_at as since,
       coalesce(a.reason, 'started') as reason, a.message,
       case when a.parked_at is null then 'billd is asking the gateway; nothing to do yet'
            else 'look the payment up in the console; see OPERATIONS.md, parked attempts' end as what_to_do
from billd.charge_attempt a
where a.state = 'unknown' and a.ask_at is not null
union all
select 'past_due', s.id, billd.last_attempt(s.id, s.period), s.last_result_at, s.state_reason, s.last_message,
       'ask the customer for a card, then set state to active'
from billd.subscription s
where s.state = 'past_due'
union all
select 'paid_twice', p.subscription_id, p.merchant_uids[1], null, p.payments || ' payments', null,
       'give the surplus back'
from billd.paid_twice p
union all
select 'stuck', s.id, billd.last_attempt(s.id, s.period), s.last_result_at, 'active, but nothing is planned', null,
       'set next_charge_at'
from billd.subscription s
where s.state = 'active' and s.next_charge_at is null and s.open_attempt is null and not s.recheck
union all
select 'stuck', s.id, billd.last_attempt(s.id, s.period), s.last_result_at, 'all 99 attempts are used', null,
       'void the billing_cycle of this period'
from billd.subscription s
where s.state = 'active' and s.next_charge_at <= billd.now() and s.attempts >= 99;
comment on view billd.attention is 'What waits for the gateway or for a person, oldest first if you order by since.';
