-- What a period costs.

create or replace function billd_internal.least_amount(currency text) returns bigint
language sql immutable parallel safe
as $$ select case currency when 'KRW' then 100 else 1 end $$;
comment on function billd_internal.least_amount(text) is
    'The least sum that the gateway charges. What costs less is free.';

create or replace function billd_internal.days_between(from_at timestamptz, until_at timestamptz, zone text) returns int
language sql stable parallel safe
as $$ select (until_at at time zone zone)::date - (from_at at time zone zone)::date $$;
comment on function billd_internal.days_between(timestamptz, timestamptz, text) is
    'How many civil days lie between two instants, the first one counted and the last one not.';

create or replace function billd_internal.price_line(what text, sum bigint, more jsonb default '{}') returns jsonb
language sql immutable parallel safe
as $$ select jsonb_build_object('what', what) || more || jsonb_build_object('sum', sum) $$;
comment on function billd_internal.price_line(text, bigint, jsonb) is 'A line of billing_cycle.made_of.';

create or replace function billd_internal.tax_part(part bigint, of_sum bigint, sum bigint) returns bigint
language sql immutable parallel safe
as $$ select case when of_sum = sum then part when part is not null and of_sum = 0 then 0 else part * sum / of_sum end $$;
comment on function billd_internal.tax_part(bigint, bigint, bigint) is
    'A tax part of a sum, scaled to another sum and rounded down.';

create or replace function billd_internal.price(
    s billd.subscription, days int, all_days int, inout adjustments billd.adjustment[],
    out amount bigint, out made_of jsonb, out tax_free bigint, out vat_amount bigint
)
language plpgsql stable parallel safe
as $$
declare
    a billd.adjustment;
    lines jsonb := jsonb_build_array(billd_internal.price_line('price', s.amount));
    used bigint;
    item_tax_free bigint;
    item_vat bigint;
    with_items bigint;
begin
    amount := s.amount;
    if days < all_days then
        amount := floor(s.amount::numeric * days / all_days);
        lines := lines || billd_internal.price_line(
            'days', amount - s.amount, jsonb_build_object('days', days, 'of', all_days));
    end if;
    for i in 1 .. cardinality(adjustments) loop
        a := adjustments[i];
        continue when a.kind <> 'discount' or a.periods_left = 0;
        used := least(amount, coalesce(a.sum, floor(amount::numeric * a.share_bp / 10000)));
        amount := amount - used;
        lines := lines || billd_internal.price_line('discount', -used, jsonb_build_object('id', a.id, 'name', a.name));
        adjustments[i].periods_left := a.periods_left - 1;
    end loop;
    tax_free := billd_internal.tax_part(s.tax_free, s.amount, amount);
    vat_amount := billd_internal.tax_part(s.vat_amount, s.amount, amount);
    for i in 1 .. cardinality(adjustments) loop
        a := adjustments[i];
        continue when a.kind <> 'item' or a.remaining = 0;
        amount := amount + a.remaining;
        lines := lines || billd_internal.price_line('item', a.remaining, jsonb_build_object('id', a.id, 'name', a.name));
        adjustments[i].remaining := 0;
        item_tax_free := coalesce(item_tax_free + a.tax_free, item_tax_free, a.tax_free);
        item_vat := coalesce(item_vat + a.vat_amount, item_vat, a.vat_amount);
    end loop;
    tax_free := coalesce(tax_free + item_tax_free, tax_free, item_tax_free);
    vat_amount := coalesce(vat_amount + item_vat, vat_amount, item_vat);
    with_items := amount;
    for i in 1 .. cardinality(adjustments) loop
        a := adjustments[i];
        used := least(amount, a.remaining);
        continue when a.kind <> 'credit' or used = 0;
        amount := amount - used;
        lines := lines || billd_internal.price_line('credit', -used, jsonb_build_object('id', a.id, 'name', a.name));
        adjustments[i].remaining := a.remaining - used;
    end loop;
    if amount > 0 and amount < billd_internal.least_amount(s.currency) then
        lines := lines || billd_internal.price_line('least', -amount);
        amount := 0;
    end if;
    tax_free := billd_internal.tax_part(tax_free, with_items, amount);
    vat_amount := billd_internal.tax_part(vat_amount, with_items, amount);
    made_of := case when jsonb_array_length(lines) > 1 then lines end;
end
$$;
comment on function billd_internal.price(billd.subscription, int, int, billd.adjustment[]) is
    'The sum of a period, the lines that it is made of and its tax parts: price, share of days, discounts, items, credits; 0 if the gateway would not charge it. What it uses of the adjustments is taken off them.';
drop function if exists billd_internal.period_price(billd.subscription, timestamptz, timestamptz, timestamptz);
