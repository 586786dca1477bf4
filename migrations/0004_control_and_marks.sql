-- One row of control, a schema for helpers, and claims that are noted on the subscription.
--
-- Routines, triggers, views and their comments are no part of the numbered migrations any more: they stand in
-- migrations/routines, and billd migrate applies them whole.

create schema billd_internal;
comment on schema billd_internal is
    'Helpers of the schema billd: what its triggers, views and the daemon call. Nothing here is called by people.';
grant usage on schema billd_internal to public;

create table billd_internal.routines (
    only_row boolean primary key default true,
    hash text not null,
    version text not null,
    applied_at timestamptz not null default now(),
    constraint routines_has_one_row check (only_row)
);
comment on table billd_internal.routines is 'Which routines this book has, and which billd applied them.';

-- Nobody begins or records an attempt while its mark is being made.
lock table billd.subscription, billd.charge_attempt in share row exclusive mode;

-- ------------------------------------------------------------------------------------ control

-- Renamed and not made anew, so that rights which were given stay.
alter table billd.clock_shift rename to control;
alter table billd.control rename constraint clock_shift_pkey to control_pkey;
alter table billd.control rename constraint clock_shift_has_one_row to control_has_one_row;
alter table billd.control rename column shift to clock_shift;
alter table billd.control
    add column server_name text,
    add column server_before text,
    add column hold_until timestamptz not null default '-infinity',
    add column lease interval not null default '0';
update billd.control
set (server_name, server_before, hold_until, lease) = (
    select s.name, s.name_before, s.quiet_until, s.lease from billd.server s);
alter table billd.control alter column server_name set not null;
drop table billd.server;
comment on table billd.control is
    'What holds for the whole book; asked before every request for money (billd_internal.may_charge).';
comment on column billd.control.clock_shift is
    'How far billd''s clock runs ahead of PostgreSQL''s. Zero in production; a test or a rehearsal moves it.';
comment on column billd.control.server_name is
    'The cluster and timeline that this book was on when it was last looked at. A stand-by that was promoted may lack the last commits, and requests that left under them may still be under way.';
comment on column billd.control.server_before is 'The one before that.';
comment on column billd.control.hold_until is
    'Fail-over hold: until then nothing is begun, taken over or sent again. Written by whichever claim meets another server first.';
comment on column billd.control.lease is
    'The longest lease of any daemon, so how long a request may be under way. Only grows by itself; may be lowered by hand.';

-- For the billd before, which goes on running meanwhile. billd migrate takes them away once it has gone.
create view billd.clock_shift as select only_row, clock_shift as shift from billd.control;
create view billd.server as
select only_row, server_name as name, server_before as name_before, hold_until as quiet_until, lease
from billd.control;

-- ---------------------------------------------------------------------- claims that are under way

comment on column billd.subscription.open_attempt is
    'merchant_uid of the attempt that is under way, or whose fate is unknown; no other may begin until its outcome is recorded.';
comment on column billd.charge_attempt.ask_at is
    'From when the gateway is asked what became of it. Null while it is simply under way: then it is asked about when its lease (billd.control.lease, from started_at) has ended.';
comment on index billd.subscription_due is
    'Serves the claim (claim_due), which goes on where the last one ended, also among a million that fall due at one midnight. A claim changes no column of it: the row leaves this index when the outcome is recorded.';

create temporary table under_way on commit drop as
select a.merchant_uid, a.subscription_id, a.period, a.fence from billd.under_way a
union
select a.merchant_uid, a.subscription_id, a.period, a.fence
from billd.charge_attempt a where a.ask_at is not null and a.state = 'started';

update billd.subscription s
set open_attempt = u.merchant_uid, fence = u.fence
from under_way u
where s.id = u.subscription_id and s.period = u.period and s.open_attempt is null and s.fence < u.fence;

-- Whatever bears no mark, because a person has moved its subscription on, is asked about.
update billd.charge_attempt a
set ask_at = a.started_at + (select lease from billd.control)
from under_way u
where a.merchant_uid = u.merchant_uid and a.ask_at is null
  and not exists (select from billd.subscription s where s.id = a.subscription_id and s.open_attempt = a.merchant_uid);

create function billd_internal.note_claim_of_0_1() returns trigger
language plpgsql
as $$
begin
    update billd.subscription s
    set open_attempt = new.merchant_uid, fence = new.fence
    where s.id = new.subscription_id and s.open_attempt is null;
    return null;
end
$$;
comment on function billd_internal.note_claim_of_0_1() is
    'Notes on the subscription what a claim of billd 0.1 began, which does not do so itself.';
create trigger charge_attempt_of_0_1_is_noted after insert or update of state on billd.charge_attempt
    for each row
    when (new.state = 'started' and current_setting('billd.writer', true) = 'claim')
    execute function billd_internal.note_claim_of_0_1();

-- --------------------------------------------------------------- helpers leave the operator's schema

-- Only what nobody calls by name. The others go when the billd before has gone.
alter function billd.new_id() set schema billd_internal;
alter function billd.next_fence(bigint) set schema billd_internal;
create function billd.next_fence(fence bigint) returns bigint
language sql stable parallel safe
as $$ select billd_internal.next_fence(fence) $$;
alter function billd.refuse() set schema billd_internal;
alter function billd.subscription_fill() set schema billd_internal;
alter function billd.billing_cycle_belongs() set schema billd_internal;
alter function billd.subscription_has_debts() set schema billd_internal;
alter function billd.charge_attempt_reopened() set schema billd_internal;
alter function billd.charge_attempt_closed() set schema billd_internal;
alter function billd.charge_attempt_guard() set schema billd_internal;
alter function billd.billing_cycle_guard() set schema billd_internal;
alter function billd.billing_cycle_voided() set schema billd_internal;
alter function billd.subscription_state_changed() set schema billd_internal;
alter function billd.first_payment_failed() set schema billd_internal;
alter function billd.refund_guard() set schema billd_internal;
alter function billd.refund_balance_guard() set schema billd_internal;
