-- Which plain updates of a subscription have one safe meaning. All others are refused, with a hint that names what
-- has it. An update of several columns is judged as a whole.

create or replace function billd_internal.changed_columns(old billd.subscription, new billd.subscription)
returns text[]
language sql stable parallel safe
as $$
    select array(
        select n.key from jsonb_each(to_jsonb(new)) n
        where n.value is distinct from to_jsonb(old) -> n.key order by n.key)
$$;
comment on function billd_internal.changed_columns(billd.subscription, billd.subscription) is
    'The names of the columns in which two versions of a row differ.';

create or replace function billd_internal.without(names text[], others text[]) returns text[]
language sql immutable parallel safe
as $$ select array(select n from unnest(names) n where n <> all (others)) $$;
comment on function billd_internal.without(text[], text[]) is 'The names that are not among the others.';

create or replace function billd_internal.judge_update(
    old billd.subscription, new billd.subscription, changed text[]
) returns void
language plpgsql stable
as $$
declare
    -- What billd derives.
    schedule constant text[] := '{period,due_at,until_at,settled_until,paid_until,attempts,declines,open_attempt,fence,
        recheck,adjusted,next_change_at,last_result,last_result_at,last_reason,last_message}';
    derived text[] := array(select c from unnest(changed) c where c = any (schedule));
begin
    if new.row_version not in (old.row_version, old.row_version + 1) then
        perform billd_internal.refuse_change(format('row_version is %s: the row has moved on since it was read', old.row_version),
            'row_version_is_raised_by_one',
            'Read the row again. Who writes row_version, writes one more than it is.');
    elsif derived <> '{}' then
        perform billd_internal.refuse_change(format('these columns are derived by billd: %s', array_to_string(derived, ', ')),
            'subscription_schedule_is_billds',
            'If they are part of a whole row that was read earlier: it has moved on, read it again. Leave them out, and change the agreement; or call what you mean: billd.skip, extend, renew_early, retry_now, forgive, release.');
    elsif old.held is not null and new.held is null then
        perform billd_internal.refuse_change(format('nothing is asked for because of: %s', old.held),
            'held_is_lifted_by_release',
            'When that is settled: billd.release(id). What becomes of missed periods is said in catch_up.');
    elsif 'anchor_at' = any (changed) and 'billing_day' = any (changed) then
        perform billd_internal.refuse_change('anchor_at and billing_day both say on which day periods begin',
            'the_day_is_said_once',
            'Set one of them; or billd.move_day.');
    end if;
end
$$;
comment on function billd_internal.judge_update(billd.subscription, billd.subscription, text[]) is
    'Refuses a plain update of what billd derives, or of two columns that say different things.';

create or replace function billd_internal.judge_state(
    old billd.subscription, new billd.subscription, changed text[]
) returns void
language plpgsql stable
as $$
declare
    -- These go with anything: they say nothing of time or money.
    others text[] := billd_internal.without(changed, '{state,state_reason,customer_uid,name,buyer_name,buyer_email,
        buyer_tel,buyer_addr,buyer_postcode,custom_data,notice_url,channel_key,product_type,gateway_options,
        external_id,row_version}');
begin
    if new.state = 'active' and old.state = 'cancelled' then
        perform billd_internal.refuse_change('it was cancelled: from when on is it billed again?',
            'who_comes_back_says_when',
            'billd.resume(id, ''now'') begins a period at once, billd.resume(id, ''old_day'') on the old day.');
    elsif not (new.state = 'cancelled' or new.state = 'active'
        or new.state = 'paused' and old.state in ('active', 'past_due'))
    then
        perform billd_internal.refuse_change(format('%s does not become %s by hand', old.state, new.state),
            'state_goes_on_as_billd_knows_it',
            'past_due is what a refused debt makes of it. billd.pause stops charging for a time, billd.cancel for ever, billd.resume goes on.');
    end if;
    if old.state = 'paused' and new.state = 'active' then
        others := billd_internal.without(others, '{next_charge_at}');
    end if;
    if others <> '{}' then
        perform billd_internal.refuse_change(format('state together with %s has no one meaning', array_to_string(others, ', ')),
            'state_is_changed_alone',
            'Make two statements of it, in the order that is meant; or call billd.resume, pause, cancel, change_card, retry_now.');
    end if;
end
$$;
comment on function billd_internal.judge_state(billd.subscription, billd.subscription, text[]) is
    'Refuses a change of state that has no safe meaning of its own.';

create or replace function billd_internal.judge_next_charge(
    old billd.subscription, new billd.subscription, changed text[]
) returns void
language plpgsql stable
as $$
declare
    debt text := (
        select c.state from billd.billing_cycle c where c.subscription_id = new.id and c.period = new.period);
    rule constant text := 'next_charge_at_has_one_meaning';
    at text := (new.next_charge_at at time zone new.time_zone)::text;
