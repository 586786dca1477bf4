-- Verbs of service: in, out, and what is owed. Each gets the locked row and gives it back changed.

create or replace function billd_internal.do_pause(s billd.subscription, args jsonb) returns billd.subscription
language plpgsql volatile
as $$
begin
    perform billd_internal.need_state(s, '{active,past_due}', 'pause', 'Only what is active or past due can be paused.');
    if (args ->> 'until')::timestamptz <= billd.now() then
        perform billd_internal.refuse_change('a pause can''t end in the past', 'time_lies_ahead', 'Leave until out, or give a later one.');
    end if;
    s.state := 'paused';
    s.state_reason := coalesce(args ->> 'note', 'paused');
    perform billd_internal.lapse(s.id, 'resume', 'another pause took its place');
    if args ->> 'until' is not null then
        insert into billd.planned_change (subscription_id, kind, effective_at, reason)
        values (s.id, 'resume', (args ->> 'until')::timestamptz, 'the end of a pause');
    end if;
    return s;
end
$$;
comment on function billd_internal.do_pause(billd.subscription, jsonb) is 'billd.pause.';

create or replace function billd_internal.lapse(s uuid, of_kind text, why text) returns void
language sql volatile
as $$
    update billd.planned_change c set state = 'lapsed', reason = why
    where c.subscription_id = s and c.state = 'pending' and c.kind = coalesce(of_kind, c.kind)
$$;
comment on function billd_internal.lapse(uuid, text, text) is 'Planned changes of a kind, or all, have no meaning any more.';

create or replace function billd_internal.do_resume(s billd.subscription, args jsonb) returns billd.subscription
language plpgsql volatile
as $$
declare
    begins text := coalesce(args ->> 'begin', case s.state when 'paused' then 'old_day' end);
begin
    perform billd_internal.need_state(s, '{paused,cancelled}', 'resume', case s.state
        when 'past_due' then 'Call billd.change_card or billd.retry_now.' else 'It is in service.' end);
    if begins is null or begins not in ('old_day', 'now') then
        perform billd_internal.refuse_change('resume: begin must be old_day or now', 'begin_is_said',
            'old_day: nothing is asked for before its billing day. now: a period begins now, and is charged.');
    end if;
    perform billd_internal.lapse(s.id, 'resume', 'it was resumed before');
    s.settled_until := greatest(s.settled_until, billd.now());
    if begins = 'now' then
        s.anchor_at := s.settled_until;
        s.billing_day := null;
    end if;
    s.ends_at := case when s.ends_at > billd.now() then s.ends_at end;
    s.periods_left := nullif(s.periods_left, 0);
    s.state := 'active';
    s.state_reason := null;
    return billd_internal.reopen(s);
end
$$;
comment on function billd_internal.do_resume(billd.subscription, jsonb) is 'billd.resume.';

create or replace function billd_internal.do_cancel(s billd.subscription, args jsonb) returns billd.subscription
language plpgsql volatile
as $$
declare
    at text := coalesce(args ->> 'at', 'end');
begin
    perform billd_internal.need_state(s, '{active,past_due,paused}', 'cancel', 'It is cancelled already.');
    if at = 'now' then
        update billd.billing_cycle c
        set state = 'void', closed_at = billd.now(), reason = billd_internal.void_of_cancellation()
        where c.subscription_id = s.id and c.state in ('due', 'uncollectible')
          and not billd_internal.has_open_attempt(c.subscription_id, c.period);
        perform billd_internal.lapse(s.id, null, 'the subscription was cancelled');
        s.state := 'cancelled';
        s.state_reason := coalesce(args ->> 'note', 'cancelled');
        s.next_charge_at := null;
        s.held := null;
        return s;
    elsif at = 'end' then
        s.ends_at := case when billd_internal.owes(s) then s.until_at else s.settled_until end;
    else
        s.ends_at := at::timestamptz;
        if s.ends_at <= billd.now() then
            perform billd_internal.refuse_change(format('it can''t end at %s: that has passed', s.ends_at), 'time_lies_ahead',
                'now, end, or an instant that lies ahead.');
        end if;
    end if;
    return s;
