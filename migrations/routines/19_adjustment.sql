-- Triggers of billd.adjustment, and what a debt that becomes void gives back.

create or replace function billd_internal.agreement_is_added_to() returns trigger
language plpgsql
as $$
begin
    update billd.subscription s set adjusted = true, recheck = true where s.id = new.subscription_id;
    if not found then
        raise exception 'there is no subscription %', new.subscription_id
            using errcode = 'foreign_key_violation', constraint = tg_name,
                  schema = tg_table_schema, table = tg_table_name;
    end if;
    return null;
end
$$;
comment on function billd_internal.agreement_is_added_to() is
    'Lets what follows be derived again after a plan, a discount, an item or a credit was written; refuses one of no subscription.';
create or replace trigger adjustment_belongs_to_a_subscription after insert or update on billd.adjustment
    for each row when (coalesce(current_setting('billd.writer', true), '') = '')
    execute function billd_internal.agreement_is_added_to();
create or replace trigger planned_change_belongs_to_a_subscription after insert or update on billd.planned_change
    for each row when (coalesce(current_setting('billd.writer', true), '') = '')
    execute function billd_internal.agreement_is_added_to();

create or replace function billd_internal.need_nothing_open(s uuid) returns void
language plpgsql stable
as $$
begin
    if cardinality(billd_internal.open_adjustments(s)) > 0 or exists (
        select from billd.billing_cycle c
        where c.subscription_id = s and c.state in ('due', 'unresolved', 'uncollectible'))
    then
        perform billd_internal.refuse_change('the currency can''t change while a debt, a credit or an item is open',
            'currency_stays_while_something_is_open', 'Cancel this agreement and make another one.');
    end if;
end
$$;
comment on function billd_internal.need_nothing_open(uuid) is 'Sums in one currency mean nothing in another.';

create or replace function billd_internal.debt_gives_back() returns trigger
language plpgsql
as $$
begin
    update billd.adjustment a
    set periods_left = case when a.kind = 'discount' then a.periods_left + 1 end,
        remaining = case when a.kind <> 'discount' then a.remaining + abs(l.sum) end
    from (
        select (x ->> 'id')::bigint as id, (x ->> 'sum')::bigint as sum
        from jsonb_array_elements(new.made_of) x where x ? 'id'
    ) l
    where a.id = l.id and a.subscription_id = new.subscription_id;
    update billd.subscription s set adjusted = true where s.id = new.subscription_id and not s.adjusted;
    return null;
end
$$;
comment on function billd_internal.debt_gives_back() is
    'A debt that becomes void gives credits, items and uses of a discount back.';
create or replace trigger billing_cycle_gives_back after update on billd.billing_cycle
    for each row
    when (new.made_of is not null and new.state = 'void' and old.state <> 'void')
    execute function billd_internal.debt_gives_back();
