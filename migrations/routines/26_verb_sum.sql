-- Verbs of card, plan and sum.

create or replace function billd_internal.do_change_card(s billd.subscription, args jsonb) returns billd.subscription
language plpgsql volatile
as $$
begin
    perform billd_internal.need_state(s, '{active,past_due,paused}', 'change_card', 'It is cancelled: call billd.resume first.');
    if coalesce(args ->> 'customer_uid', '') = '' then
        perform billd_internal.refuse_change('change_card: which card?', 'customer_uid_has_1_to_80_characters', 'Give the customer_uid of its billing key.');
    end if;
    s.customer_uid := args ->> 'customer_uid';
    -- With an attempt open, the new card is tried once the old one's fate is proved.
    if coalesce((args ->> 'retry')::boolean, true) and s.state <> 'paused' and s.held is null
        and billd_internal.owes(s) and not billd_internal.has_open_attempt(s.id)
    then
        s := billd_internal.ask_again(s);
    end if;
    return s;
end
$$;
comment on function billd_internal.do_change_card(billd.subscription, jsonb) is 'billd.change_card.';

create or replace function billd_internal.plan_columns(s billd.subscription, args jsonb) returns jsonb
language plpgsql stable
as $$
declare
    change jsonb := jsonb_strip_nulls(jsonb_build_object('amount', args -> 'amount', 'name', billd_internal.composed(args ->> 'name'),
        'interval_unit', args -> 'unit', 'interval_count', args -> 'count'));
    amount bigint := coalesce((args ->> 'amount')::bigint, s.amount);
begin
    if change = '{}' or amount not between 0 and 1000000000 or char_length(change ->> 'name') not between 1 and 40
        or args ->> 'unit' not in ('day', 'week', 'month', 'year') or (args ->> 'count')::int not between 1 and 366
    then
        perform billd_internal.refuse_change('change_plan: give a price, a name, a unit (day, week, month, year) or a count (1 to 366)',
            'a_plan_is_given', 'One of them at least.');
    end if;
    if amount <> s.amount and (s.tax_free > 0 and s.tax_free < s.amount or s.vat_amount > 0) then
        perform billd_internal.refuse_change('change_plan: tax_free or vat_amount of the new price is not known', 'tax_parts_are_given',
            'Update amount, tax_free and vat_amount in one statement: it counts from the next period on.');
    elsif amount <> s.amount and s.tax_free is not null and s.amount > 0 then
        change := change || jsonb_build_object('tax_free', case when s.tax_free = s.amount then amount else 0 end);
    end if;
    if amount < 50000 and s.card_quota > 0 then
        perform billd_internal.refuse_change('change_plan: it is paid in instalments, which a price under 50,000 can''t be',
            'card_quota_needs_an_amount_of_50000_krw', 'Set card_quota to null first.');
    end if;
    return change;
end
$$;
comment on function billd_internal.plan_columns(billd.subscription, jsonb) is 'The columns that another plan sets.';

create or replace function billd_internal.do_change_plan(s billd.subscription, args jsonb) returns billd.subscription
language plpgsql volatile
as $$
declare
    at text := coalesce(args ->> 'at', 'end');
    change jsonb := billd_internal.plan_columns(s, args);
    acts_at timestamptz := case when at not in ('end', 'now') then at::timestamptz end;
begin
    perform billd_internal.need_state(s, '{active,past_due,paused}', 'change_plan', 'It is cancelled: call billd.resume first.');
    if acts_at <= billd.now() then
        perform billd_internal.refuse_change('change_plan: that time has passed', 'time_lies_ahead', 'now, end, or an instant that lies ahead.');
    end if;
    if coalesce((args ->> 'by_payer')::boolean, false) and (args ->> 'amount')::bigint > s.amount then
        insert into billd.consent (subscription_id, kind, old_amount, new_amount, effective_on, given_at, method, evidence)
        values (s.id, 'increase', s.amount, (args ->> 'amount')::bigint, (case when at = 'now' then billd.now()
            else coalesce(acts_at, greatest(s.settled_until, billd.now())) end at time zone 'Asia/Seoul')::date,
            billd.now(), 'by_payer', args ->> 'note');
    end if;
    if at = 'now' then
        return billd_internal.change_plan_now(s, change, coalesce((args ->> 'credit')::boolean, true));
    end if;
    insert into billd.planned_change (subscription_id, kind, effective_at, change, reason)
    values (s.id, 'plan', acts_at, change, args ->> 'note');
    return s;
