-- Events: each fact that the merchant's program must know, once, written in the commit that makes it true.
--
-- A payment that the daemon records is written by store::record itself. All else is told by the triggers below, whoever
-- writes it: a verb, a plain update, an older daemon, a person. Those on debts and subscriptions wait for the commit, so
-- what they say of the next date is what stands then.

create or replace view billd_internal.event_kind (kind, keys, meaning) as
values
    ('created', '{amount,currency,name,interval_unit,interval_count,from,until,next_charge_at,trial_until,paid_until,state}'::text[],
        'A subscription was made.'),
    ('paid', '{amount,currency,made_of,from,until,next_charge_at,attempt}',
        'The debt of a period is paid; or a one-off charge, which has no period.'),
    ('free', '{amount,currency,made_of,from,until,next_charge_at,why}',
        'A period costs nothing: a trial, a gift, or a sum of 0.'),
    ('declined', '{amount,currency,from,until,next_charge_at,attempt,class}',
        'The gateway refused; next_charge_at says when it is asked again, null: not by itself.'),
    ('past_due', '{amount,currency,from,until,class,why,paid_until}',
        'No more is asked for by itself: the debt of a period was finally declined.'),
    ('recovered', '{amount,currency,from,until,next_charge_at,attempt}',
        'A debt was paid that had been declined. paid tells of it, too.'),
    ('paused', '{paid_until,until}', 'Nothing is asked for; until is the planned end of the pause.'),
    ('resumed', '{was,paid_until,next_charge_at}',
        'It is in service again after was (paused, past_due, cancelled). Nothing is paid by that.'),
    ('card_changed', '{next_charge_at}', 'Another billing key is charged from now on.'),
    ('plan_changed', '{amount,currency,name,interval_unit,interval_count,before,next_charge_at}',
        'Price, name or interval are others from the next period on; before holds what they were.'),
    ('cancelled', '{ends_at,periods_left,paid_until}', 'It was agreed that it ends, and when.'),
    ('kept', '{paid_until,next_charge_at}', 'The end that was agreed was taken back.'),
    ('ended', '{paid_until,why}', 'It has ended: no period follows.'),
    ('refunded', '{amount,currency,refund_id,by,refunded_in_all,paid_amount}',
        'Money was given back, by billd or by somebody else (by: billd, elsewhere).'),
    ('parked', '{amount,currency,attempt,what}',
        'The fate of a charge or a refund (what) can''t be found out by asking: a person looks.'),
    ('proved', '{amount,currency,attempt,outcome}', 'The fate of a charge that was unknown is known: paid, declined or not_sent.'),
    ('finding', '{finding_id,finding,amount_ours,amount_theirs,currency}',
        'The gateway''s books and this one differ (billd.finding).'),
    ('charge_upcoming', '{amount,currency,made_of,from,until,next_charge_at}', 'A charge lies so many days ahead.'),
    ('trial_ending', '{amount,currency,trial_until,next_charge_at}', 'A trial ends; amount is what follows.'),
    ('discount_ending', '{amount,currency,discount,next_charge_at}', 'A discount has been used up; amount is the price that follows.'),
    ('consent_due', '{consent,needs_consent,needs_notice,old_amount,new_amount,currency,effective_on}',
        'A higher price lies ahead, and the payer''s consent or notice is missing (billd.consent_due).');
comment on view billd_internal.event_kind is
    'The kinds of events, and the keys of their data. Each key is there in each event of its kind, null if there is nothing to say.';

create or replace function billd_internal.utc(at timestamptz) returns text
language sql stable parallel safe
as $$ select to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') $$;
comment on function billd_internal.utc(timestamptz) is 'An instant as events have it, whatever the session''s zone.';

