-- The manual: what people call. Each verb locks the row, refuses what makes no sense, and returns what will follow.
-- With dry_run it does nothing, and returns the same.

create or replace function billd.pause(
    s uuid, until timestamptz default null, note text default null, dry_run boolean default false
) returns setof billd.forecast language sql volatile
as $$ select * from billd_internal.verb($1, 'pause', jsonb_build_object('until', $2), $3, $4) $$;
comment on function billd.pause(uuid, timestamptz, text, boolean) is
    'Stops charging, until it is resumed or until a time. What falls due meanwhile is never billed; a debt that is open stays, and is asked for after it. Time that is paid goes on.';

create or replace function billd.resume(
    s uuid, begin text default null, note text default null, dry_run boolean default false
) returns setof billd.forecast language sql volatile
as $$ select * from billd_internal.verb($1, 'resume', jsonb_build_object('begin', $2), $3, $4) $$;
comment on function billd.resume(uuid, text, text, boolean) is
    'Back into service. begin old_day (the default after a pause): nothing is asked for before its next billing day. now: a period begins now and is charged. After a cancellation one of them must be said. A debt that was open before a pause is asked for, once.';

create or replace function billd.cancel(
    s uuid, at text default 'end', note text default null, dry_run boolean default false
) returns setof billd.forecast language sql volatile
as $$ select * from billd_internal.verb($1, 'cancel', jsonb_build_object('at', $2), $3, $4) $$;
comment on function billd.cancel(uuid, text, text, boolean) is
    'end: what is paid is used up, and nothing more is charged. now: no more charge, an open debt becomes void, nothing is given back. An instant: it ends then; the period it lies in costs its share of days.';

create or replace function billd.keep(
    s uuid, short text default 'free', note text default null, dry_run boolean default false
) returns setof billd.forecast language sql volatile
as $$ select * from billd_internal.verb($1, 'keep', jsonb_build_object('short', $2), $3, $4) $$;
comment on function billd.keep(uuid, text, text, boolean) is
    'Undoes a planned end (cancel, end_after). If the last period was cut short already, the days up to the billing day are free, or charged by_day.';

create or replace function billd.end_after(s uuid, periods int, note text default null, dry_run boolean default false)
returns setof billd.forecast language sql volatile
as $$ select * from billd_internal.verb($1, 'end_after', jsonb_build_object('periods', $2), $3, $4) $$;
comment on function billd.end_after(uuid, int, text, boolean) is
    'Ends by itself after so many more periods, an open debt among them. Periods that are paid, free, forgiven or given up count; a trial, a gift, a skip and a pause don''t.';

create or replace function billd.put_off(
    s uuid, ask_at timestamptz, note text default null, dry_run boolean default false
) returns setof billd.forecast language sql volatile
as $$ select * from billd_internal.verb($1, 'put_off', jsonb_build_object('ask_at', $2), $3, $4) $$;
comment on function billd.put_off(uuid, timestamptz, text, boolean) is
    'Asks later for the debt that is open, or for the next one. The period stays what it is; not beyond its end.';

create or replace function billd.skip(
    s uuid, periods int default 1, note text default null, dry_run boolean default false
) returns setof billd.forecast language sql volatile
as $$ select * from billd_internal.verb($1, 'skip', jsonb_build_object('periods', $2), $3, $4) $$;
comment on function billd.skip(uuid, int, text, boolean) is
    'Passes the next periods over: no charge, no service. A planned change for each, which billd.take_back takes back.';

create or replace function billd.renew_early(
    s uuid, period date default null, note text default null, dry_run boolean default false
) returns setof billd.forecast language sql volatile
as $$ select * from billd_internal.verb($1, 'renew_early', jsonb_build_object('period', $2), $3, $4) $$;
comment on function billd.renew_early(uuid, date, text, boolean) is
    'Asks for the next period now; it begins where the one before ends. Give its name so that a second call can''t renew once more. One period ahead at most.';

create or replace function billd.retry_now(s uuid, note text default null, dry_run boolean default false)
returns setof billd.forecast language sql volatile
as $$ select * from billd_internal.verb($1, 'retry_now', '{}', $2, $3) $$;
comment on function billd.retry_now(uuid, text, boolean) is
    'Asks for the open debt now, with the card that stands in the row, from the first try. What fell due while it was past due is not billed.';

create or replace function billd.release(s uuid, note text default null, dry_run boolean default false)
returns setof billd.forecast language sql volatile
as $$ select * from billd_internal.verb($1, 'release', '{}', $2, $3) $$;
comment on function billd.release(uuid, text, boolean) is
    'Lifts what is held (billd.attention says why) once the reason is gone. What is due is asked for.';

create or replace function billd.forgive(
    s uuid, period date default null, note text default null, dry_run boolean default false
) returns setof billd.forecast language sql volatile
as $$ select * from billd_internal.verb($1, 'forgive', jsonb_build_object('period', $2), $3, $4) $$;
comment on function billd.forgive(uuid, date, text, boolean) is
    'Closes the open debt without a charge. It counts as a period, and its time is not billed later. Discounts and credits that it used come back.';