end
$$;
comment on function billd_internal.do_change_plan(billd.subscription, jsonb) is 'billd.change_plan.';

create or replace function billd_internal.unused_value(d billd.billing_cycle, zone text, now timestamptz) returns bigint
language sql stable
as $$
    select floor((d.amount
            - coalesce((select sum(a.cancelled_amount) from billd.attempts_of(d.subscription_id, d.period) a where a.state = 'paid'), 0)
            - coalesce((select sum((x ->> 'sum')::bigint) from jsonb_array_elements(d.made_of) x where x ->> 'what' = 'credit'), 0)
        )::numeric * billd_internal.days_between(now, d.until_at, zone)
        / nullif(billd_internal.days_between(d.due_at, d.until_at, zone), 0))::bigint
$$;
comment on function billd_internal.unused_value(billd.billing_cycle, text, timestamptz) is
    'What of a paid period is not used: what is kept of its payment and its credits, times its days from today on.';

create or replace function billd_internal.change_plan_now(
    s billd.subscription, change jsonb, credit boolean
) returns billd.subscription
language plpgsql volatile
as $$
declare
    now timestamptz := billd.now();
    running billd.billing_cycle;
    value bigint;
begin
    perform billd_internal.need_state(s, '{active}', 'change_plan now', 'Resume it, or give at => ''end''.');
    perform billd_internal.need_no_attempt(s, 'change_plan now');
    select c.* into running from billd.billing_cycle c
    where c.subscription_id = s.id and c.state in ('paid', 'free') and c.until_at > now order by c.due_at desc limit 1;
    if billd_internal.owes(s) or running.due_at >= now or running.reason in ('trial', 'gift')
        or running.period is null and s.settled_until > now
    then
        perform billd_internal.refuse_change('change_plan now: a debt is open, the next period is paid already, or no period was charged yet',
            'a_paid_period_runs', 'Give at => ''end''.');
    elsif (change ->> 'amount')::bigint > s.amount and billd_internal.consent_is_enforced()
        and not billd_internal.has_consent(s.id, 'increase', (change ->> 'amount')::bigint, now)
    then
        perform billd_internal.refuse_change('change_plan now: a rise needs the payer''s consent', 'rise_needs_consent',
            'Give by_payer => true if the payer asked for it, or call billd.record_consent first.');
    end if;
    value := billd_internal.unused_value(running, s.time_zone, now);
    if credit and value > 0 then
        insert into billd.adjustment (subscription_id, kind, name, sum, currency, remaining)
        values (s.id, 'credit', 'unused days of ' || running.period, value, s.currency, value);
    end if;
    update billd.billing_cycle c set until_at = now
    where c.subscription_id = s.id and c.period = running.period;
    -- This takes the place of what was planned for the end of the period that ends now.
    update billd.planned_change c set state = 'lapsed', reason = 'another plan took its place'
    where c.subscription_id = s.id and c.state = 'pending' and c.kind = 'plan' and c.effective_at is null;
    s := jsonb_populate_record(s, change);
    s.anchor_at := now;
    s.billing_day := null;
    s.settled_until := now;
    s.paid_until := now;
    s.next_charge_at := now;
    return s;
end
$$;
comment on function billd_internal.change_plan_now(billd.subscription, jsonb, boolean) is
    'The period that runs ends now, and one of the new plan begins. Its unused days are a credit.';