create or replace function billd_internal.event_data(e billd_internal.event_row) returns jsonb
language sql stable parallel safe
as $$
    select case
            when e.kind in ('paid', 'free', 'charge_upcoming') then jsonb_build_object('amount', e.amount, 'currency', e.currency,
                'from', billd_internal.utc(e.from_at), 'until', billd_internal.utc(e.until_at),
                'next_charge_at', billd_internal.utc(e.next_charge_at),
                'made_of', jsonb_build_array(jsonb_build_object('what', 'price', 'sum', e.amount)))
            when e.kind = 'past_due' then jsonb_build_object('amount', e.amount, 'currency', e.currency,
                'from', billd_internal.utc(e.from_at), 'until', billd_internal.utc(e.until_at))
            when e.kind in ('created', 'declined', 'recovered') then jsonb_build_object('amount', e.amount,
                'currency', e.currency, 'from', billd_internal.utc(e.from_at), 'until', billd_internal.utc(e.until_at),
                'next_charge_at', billd_internal.utc(e.next_charge_at))
            when e.kind in ('plan_changed', 'trial_ending', 'discount_ending') then jsonb_build_object('amount', e.amount,
                'currency', e.currency, 'next_charge_at', billd_internal.utc(e.next_charge_at))
            when e.kind in ('refunded', 'parked', 'proved') then jsonb_build_object('amount', e.amount, 'currency', e.currency)
            when e.kind in ('finding', 'consent_due') then jsonb_build_object('currency', e.currency)
            when e.kind in ('resumed', 'card_changed', 'kept') then jsonb_build_object(
                'next_charge_at', billd_internal.utc(e.next_charge_at))
            when e.kind = 'paused' then jsonb_build_object('until', billd_internal.utc(e.until_at))
            else '{}'
        end
        || case when e.kind in ('paid', 'declined', 'recovered', 'parked', 'proved') then jsonb_build_object('attempt', e.attempt_no)
            else '{}' end
        || coalesce(e.more, '{}')
$$;
comment on function billd_internal.event_data(billd_internal.event_row) is
    'billd.event.data of a row: the keys of its kind (billd_internal.event_kind). Times are in UTC.';

create or replace view billd.event as
select e.id, e.kind, e.subscription_id, e.period, e.merchant_uid, e.occurred_at, e.version,
    billd_internal.event_data(e) as data
from billd_internal.event_row e;
comment on view billd.event is
    'What happened, for the merchant''s program: each fact once. Read it with billd.read_events, which misses none and repeats none; ids alone can''t, because they are given before their transaction ends. docs/EVENTS.md has the kinds and their data.';

create or replace function billd_internal.event_cluster() returns bigint
language sql stable
as $$ select system_identifier from pg_control_system() $$;
comment on function billd_internal.event_cluster() is 'The cluster whose transactions are counted.';

create or replace function billd_internal.skip_event_ids() returns void
language sql volatile
security definer set search_path = pg_catalog, public, pg_temp
as $$
    select setval(s.it, nextval(s.it) + 1000000) from (
        select pg_get_serial_sequence('billd_internal.event_row', 'id')::regclass as it) s
$$;
comment on function billd_internal.skip_event_ids() is
    'Leaves a million ids out. Events that a fail-over lost may have been told, and their ids must not come again for others.';

create or replace function billd_internal.event_tx() returns bigint
language plpgsql volatile
as $$
declare
    k record;
begin
    select c.events, c.event_offset, c.event_cluster into k from billd.control c;
    if not k.events then
        return null;
    end if;
    -- Many in one transaction are one.
    if exists (select from billd.consumer c where c.bell) then
        perform pg_notify('billd_event', '');
    end if;
    return case when k.event_cluster = billd_internal.event_cluster()
        then pg_current_xact_id()::text::bigint + k.event_offset else 0 end;
end
$$;
comment on function billd_internal.event_tx() is
    'The number under which this transaction writes events; null while none are written. 0 in a cluster whose transactions nobody has read events of yet: a writer must not wait until it is settled from where they count, so a reader gives these events its own number. Asked for before an event gets its id. Rings the bell.';

create or replace function billd_internal.tell(
    kind text, subscription_id uuid, period date default null, merchant_uid text default null, amount bigint default null,
    currency text default null, from_at timestamptz default null, until_at timestamptz default null,
    next_charge_at timestamptz default null, attempt_no smallint default null, more jsonb default null
) returns void
language plpgsql volatile
-- A daemon's session plans each statement anew, because its own are large.
set plan_cache_mode = auto
as $$
declare
    tx bigint := billd_internal.event_tx();
