-- What will follow: the same steps that the re-plan writes down, only walked.

create or replace function billd_internal.forecast_line(
    s billd.subscription, kind text, name date, from_at timestamptz, until_at timestamptz, ask_at timestamptz,
    amount bigint, made_of jsonb, remark text
) returns billd.forecast
language sql stable
as $$ select row(kind, name, from_at, until_at, ask_at, amount, s.currency, made_of, remark)::billd.forecast $$;
comment on function billd_internal.forecast_line(
    billd.subscription, text, date, timestamptz, timestamptz, timestamptz, bigint, jsonb, text) is 'One row of a forecast.';

create or replace function billd_internal.forecast_debt(
    inout s billd.subscription, debt billd.billing_cycle, out line billd.forecast, out goes_on boolean
)
language plpgsql stable
as $$
declare
    owes boolean := debt.state in ('due', 'unresolved');
begin
    goes_on := true;
    if debt.state = 'uncollectible' then
        goes_on := false;
        line := billd_internal.forecast_line(s, 'owes', debt.period, debt.due_at, debt.until_at, null, debt.amount,
            debt.made_of, 'finally declined; nothing follows until the card is changed, or the debt is forgiven');
    elsif owes then
        goes_on := s.state = 'active';
        line := billd_internal.forecast_line(s, 'debt', debt.period, debt.due_at, debt.until_at, s.next_charge_at, debt.amount,
            debt.made_of, case when billd_internal.has_open_attempt(s.id, debt.period) then 'it is being asked for'
                when not goes_on then s.state when s.attempts > 0 then 'declined before' end);
    end if;
    if owes or debt.state in ('paid', 'free')
        or debt.state = 'void' and debt.reason is distinct from billd_internal.void_of_cancellation()
    then
        s.settled_until := greatest(s.settled_until, debt.until_at);
        s.periods_left := case when s.periods_left > 0 then s.periods_left - 1 else s.periods_left end;
    end if;
end
$$;
comment on function billd_internal.forecast_debt(billd.subscription, billd.billing_cycle) is
    'The debt that is open, and the agreement as it stands once that is paid.';

create or replace function billd_internal.forecast_step(
    s billd.subscription, r record, name date, price record, asked int
) returns billd.forecast
language plpgsql stable
as $$
declare
    now timestamptz := billd.now();
    ask_at timestamptz := greatest(r.from_at, now + asked * (select c.catch_up_pace from billd.control c),
        case when asked = 0 and r.from_at = s.due_at then s.next_charge_at end);
begin
    return case r.step
        when 'period' then billd_internal.forecast_line(s, case when price.amount = 0 then 'free' else 'charge' end,
            name, r.from_at, r.until_at, ask_at, price.amount, price.made_of,
            case when s.held is not null then 'held: ' || s.held
                when (r.change).kind = 'by_day' then 'by the day, until the billing day'
                when r.days < r.all_days then 'cut short' end)
        when 'skipped' then billd_internal.forecast_line(s, 'passed', name, r.from_at, r.until_at, null, 0, null, r.why)
        when 'missed' then billd_internal.forecast_line(s, 'passed', name, r.from_at, r.until_at, null, 0, null, r.why)
        when 'changed' then billd_internal.forecast_line(s, 'change', null, r.at, null, null, null, (r.change).change,
            concat_ws(' ', (r.change).kind, 'of planned change', (r.change).id))
        when 'end' then billd_internal.forecast_line(s, 'end', null, r.at, null, null, null, null, 'ends as agreed')
        when 'hold' then billd_internal.forecast_line(s, 'hold', null, r.from_at, r.until_at, null, null, null, r.why)
        when 'nothing' then billd_internal.forecast_line(s, 'hold', null, null, null, null, null, null, s.state)
        when 'unreadable' then billd_internal.forecast_line(s, 'hold', null, null, null, null, null, null, 'the calendar can''t be read')
    end;
end
$$;
comment on function billd_internal.forecast_step(billd.subscription, record, date, record, int) is
    'A step of the rule as a row for people.';

create or replace function billd.forecast(s uuid, rows int default 12) returns setof billd.forecast
language plpgsql stable
as $$
declare
    w billd.subscription;
    last_name date;
    changes billd.planned_change[] := billd_internal.pending_changes(s);
    adjustments billd.adjustment[] := billd_internal.open_adjustments(s);
    after_free boolean;
    first record;
    r record;
    price record;
    left_rows int := rows;
    asked int := 0;
begin
    select t.* into w from billd.subscription t where t.id = s;
    if w.id is null then
        return;
    end if;
    after_free := billd_internal.follows_free_time(w);
    first := billd_internal.forecast_debt(w, (
        select c from billd.billing_cycle c where c.subscription_id = s and c.period = w.period));
    w := first.s;
    if (first.line).kind is not null then
        return next first.line;
        left_rows := left_rows - 1;
        asked := 1;
    end if;
    last_name := (select max(c.period) from billd.billing_cycle c where c.subscription_id = s);
    for step in 1 .. 1000 loop
        exit when left_rows <= 0 or not first.goes_on;
        r := billd_internal.next_step(w, changes, billd.now(), after_free);
        w := r.s;
        changes := r.changes;
        if r.step in ('period', 'skipped', 'missed') then
            last_name := billd_internal.period_name(r.from_at, w.time_zone, last_name);
        end if;
        price := billd_internal.price(w, r.days, r.all_days, adjustments);
        if r.step <> 'lapsed' then
            return next billd_internal.forecast_step(w, r, last_name, price, asked);
            left_rows := left_rows - 1;
        end if;
        exit when r.step in ('end', 'hold', 'nothing', 'unreadable');
        if r.step = 'period' then
            asked := asked + 1;
            adjustments := price.adjustments;
            after_free := price.amount = 0 and w.amount < billd_internal.least_amount(w.currency);
            w.settled_until := r.until_at;
            w.periods_left := case when w.periods_left > 0 then w.periods_left - 1 else w.periods_left end;
        end if;
    end loop;
end
$$;
comment on function billd.forecast(uuid, int) is
    'What will follow for a subscription, row by row: what is open, what will be charged when and how it comes about, what is passed over, which planned change acts. As if every debt was paid when it is asked for.';