end
$$;
comment on function billd_internal.do_cancel(billd.subscription, jsonb) is 'billd.cancel.';

create or replace function billd_internal.need_short(args jsonb) returns void
language plpgsql stable
as $$
begin
    if coalesce(args ->> 'short', 'free') not in ('free', 'by_day') then
        perform billd_internal.refuse_change('short must be free or by_day', 'short_is_free_or_by_day',
            'It says what the days up to the billing day cost.');
    end if;
end
$$;
comment on function billd_internal.need_short(jsonb) is 'The days up to a billing day are free, or charged by the day.';

create or replace function billd_internal.plan_short(s billd.subscription, args jsonb) returns void
language sql volatile
as $$
    insert into billd.planned_change (subscription_id, kind, reason)
    select s.id, 'by_day', 'the days up to the billing day' where args ->> 'short' = 'by_day'
$$;
comment on function billd_internal.plan_short(billd.subscription, jsonb) is 'Plans that the days up to the billing day are charged.';

create or replace function billd_internal.do_keep(s billd.subscription, args jsonb) returns billd.subscription
language plpgsql volatile
as $$
begin
    perform billd_internal.need_state(s, '{active,past_due,paused}', 'keep', 'It has ended: call billd.resume.');
    perform billd_internal.need_short(args);
    if s.ends_at is null and s.periods_left is null then
        perform billd_internal.refuse_change('keep: no end is planned', 'an_end_is_planned', 'There is nothing to undo.');
    end if;
    s.ends_at := null;
    s.periods_left := null;
    perform billd_internal.plan_short(s, args);
    return s;
end
$$;
comment on function billd_internal.do_keep(billd.subscription, jsonb) is 'billd.keep.';

create or replace function billd_internal.do_end_after(s billd.subscription, args jsonb) returns billd.subscription
language plpgsql volatile
as $$
begin
    perform billd_internal.need_state(s, '{active,past_due,paused}', 'end_after', 'It has ended: call billd.resume.');
    if coalesce((args ->> 'periods')::int, -1) < 0 then
        perform billd_internal.refuse_change('end_after: so many periods can''t follow', 'periods_left_is_not_negative',
            '0 ends it behind what is settled.');
    end if;
    s.periods_left := (args ->> 'periods')::int;
    return s;
end
$$;
comment on function billd_internal.do_end_after(billd.subscription, jsonb) is 'billd.end_after.';

create or replace function billd_internal.do_retry_now(s billd.subscription, args jsonb) returns billd.subscription
language plpgsql volatile
as $$
begin
    perform billd_internal.need_state(s, '{active,past_due}', 'retry_now', 'Call billd.resume.');
    perform billd_internal.need_no_attempt(s, 'retry_now');
    if not billd_internal.owes(s) and s.state = 'active' then
        perform billd_internal.refuse_change('retry_now: no debt is open', 'a_debt_is_open', 'billd.renew_early asks for the next period.');
    elsif s.held is not null then
        perform billd_internal.refuse_change('retry_now: it is held: ' || s.held, 'nothing_is_held', 'Call billd.release.');
    end if;
    return billd_internal.ask_again(s);
end
$$;
comment on function billd_internal.do_retry_now(billd.subscription, jsonb) is 'billd.retry_now.';

create or replace function billd_internal.ask_again(s billd.subscription) returns billd.subscription
language plpgsql volatile
as $$
begin
    if s.state = 'past_due' then
        s.settled_until := greatest(s.settled_until, billd.now());
        s.state := 'active';
        s.state_reason := null;
    end if;
    if s.attempts >= 99 then
        perform billd_internal.refuse_change('this period has used all of its 99 attempts', 'attempts_are_at_most_99',
            'billd.forgive closes its debt; the next period then starts anew.');
    end if;
    s := billd_internal.reopen(s);
    s.next_charge_at := billd.now();
    return s;
end
$$;
comment on function billd_internal.ask_again(billd.subscription) is
    'The open debt is asked for now. What fell due while it was past due is passed over.';