create or replace function billd_internal.add_adjustment(
    s billd.subscription, kind text, name text, sum bigint, share numeric, periods int, tax_free bigint, vat_amount bigint
) returns billd.subscription
language plpgsql volatile
as $$
begin
    perform billd_internal.need_state(s, '{active,past_due,paused}', kind, 'It is cancelled.');
    insert into billd.adjustment
        (subscription_id, kind, name, sum, share_bp, tax_free, vat_amount, currency, periods_left, remaining)
    values (s.id, kind, name, sum, round(share * 10000), tax_free, vat_amount, s.currency, periods,
        case when kind <> 'discount' then sum end);
    return s;
end
$$;
comment on function billd_internal.add_adjustment(billd.subscription, text, text, bigint, numeric, int, bigint, bigint) is
    'Writes down what makes the next periods cost more or less.';

create or replace function billd_internal.do_give_discount(s billd.subscription, args jsonb) returns billd.subscription
language plpgsql volatile
as $$
begin
    if num_nonnulls(args ->> 'sum', args ->> 'share') <> 1 or (args ->> 'share')::numeric not between 0.0001 and 1
        or (args ->> 'sum')::bigint not between 1 and 1000000000 or (args ->> 'periods')::int < 1
    then
        perform billd_internal.refuse_change('give_discount: give a sum, or a share between 0.0001 and 1; and how many periods, or none for ever',
            'discount_is_a_sum_or_a_share', '20 per cent is share => 0.2.');
    end if;
    return billd_internal.add_adjustment(s, 'discount', coalesce(args ->> 'note', 'discount'), (args ->> 'sum')::bigint,
        (args ->> 'share')::numeric, (args ->> 'periods')::int, null, null);
end
$$;
comment on function billd_internal.do_give_discount(billd.subscription, jsonb) is 'billd.give_discount.';

create or replace function billd_internal.do_add_item(s billd.subscription, args jsonb) returns billd.subscription
language plpgsql volatile
as $$
begin
    if coalesce((args ->> 'amount')::bigint, 0) not between 1 and 1000000000 or coalesce(args ->> 'name', '') = '' then
        perform billd_internal.refuse_change('add_item: give its name, and a sum above 0', 'item_has_a_sum', 'billd.give_credit takes off the next sum.');
    elsif s.tax_free > 0 and args ->> 'tax_free' is null
        or (s.vat_amount is null) <> (args ->> 'vat_amount' is null) and s.amount > 0
    then
        perform billd_internal.refuse_change('add_item: the agreement says what of its price is tax, so the item must too, and else not',
            'tax_parts_are_given', 'Give tax_free and vat_amount as the agreement does.');
    end if;
    return billd_internal.add_adjustment(s, 'item', args ->> 'name', (args ->> 'amount')::bigint, null, null,
        (args ->> 'tax_free')::bigint, (args ->> 'vat_amount')::bigint);
end
$$;
comment on function billd_internal.do_add_item(billd.subscription, jsonb) is 'billd.add_item.';

create or replace function billd_internal.do_give_credit(s billd.subscription, args jsonb) returns billd.subscription
language plpgsql volatile
as $$
begin
    if coalesce((args ->> 'amount')::bigint, 0) not between 1 and 1000000000 then
        perform billd_internal.refuse_change('give_credit: a sum above 0', 'credit_has_a_sum', 'billd.add_item adds to the next sum.');
    end if;
    return billd_internal.add_adjustment(s, 'credit', coalesce(args ->> 'note', 'credit'), (args ->> 'amount')::bigint, null, null, null, null);
end
$$;
comment on function billd_internal.do_give_credit(billd.subscription, jsonb) is 'billd.give_credit.';

create or replace function billd_internal.do_take_back(s billd.subscription, args jsonb) returns billd.subscription
language plpgsql volatile
as $$
begin
    update billd.planned_change c
    set state = 'taken_back', reason = coalesce(args ->> 'note', c.reason)
    where c.id = (args ->> 'change')::bigint and c.state = 'pending';
    if not found then
        perform billd_internal.refuse_change('take_back: that change is not pending any more', 'change_is_pending', 'billd.planned_change says what became of it.');
    end if;
    return s;
end
$$;
comment on function billd_internal.do_take_back(billd.subscription, jsonb) is 'billd.take_back.';