begin
    if tx is not null then
        insert into billd_internal.event_row (tx, kind, subscription_id, period, merchant_uid, amount, currency,
            from_at, until_at, next_charge_at, attempt_no, more)
        values (tx, tell.kind, tell.subscription_id, tell.period, tell.merchant_uid, tell.amount, tell.currency,
            tell.from_at, tell.until_at, tell.next_charge_at, tell.attempt_no, tell.more);
    end if;
end
$$;
comment on function billd_internal.tell(text, uuid, date, text, bigint, text, timestamptz, timestamptz, timestamptz,
    smallint, jsonb) is 'Writes an event.';

create or replace function billd_internal.tell_debt() returns trigger
language plpgsql
as $$
declare
    next_charge_at timestamptz := (
        select s.next_charge_at from billd.subscription s where s.id = new.subscription_id);
    more jsonb := case when new.made_of is not null then jsonb_build_object('made_of', new.made_of) else '{}' end
        || case new.state when 'free' then jsonb_build_object('why', new.reason) else '{}' end;
    paid record;
begin
    select min(a.merchant_uid) as merchant_uid, min(a.attempt_no) as attempt_no into paid
    from billd.attempts_of(new.subscription_id, new.period) a where a.state = 'paid';
    perform billd_internal.tell(new.state, new.subscription_id, new.period, paid.merchant_uid, new.amount, new.currency,
        new.due_at, new.until_at, next_charge_at, paid.attempt_no, more);
    if new.state = 'paid' and (tg_op = 'UPDATE' and old.state = 'uncollectible' or paid.attempt_no > 1) then
        perform billd_internal.tell('recovered', new.subscription_id, new.period, paid.merchant_uid, new.amount,
            new.currency, new.due_at, new.until_at, next_charge_at, paid.attempt_no);
    end if;
    return null;
end
$$;
comment on function billd_internal.tell_debt() is 'Tells of a debt that is paid or free. Of what store::record closes, it tells itself.';

create or replace function billd_internal.plan_of(s billd.subscription) returns jsonb
language sql stable
as $$
    select jsonb_build_object('amount', s.amount, 'name', s.name, 'interval_unit', s.interval_unit,
        'interval_count', s.interval_count)
$$;
comment on function billd_internal.plan_of(billd.subscription) is 'What is charged, and how often.';

create or replace function billd_internal.tell_agreement(old billd.subscription, new billd.subscription, s billd.subscription)
returns void
language plpgsql volatile
as $$
begin
    if old.customer_uid <> new.customer_uid then
        perform billd_internal.tell('card_changed', new.id, next_charge_at => s.next_charge_at);
    end if;
    if billd_internal.plan_of(old) <> billd_internal.plan_of(new) then
        perform billd_internal.tell('plan_changed', new.id, amount => new.amount, currency => new.currency,
            next_charge_at => s.next_charge_at,
            more => billd_internal.plan_of(new) || jsonb_build_object('before', billd_internal.plan_of(old)));
    end if;
    if new.ends_at is distinct from old.ends_at and new.ends_at is not null
        -- It counts down with each period.
        or new.periods_left is distinct from old.periods_left and coalesce(new.periods_left <> old.periods_left - 1, new.periods_left is not null)
    then
        perform billd_internal.tell('cancelled', new.id, more => jsonb_build_object(
            'ends_at', billd_internal.utc(new.ends_at), 'periods_left', new.periods_left, 'paid_until', billd_internal.utc(s.paid_until)));
    elsif coalesce(new.ends_at::text, new.periods_left::text) is null and old.state <> 'cancelled'
        and coalesce(old.ends_at::text, old.periods_left::text) is not null
    then
        perform billd_internal.tell('kept', new.id, next_charge_at => s.next_charge_at,
            more => jsonb_build_object('paid_until', billd_internal.utc(s.paid_until)));
    end if;
end
$$;
comment on function billd_internal.tell_agreement(billd.subscription, billd.subscription, billd.subscription) is
    'Tells what of an agreement was changed; s is the row as it stands now.';

create or replace function billd_internal.tell_state(old billd.subscription, new billd.subscription, s billd.subscription)
returns void
language plpgsql volatile
as $$
declare
    debt billd.billing_cycle;
