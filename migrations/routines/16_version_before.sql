-- For a daemon of billd 0.1 that runs on: it knows a period's day and start, and nothing of its end.
-- migrations/contract takes this away.

create or replace function billd_internal.writes_as_0_1() returns boolean
language sql stable
as $$
    select current_setting('application_name', true) = 'billd'
        and to_regprocedure('billd_internal.end_move_of_0_1()') is not null
$$;
comment on function billd_internal.writes_as_0_1() is
    'Whether this session is a daemon of billd 0.1, which plans by plain updates of its own. Never once migrations/contract has been applied.';

create or replace function billd_internal.end_move_of_0_1() returns trigger
language plpgsql
as $$
declare
    writer text := billd_internal.write_as('plan');
    paid boolean := exists (
        select from billd.billing_cycle c
        where c.subscription_id = new.id and c.period = old.period and c.state = 'paid');
begin
    update billd.subscription s
    set settled_until = greatest(s.settled_until, case when paid then old.until_at end),
        paid_until = greatest(s.paid_until, case when paid then old.until_at end),
        until_at = billd_internal.period_end(
            s.anchor_at, s.billing_day, s.interval_unit, s.interval_count, s.time_zone, s.due_at),
        recheck = s.recheck or s.due_at < greatest(s.settled_until, case when paid then old.until_at end)
    where s.id = new.id;
    perform billd_internal.write_as(writer);
    return null;
end
$$;
comment on function billd_internal.end_move_of_0_1() is
    'Gives a period that billd 0.1 moved to its end, and moves the cursor on.';
create or replace trigger subscription_of_0_1_has_its_end after update on billd.subscription
    for each row
    when (old.due_at <> new.due_at and old.until_at = new.until_at
          and current_setting('billd.writer', true) is distinct from 'plan')
    execute function billd_internal.end_move_of_0_1();

-- It knows neither its account nor a clock that is refused; the switch and the home it heeds.
do $$
begin
    if to_regprocedure('billd.at_rest(interval)') is not null then
        create or replace function billd.at_rest(lease interval) returns boolean
        language plpgsql volatile
        as $body$
        begin
            return coalesce(billd_internal.may_ask(at_rest.lease),
                (select g.reason from billd_internal.gate g where g.reason in ('elsewhere', 'stopped'))) is not null;
        end
        $body$;
    end if;
end
$$;

create or replace procedure billd_internal.fill_time(batch int default 1000)
language plpgsql
as $$
declare
    ids uuid[];
    last_id uuid := '00000000-0000-0000-0000-000000000000';
begin
    loop
        perform set_config('billd.writer', 'plan', true);
        select array_agg(t.id order by t.id), (array_agg(t.id order by t.id desc))[1] into ids, last_id
        from (
            select s.id from billd.subscription s where s.id > last_id order by s.id limit batch
        ) t;
        exit when ids is null;
        perform from billd.subscription s
        where s.id = any (ids) and s.settled_until is null order by s.id for no key update;
        with debt as (
            select c.subscription_id, c.period, least(
                billd_internal.period_end(
                    s.anchor_at, null, s.interval_unit, s.interval_count, s.time_zone, c.due_at),
                lead(c.due_at) over (partition by c.subscription_id order by c.period),
                case when c.period < s.period then s.due_at end) as until_at
            from billd.billing_cycle c
            join billd.subscription s on s.id = c.subscription_id
            where c.subscription_id = any (ids) and s.settled_until is null
        )
        update billd.billing_cycle c
        -- A debt that a person has moved may begin with the next one.
        set until_at = greatest(d.until_at, c.due_at + interval '1 microsecond')
        from debt d
        where c.subscription_id = d.subscription_id and c.period = d.period and c.until_at is null;
        update billd.subscription s
        set catch_up = 'all',
            settled_until = least(s.due_at, coalesce((
                select max(c.until_at) from billd.billing_cycle c
                where c.subscription_id = s.id and c.state <> 'void' and c.period <> s.period), s.due_at)),
            paid_until = (
                select max(c.until_at) from billd.billing_cycle c
                where c.subscription_id = s.id and c.state = 'paid'),
            until_at = coalesce(
                (select c.until_at from billd.billing_cycle c where c.subscription_id = s.id and c.period = s.period),
                billd_internal.period_end(
                    s.anchor_at, null, s.interval_unit, s.interval_count, s.time_zone, s.due_at))
        where s.id = any (ids) and s.settled_until is null;
        commit;
    end loop;
end
$$;
comment on procedure billd_internal.fill_time(int) is
    'Gives a book of billd 0.1 its ends and cursors, in short transactions: a debt ends with its period, or where the next one begins. No date moves.';