create or replace function billd.extend(
    s uuid, until timestamptz, note text default null, dry_run boolean default false
) returns setof billd.forecast language sql volatile
as $$ select * from billd_internal.verb($1, 'extend', jsonb_build_object('until', $2), $3, $4) $$;
comment on function billd.extend(uuid, timestamptz, text, boolean) is
    'Gives time away: free until then. The next period begins on the first billing day that is not before.';

create or replace function billd.set_trial(
    s uuid, until timestamptz, note text default null, dry_run boolean default false
) returns setof billd.forecast language sql volatile
as $$ select * from billd_internal.verb($1, 'set_trial', jsonb_build_object('until', $2), $3, $4) $$;
comment on function billd.set_trial(uuid, timestamptz, text, boolean) is
    'Sets or moves a free trial. The first charge is at its end, and that day is the billing day. Not once a period was charged.';

create or replace function billd.change_card(
    s uuid, customer_uid text, retry boolean default true, note text default null, dry_run boolean default false
) returns setof billd.forecast language sql volatile
as $$
    select * from billd_internal.verb($1, 'change_card', jsonb_build_object('customer_uid', $2, 'retry', $3), $4, $5)
$$;
comment on function billd.change_card(uuid, text, boolean, text, boolean) is
    'Another card (the name of its billing key). An open debt is asked for with it at once, unless retry is false; while an attempt is open, as soon as that one is proved.';

create or replace function billd.change_plan(
    s uuid, amount bigint default null, unit text default null, count int default null, name text default null, at text default 'end', credit boolean default true, by_payer boolean default false, note text default null, dry_run boolean default false
) returns setof billd.forecast language sql volatile
as $$
    select * from billd_internal.verb($1, 'change_plan', jsonb_build_object('amount', $2, 'unit', $3, 'count', $4, 'name', $5, 'at', $6, 'credit', $7, 'by_payer', $8), $9, $10)
$$;
comment on function billd.change_plan(uuid, bigint, text, int, text, text, boolean, boolean, text, boolean) is
    'Another price, interval or name. end: from the next period on. An instant: from the first period that begins then or later. now: the period that runs ends, one of the new plan begins and is charged, less what is unused of the old one (credit; today belongs to the new plan). by_payer: the payer asked for it, which is consent. Open debts stay as they are.';

create or replace function billd.move_day(
    s uuid, day int default null, weekday int default null, hour time default null, short text default 'free', note text default null, dry_run boolean default false
) returns setof billd.forecast language sql volatile
as $$
    select * from billd_internal.verb($1, 'move_day', jsonb_build_object('day', $2, 'weekday', $3, 'hour', $4, 'short', $5), $6, $7)
$$;
comment on function billd.move_day(uuid, int, int, time, text, text, boolean) is
    'Another billing day (of the month, or of the week: 1 is Monday) or hour. What is paid keeps its end; the days from there to the new day are free, or charged by_day.';

create or replace function billd.give_discount(
    s uuid, sum bigint default null, share numeric default null, periods int default null, note text default null, dry_run boolean default false
) returns setof billd.forecast language sql volatile
as $$
    select * from billd_internal.verb($1, 'give_discount', jsonb_build_object('sum', $2, 'share', $3, 'periods', $4), $5, $6)
$$;
comment on function billd.give_discount(uuid, bigint, numeric, int, text, boolean) is
    'Takes a sum or a share (0.2 is 20 per cent) off the next periods, or off all. An open debt stays as it is.';

create or replace function billd.add_item(
    s uuid, name text, amount bigint, tax_free bigint default null, vat_amount bigint default null, note text default null, dry_run boolean default false
) returns setof billd.forecast language sql volatile
as $$
    select * from billd_internal.verb($1, 'add_item', jsonb_build_object('name', $2, 'amount', $3, 'tax_free', $4, 'vat_amount', $5), $6, $7)
$$;
comment on function billd.add_item(uuid, text, bigint, bigint, bigint, text, boolean) is
    'Adds a sum to the next period, once. An open debt stays as it is.';

create or replace function billd.give_credit(
    s uuid, amount bigint, note text default null, dry_run boolean default false
) returns setof billd.forecast language sql volatile
as $$ select * from billd_internal.verb($1, 'give_credit', jsonb_build_object('amount', $2), $3, $4) $$;
comment on function billd.give_credit(uuid, bigint, text, boolean) is
    'Takes a sum off what follows, until it is used up. Nothing is given back by itself. An open debt stays as it is.';

create or replace function billd.take_back(
    change bigint, note text default null, dry_run boolean default false
) returns setof billd.forecast
language plpgsql volatile
as $$
declare
    whose uuid := (select c.subscription_id from billd.planned_change c where c.id = take_back.change);
begin
    if whose is null then
        perform billd_internal.refuse_change(format('take_back: there is no planned change %s', take_back.change),
            'change_is_pending', 'billd.planned_change lists them.');
    end if;
    return query select * from billd_internal.verb(whose, 'take_back',
        jsonb_build_object('change', take_back.change), take_back.note, take_back.dry_run);
end
$$;
comment on function billd.take_back(bigint, text, boolean) is
    'Takes a planned change back that is not applied yet (billd.planned_change). What follows is as if it had never been planned.';