begin
    if new.state = 'past_due' then
        debt := billd_internal.current_debt(s);
        perform billd_internal.tell('past_due', new.id, debt.period, billd_internal.last_attempt(new.id, debt.period),
            debt.amount, debt.currency, debt.due_at, debt.until_at, more => jsonb_build_object(
                'class', s.last_reason, 'why', split_part(new.state_reason, ';', 1), 'paid_until', billd_internal.utc(s.paid_until)));
    elsif new.state = 'paused' then
        perform billd_internal.tell('paused', new.id, until_at => (
                select min(p.effective_at) from billd.planned_change p
                where p.subscription_id = new.id and p.state = 'pending' and p.kind = 'resume'),
            more => jsonb_build_object('paid_until', billd_internal.utc(s.paid_until)));
    elsif new.state = 'active' then
        perform billd_internal.tell('resumed', new.id, next_charge_at => s.next_charge_at,
            more => jsonb_build_object('was', old.state, 'paid_until', billd_internal.utc(s.paid_until)));
    else
        if old.ends_at is null and old.periods_left is null then
            perform billd_internal.tell('cancelled', new.id,
                more => jsonb_build_object('ends_at', billd_internal.utc(billd.now()), 'paid_until', billd_internal.utc(s.paid_until)));
        end if;
        perform billd_internal.tell('ended', new.id, more => jsonb_build_object('paid_until', billd_internal.utc(s.paid_until), 'why', case
            when new.state_reason = 'ended as agreed' then 'agreed'
            when new.state_reason ~ '^first_payment' then 'first_payment'
            else 'cancelled' end));
    end if;
end
$$;
comment on function billd_internal.tell_state(billd.subscription, billd.subscription, billd.subscription) is
    'Tells of another state; s is the row as it stands now.';

create or replace function billd_internal.tell_subscription() returns trigger
language plpgsql
as $$
declare
    -- As it stands at the commit: what was planned anew since is in it.
    s billd.subscription;
begin
    select t.* into s from billd.subscription t where t.id = new.id;
    if tg_op = 'INSERT' then
        perform billd_internal.tell('created', new.id, amount => new.amount, currency => new.currency, from_at => s.due_at,
            until_at => s.until_at, next_charge_at => s.next_charge_at, more => billd_internal.plan_of(new)
                || jsonb_build_object('trial_until', billd_internal.utc(new.trial_until), 'paid_until', billd_internal.utc(new.paid_until), 'state', new.state));
    elsif tg_argv[0] = 'state' then
        perform billd_internal.tell_state(old, new, s);
    else
        perform billd_internal.tell_agreement(old, new, s);
    end if;
    return null;
end
$$;
comment on function billd_internal.tell_subscription() is 'Tells of a new subscription, and of what became another one.';

create or replace function billd_internal.given_back_elsewhere(merchant_uid text, from_sum bigint, to_sum bigint) returns bigint
language sql stable
as $$
    -- What was given back before a refund of ours, and its own sum, are where it lies in all that was given back.
    select to_sum - from_sum - coalesce(sum(greatest(0,
        least(to_sum, r.payment_amount - r.checksum + r.amount) - greatest(from_sum, r.payment_amount - r.checksum))), 0)::bigint
    from billd.refund r
    where r.merchant_uid = given_back_elsewhere.merchant_uid and r.state in ('started', 'unknown', 'refunded')
$$;
comment on function billd_internal.given_back_elsewhere(text, bigint, bigint) is
    'How much of a rise of charge_attempt.cancelled_amount is none of billd''s own refunds.';

create or replace function billd_internal.tell_given_back(
    a billd.charge_attempt, amount bigint, refund_id uuid, by text, refunded_in_all bigint
) returns void
language sql volatile
as $$
    select billd_internal.tell('refunded', a.subscription_id, a.period, a.merchant_uid, tell_given_back.amount, a.currency,
        more => jsonb_build_object('refund_id', tell_given_back.refund_id, 'by', tell_given_back.by,
            'refunded_in_all', tell_given_back.refunded_in_all, 'paid_amount', a.amount))
    where tell_given_back.amount > 0
$$;
comment on function billd_internal.tell_given_back(billd.charge_attempt, bigint, uuid, text, bigint) is 'Tells that money was given back.';