create or replace function billd_internal.do_release(s billd.subscription, args jsonb) returns billd.subscription
language plpgsql volatile
as $$
begin
    if s.held is null then
        perform billd_internal.refuse_change('release: nothing is held', 'something_is_held', 'billd.attention says what waits.');
    elsif s.held = 'catch_up' and s.catch_up = 'hold' then
        perform billd_internal.refuse_change('whole periods were missed, and catch_up is hold', 'catch_up_is_said',
            'Set catch_up to what becomes of them: all, latest or none.');
    elsif s.held = 'finding' and billd_internal.is_paid_elsewhere(s) then
        perform billd_internal.refuse_change('a finding is open: it may be paid elsewhere', 'findings_are_explained',
            'Look at billd.finding, and set its state to explained; the hold ends with it.');
    elsif not billd_internal.has_readable_dates(s) then
        perform billd_internal.refuse_date(billd_internal.unreadable_date(s, billd_internal.date_columns()));
    elsif s.held = 'ceiling' and billd_internal.is_above_ceiling(billd_internal.sum_to_ask(s), s.currency) then
        perform billd_internal.refuse_change('its sum is above the ceiling', 'sum_is_below_the_ceiling',
            'Raise charge_max in billd.ceiling, which plans it anew; or change the sum.');
    elsif s.held = 'consent' and (billd_internal.lift_hold(s)).held is not null then
        perform billd_internal.refuse_change('consent or notice is missing', 'consent_is_there', 'Call billd.record_consent.');
    end if;
    if s.held <> 'consent' then
        s.held := null;
    end if;
    s.next_charge_at := case when s.state = 'active' then coalesce(s.next_charge_at, billd.now()) end;
    return s;
end
$$;
comment on function billd_internal.do_release(billd.subscription, jsonb) is 'billd.release.';

create or replace function billd_internal.do_forgive(s billd.subscription, args jsonb) returns billd.subscription
language plpgsql volatile
as $$
begin
    perform billd_internal.need_no_attempt(s, 'forgive');
    if not billd_internal.owes(s) or (args ->> 'period')::date <> s.period then
        perform billd_internal.refuse_change('forgive: that debt is not open', 'a_debt_is_open',
            'billd.skip passes the next period over; billd.give_credit takes off its sum.');
    end if;
    update billd.billing_cycle c set state = 'void', closed_at = billd.now(), reason = 'forgiven'
    where c.subscription_id = s.id and c.period = s.period;
    if s.state = 'past_due' then
        s.settled_until := greatest(s.settled_until, s.until_at, billd.now());
        s.state := 'active';
        s.state_reason := null;
    end if;
    return s;
end
$$;
comment on function billd_internal.do_forgive(billd.subscription, jsonb) is 'billd.forgive.';

create or replace function billd_internal.refunded_in_full() returns trigger
language plpgsql
as $$
declare
    writer text;
    s billd.subscription;
    after billd.subscription;
begin
    select t.* into s from billd.subscription t where t.id = new.subscription_id for no key update;
    if s.on_refund <> 'end' or s.state = 'cancelled' or exists (
        select from billd.refund r where r.merchant_uid = new.merchant_uid and r.state in ('started', 'unknown', 'refunded'))
    then
        return null;
    end if;
    writer := billd_internal.write_as('plan');
    after := billd_internal.do_cancel(s, jsonb_build_object('at', 'now', 'note', 'given back in full at the console'));
    perform billd_internal.write_verb(after);
    perform billd_internal.note_history(s, after, 'refund', new.merchant_uid || ' was given back in full at the console');
    perform billd_internal.write_as(writer);
    return null;
end
$$;
comment on function billd_internal.refunded_in_full() is
    'What a full refund at the console means for the agreement, if on_refund is end: it is cancelled now. One that billd made means nothing: who made it says what follows.';
create or replace trigger refunded_in_full after update on billd.charge_attempt
    for each row
    when (new.cancelled_amount > old.cancelled_amount and new.cancelled_amount >= new.amount and new.subscription_id is not null)
    execute function billd_internal.refunded_in_full();