begin
    if changed && '{anchor_at}' and new.next_charge_at = new.anchor_at and old.open_attempt is null then
        -- The day on which periods begin: the re-plan says which is the next one.
        return;
    elsif changed && '{anchor_at,billing_day,interval_unit,interval_count,time_zone,trial_until,ends_at,periods_left}' then
        perform billd_internal.refuse_change('next_charge_at together with what it follows from has no one meaning',
            rule,
            'Leave it out: it follows by itself. To ask later: billd.put_off, in a statement of its own.');
    elsif old.open_attempt is not null then
        perform billd_internal.refuse_change('an attempt is under way, or its fate is unknown: what is asked for next follows from it',
            rule,
            'Wait until open_attempt is null.');
    elsif old.held is not null then
        perform billd_internal.refuse_change(format('nothing is asked for because of: %s', old.held),
            rule, 'billd.release(id) when that is settled.');
    elsif new.state <> 'active' or new.next_charge_at is null then
        perform billd_internal.refuse_change(format('what is asked for next is not said while it is %s, or with null', new.state),
            rule,
            'To ask for nothing for a time: billd.pause. To try a refused debt again: billd.retry_now. To go on on a date, set state to active with it.');
    elsif debt is null and new.next_charge_at < old.due_at and old.state = 'active' then
        perform billd_internal.refuse_change(format('%s lies before the next period, which begins at %s', at, old.due_at at time zone new.time_zone),
            rule,
            'To be paid for it earlier: billd.renew_early. To begin periods on another day: billd.move_day. If this is part of a row that was read earlier: it has moved on, read it again.');
    elsif new.next_charge_at >= old.until_at and (debt in ('due', 'unresolved', 'uncollectible') or old.state = 'active') then
        perform billd_internal.refuse_change(format('%s lies behind the end of this period, which is %s', at, old.until_at at time zone new.time_zone),
            rule,
            'To leave a period out: billd.skip. To give time away: billd.extend. To begin periods on another day: billd.move_day.');
    elsif old.state = 'paused' and new.next_charge_at < billd.now() then
        perform billd_internal.refuse_change(format('%s has passed', at),
            rule, 'billd.resume(id, ''now'') begins a period at once.');
    end if;
end
$$;
comment on function billd_internal.judge_next_charge(billd.subscription, billd.subscription, text[]) is
    'Lets next_charge_at mean: ask later within this period; try a refused debt then; go on on that day after a pause. Refuses all else.';

create or replace function billd_internal.check_tax(s billd.subscription) returns void
language plpgsql immutable
as $$
begin
    if s.tax_free not between 0 and s.amount then
        perform billd_internal.refuse_change(format('new row violates "tax_free_is_within_amount": tax_free is %s, and the amount %s', s.tax_free, s.amount),
            'tax_free_is_within_amount', 'It is a part of amount.');
    elsif s.vat_amount < 0 or s.vat_amount + coalesce(s.tax_free, 0) > s.amount then
        perform billd_internal.refuse_change(format('new row violates "vat_amount_is_within_amount": vat_amount is %s, tax_free %s, and the amount %s', s.vat_amount, s.tax_free, s.amount),
            'vat_amount_is_within_amount',
            'Both are parts of amount.');
    end if;
end
$$;
comment on function billd_internal.check_tax(billd.subscription) is 'Law: the parts of a price are within it.';

create or replace function billd_internal.tax_follows_amount(
    old billd.subscription, new billd.subscription, is_plain boolean
) returns void
language plpgsql volatile
as $$
declare
    s billd.subscription := new;
    writer text;
    is_mixed boolean := old.tax_free <> 0 or old.vat_amount <> 0;
begin
    if old.amount <> new.amount and (old.tax_free, old.vat_amount) is not distinct from (new.tax_free, new.vat_amount) then
        if old.tax_free = old.amount then
            s.tax_free := new.amount;
        elsif is_mixed and is_plain then
            perform billd_internal.refuse_change('the price has parts, and does not say how they change with it',
                'tax_is_said_with_the_amount',
                'Say amount, and those of tax_free and vat_amount that are not null, in one statement.');
        elsif is_mixed then
            s.tax_free := old.tax_free * new.amount / nullif(old.amount, 0);
            s.vat_amount := old.vat_amount * new.amount / nullif(old.amount, 0);
        end if;
    end if;
    perform billd_internal.check_tax(s);
    if (s.tax_free, s.vat_amount) is distinct from (new.tax_free, new.vat_amount) then
        writer := billd_internal.write_as('plan');
        update billd.subscription t set tax_free = s.tax_free, vat_amount = s.vat_amount where t.id = new.id;
        perform billd_internal.write_as(writer);
    end if;
end
$$;
comment on function billd_internal.tax_follows_amount(billd.subscription, billd.subscription, boolean) is
    'The tax-free part follows the price where all of it is tax-free; where there is more than one way, a person says both. What billd changes itself scales.';