create or replace function billd_internal.told_attempt() returns trigger
language plpgsql
as $$
declare
    debt billd.billing_cycle;
    next_charge_at timestamptz;
    is_final boolean := new.state <> old.state and new.state in ('paid', 'declined', 'not_sent');
begin
    select c.* into debt from billd.billing_cycle c
    where c.subscription_id = new.subscription_id and c.period = new.period;
    if is_final and old.state in ('started', 'unknown') and (old.state = 'unknown' or new.sends > 1) then
        perform billd_internal.tell('proved', new.subscription_id, new.period, new.merchant_uid, new.amount, new.currency,
            attempt_no => new.attempt_no, more => jsonb_build_object('outcome', new.state));
    end if;
    if is_final and new.state = 'declined' or is_final and new.state = 'paid' and new.subscription_id is null then
        select s.next_charge_at into next_charge_at from billd.subscription s
        where s.id = new.subscription_id and s.period = new.period and s.state = 'active';
        perform billd_internal.tell(new.state, new.subscription_id, new.period, new.merchant_uid, new.amount, new.currency,
            debt.due_at, debt.until_at, next_charge_at, new.attempt_no,
            case new.state when 'declined' then jsonb_build_object('class', new.reason) end);
    end if;
    if new.parked_at is not null and old.parked_at is null then
        perform billd_internal.tell('parked', new.subscription_id, new.period, new.merchant_uid, new.amount, new.currency,
            attempt_no => new.attempt_no, more => '{"what": "charge"}');
    end if;
    if new.cancelled_amount > old.cancelled_amount then
        perform billd_internal.tell_given_back(new, billd_internal.given_back_elsewhere(
            new.merchant_uid, old.cancelled_amount, new.cancelled_amount), null, 'elsewhere', new.cancelled_amount);
    end if;
    return null;
end
$$;
comment on function billd_internal.told_attempt() is
    'Tells of an attempt that was declined, is in doubt for a person, was proved, or was given back by somebody else.';

create or replace function billd_internal.told_refund() returns trigger
language plpgsql
as $$
declare
    a billd.charge_attempt;
    before bigint := new.payment_amount - new.checksum;
begin
    select t.* into a from billd.charge_attempt t where t.merchant_uid = new.merchant_uid;
    if new.parked_at is not null and old.parked_at is null then
        perform billd_internal.tell('parked', a.subscription_id, a.period, a.merchant_uid, new.amount, new.currency,
            more => '{"what": "refund"}');
    end if;
    if new.state = 'refunded' and old.state <> 'refunded' then
        perform billd_internal.tell_given_back(a, new.amount, new.id, 'billd', greatest(a.cancelled_amount, before + new.amount));
    elsif new.state in ('refused', 'not_sent') and old.state in ('started', 'unknown') then
        -- What looked like ours was somebody else's.
        perform billd_internal.tell_given_back(a, least(new.amount, a.cancelled_amount - before), null, 'elsewhere',
            a.cancelled_amount);
    end if;
    return null;
end
$$;
comment on function billd_internal.told_refund() is 'Tells of a refund that billd made, or that waits for a person.';

create or replace function billd_internal.told_finding() returns trigger
language plpgsql
as $$
begin
    perform billd_internal.tell('finding', new.subscription_id, merchant_uid => new.merchant_uid, currency => new.currency,
        more => jsonb_build_object('finding_id', new.id, 'finding', new.kind, 'amount_ours', new.amount_ours,
            'amount_theirs', new.amount_theirs));
    return null;
end
$$;
comment on function billd_internal.told_finding() is 'Tells of a finding that is open.';

create or replace function billd_internal.ids_are_skipped() returns trigger
language plpgsql
as $$
begin
    perform billd_internal.skip_event_ids();
    return null;
end
$$;
comment on function billd_internal.ids_are_skipped() is 'After a fail-over ids go on above all that the server before may have given.';
create or replace trigger event_ids_are_skipped after update of server_name on billd.control
    for each row when (old.server_name <> new.server_name)
    execute function billd_internal.ids_are_skipped();

create or replace trigger event_is_kept before update or delete on billd_internal.event_row
    for each row when (current_setting('billd.forgetting', true) is distinct from 'on')
    execute function billd_internal.refuse(
        'events are only added to: programs go by them', 'billd.forget_before takes old ones away once every consumer has read them.');
