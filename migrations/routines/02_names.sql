-- Identifiers, and how an attempt is found by its name.

create or replace function billd_internal.write_as(writer text) returns text
language plpgsql volatile
as $$
declare
    before text := coalesce(current_setting('billd.writer', true), '');
begin
    perform set_config('billd.writer', writer, true);
    return before;
end
$$;
comment on function billd_internal.write_as(text) is
    'Says, for the rest of the transaction, that what is written is no plain update of a person''s. Returns what was said before, to be said again afterwards.';

create or replace function billd_internal.new_id() returns uuid
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
comment on function billd_internal.new_id() is
    'A UUID of version 7: it begins with the time, so rows that were made together lie together in every index. Any other UUID is as valid.';

create or replace function billd.merchant_uid(subscription_id uuid, period date, attempt_no int) returns text
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

create or replace function billd.attempts_of(subscription_id uuid, period date default null)
returns setof billd.charge_attempt
language sql stable parallel safe
as $$
    select a.*
    from billd.charge_attempt a
    where a.merchant_uid between
        billd.merchant_uid(attempts_of.subscription_id, coalesce(attempts_of.period, date '2000-01-01'), 0)
        and billd.merchant_uid(attempts_of.subscription_id, coalesce(attempts_of.period, date '2099-12-31'), 99)
      -- A one-off charge is named by the merchant.
      and a.subscription_id = attempts_of.subscription_id
    order by a.merchant_uid
$$;
comment on function billd.attempts_of(uuid, date) is
    'The attempts of a subscription, or of one of its periods, oldest first. By merchant_uid, which begins with both: an index of its own would cost every charge a tenth of its writing.';

create or replace function billd_internal.last_attempt(subscription_id uuid, period date) returns text
language sql stable parallel safe
as $$ select max(a.merchant_uid) from billd.attempts_of(last_attempt.subscription_id, last_attempt.period) a $$;
comment on function billd_internal.last_attempt(uuid, date) is 'merchant_uid of the last attempt of a period.';

create or replace function billd_internal.has_open_attempt(subscription_id uuid, period date default null)
returns boolean
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
comment on function billd_internal.has_open_attempt(uuid, date) is
    'Whether an attempt of a subscription, or of one of its periods, is open.';
