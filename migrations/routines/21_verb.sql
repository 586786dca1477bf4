-- How a verb runs: the row is locked, the verb changes it or refuses, what follows is derived again, and who did it is
-- written down, all in one transaction. Asked without doing it, the same is done and rolled back.

create or replace function billd_internal.lock_subscription(s uuid) returns billd.subscription
language plpgsql volatile
as $$
declare
    r billd.subscription;
begin
    select t.* into r from billd.subscription t where t.id = s for no key update;
    if r.id is null then
        raise exception 'there is no subscription %', s
            using errcode = 'no_data_found', constraint = 'subscription_is_there',
                  hint = 'select id, external_id, name from billd.subscription';
    end if;
    return r;
end
$$;
comment on function billd_internal.lock_subscription(uuid) is 'The row, locked; refused if there is none.';

create or replace function billd_internal.current_debt(s billd.subscription) returns billd.billing_cycle
language sql stable
as $$ select c from billd.billing_cycle c where c.subscription_id = s.id and c.period = s.period $$;
comment on function billd_internal.current_debt(billd.subscription) is 'The debt of the current period; null if it is not opened.';

create or replace function billd_internal.owes(s billd.subscription) returns boolean
language sql stable
as $$ select coalesce((billd_internal.current_debt(s)).state in ('due', 'unresolved', 'uncollectible'), false) $$;
comment on function billd_internal.owes(billd.subscription) is 'Whether a debt is open, or was finally declined.';

create or replace function billd_internal.need_state(s billd.subscription, states text[], verb text, instead text) returns void
language plpgsql stable
as $$
begin
    if s.state <> all (states) then
        perform billd_internal.refuse_change(
            format('%s: the subscription is %s', verb, s.state), 'subscription_is_in_service', instead);
    end if;
end
$$;
comment on function billd_internal.need_state(billd.subscription, text[], text, text) is 'Refuses a verb in a state that has no meaning for it.';

create or replace function billd_internal.need_no_attempt(s billd.subscription, verb text) returns void
language plpgsql stable
as $$
begin
    if billd_internal.has_open_attempt(s.id) then
        perform billd_internal.refuse_change(format('%s: an attempt is under way, or its outcome is not known yet', verb),
            'no_attempt_is_open', 'Wait until it is proved: billd.attention shows it.');
    end if;
end
$$;
comment on function billd_internal.need_no_attempt(billd.subscription, text) is 'Refuses a verb while money may be moving.';

create or replace function billd_internal.write_verb(s billd.subscription) returns void
language sql volatile
as $$
    update billd.subscription t
    set customer_uid = s.customer_uid, name = s.name, amount = s.amount, interval_unit = s.interval_unit,
        interval_count = s.interval_count, anchor_at = s.anchor_at, billing_day = s.billing_day,
        tax_free = s.tax_free, vat_amount = s.vat_amount, state = s.state, state_reason = s.state_reason,
        trial_until = s.trial_until, ends_at = s.ends_at, periods_left = s.periods_left, catch_up = s.catch_up,
        held = s.held, next_charge_at = s.next_charge_at, period = s.period, due_at = s.due_at, until_at = s.until_at,
        settled_until = s.settled_until, paid_until = s.paid_until, declines = s.declines,
        adjusted = true, recheck = true, row_version = t.row_version + 2
    where t.id = s.id
$$;
comment on function billd_internal.write_verb(billd.subscription) is
    'Writes down what a verb has made of a row. It is planned anew at once, or when the attempt that is open is recorded.';

create or replace function billd_internal.verb(s uuid, verb text, args jsonb, note text, dry_run boolean)
returns setof billd.forecast
language plpgsql volatile
set plan_cache_mode = auto
as $$
declare
    writer text;
    before billd.subscription;
    after billd.subscription;
    lines billd.forecast[];
begin
    begin
        before := billd_internal.lock_subscription(s);
        writer := billd_internal.write_as('plan');
        execute format('select * from billd_internal.%I($1, $2)', 'do_' || verb) into after
            using before, args || jsonb_build_object('note', note);
        after := billd_internal.judge_values(after, billd_internal.changed_columns(before, after));
        perform billd_internal.write_verb(after);
        perform billd_internal.replan(s, (select c.catch_up_pace from billd.control c));
        select t.* into after from billd.subscription t where t.id = s;
        perform billd_internal.note_history(before, after, verb, concat_ws('; ', note, nullif(
            (select string_agg(a.key || ' ' || a.value, ', ') from jsonb_each_text(jsonb_strip_nulls(args)) a), '')));
        lines := array(select f from billd.forecast(s, 6) f);
        if dry_run then
            raise exception 'a dry run' using errcode = 'BD001';
        end if;
    exception
        when sqlstate 'BD001' then
            null;
    end;
    perform billd_internal.write_as(writer);
    return query select * from unnest(lines);
end
$$;
comment on function billd_internal.verb(uuid, text, jsonb, text, boolean) is
    'Runs a verb: its function (the note is one of its arguments), the plan, the history. Returns what will follow. A dry run is rolled back.';