create or replace trigger events_are_kept before truncate on billd_internal.event_row
    for each statement
    execute function billd_internal.refuse(
        'events are only added to: programs go by them', 'billd.forget_before takes old ones away once every consumer has read them.');

-- Called told…, because others have their say before: triggers fire in the order of their names.
create or replace trigger told_attempt after update of state, parked_at, cancelled_amount on billd.charge_attempt
    for each row
    when (new.state <> old.state and (new.state = 'declined' or new.state in ('paid', 'not_sent')
              and (old.state = 'unknown' or new.sends > 1 or new.subscription_id is null))
          or new.parked_at is not null and old.parked_at is null or new.cancelled_amount > old.cancelled_amount)
    execute function billd_internal.told_attempt();
create or replace trigger told_refund after update of state, parked_at on billd.refund
    for each row
    when (new.state <> old.state or new.parked_at is not null and old.parked_at is null)
    execute function billd_internal.told_refund();
create or replace trigger told_finding_made after insert on billd.finding
    for each row when (new.state = 'open') execute function billd_internal.told_finding();
create or replace trigger told_finding_again after update of state on billd.finding
    for each row when (new.state = 'open' and old.state <> 'open') execute function billd_internal.told_finding();

-- Those that wait for the commit can't be replaced, only made again. Each names its columns: what a charge writes of a
-- subscription is its state alone.
drop trigger if exists told_debt_made on billd.billing_cycle;
create constraint trigger told_debt_made after insert on billd.billing_cycle
    deferrable initially deferred for each row
    when (new.state in ('free', 'paid'))
    execute function billd_internal.tell_debt();
drop trigger if exists told_debt on billd.billing_cycle;
create constraint trigger told_debt after update of state on billd.billing_cycle
    deferrable initially deferred for each row
    when (new.state in ('free', 'paid') and new.state <> old.state
          and current_setting('billd.writer', true) is distinct from 'record')
    execute function billd_internal.tell_debt();
-- A daemon of billd 0.1 records without telling of it; migrations/contract takes this away.
drop trigger if exists told_debt_of_0_1 on billd.billing_cycle;
create constraint trigger told_debt_of_0_1 after update of state on billd.billing_cycle
    deferrable initially deferred for each row
    when (new.state = 'paid' and old.state <> 'paid' and current_setting('billd.writer', true) = 'record'
          and current_setting('application_name') = 'billd')
    execute function billd_internal.tell_debt();
drop trigger if exists told_created on billd.subscription;
create constraint trigger told_created after insert on billd.subscription
    deferrable initially deferred for each row
    execute function billd_internal.tell_subscription();
drop trigger if exists told_state on billd.subscription;
create constraint trigger told_state after update of state on billd.subscription
    deferrable initially deferred for each row
    when (new.state <> old.state)
    execute function billd_internal.tell_subscription('state');
drop trigger if exists told_agreement on billd.subscription;
create constraint trigger told_agreement
    after update of customer_uid, amount, name, interval_unit, interval_count, ends_at, periods_left on billd.subscription
    deferrable initially deferred for each row
    when ((old.customer_uid, old.amount, old.name, old.interval_unit, old.interval_count, old.ends_at, old.periods_left)
          is distinct from
          (new.customer_uid, new.amount, new.name, new.interval_unit, new.interval_count, new.ends_at, new.periods_left))
    execute function billd_internal.tell_subscription('agreement');

create or replace function billd.may_use(subscription uuid) returns boolean
language sql stable
as $$
    select coalesce((
        select n.now < s.paid_until or s.state = 'active' and s.paid_until is not null
            and coalesce(s.ends_at > n.now, true) and s.periods_left is distinct from 0
            and (s.due_at > n.now or n.now < coalesce(s.paid_until + k.grace, 'infinity'))
        from billd.subscription s, billd.control k, (select billd.now() as now) n
        where s.id = may_use.subscription), false)
$$;
comment on function billd.may_use(uuid) is
    'Whether a customer may use the service now: what is paid or free has not ended; or it has, and it is active: the next period lies ahead, or its debt is being asked for, within billd.control.grace. Not before the first payment.';
