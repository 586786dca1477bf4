-- Who changed what of an agreement. What billd derives, claims and records is in the debts and attempts.

create or replace function billd_internal.agreement(s billd.subscription) returns jsonb
language sql stable
as $$
    select to_jsonb(s) - array['id', 'created_at', 'period', 'due_at', 'until_at', 'settled_until', 'paid_until',
        'attempts', 'declines', 'open_attempt', 'fence', 'row_version', 'recheck', 'adjusted', 'next_change_at',
        'last_result', 'last_result_at', 'last_reason', 'last_message']
$$;
comment on function billd_internal.agreement(billd.subscription) is
    'What of a subscription people write, next_charge_at among it, and not what billd derives.';

create or replace function billd_internal.note_history(
    before billd.subscription, after billd.subscription, verb text, note text
) returns void
language sql volatile
as $$
    insert into billd.history (subscription_id, verb, note, before, after)
    select after.id, verb, note, coalesce(jsonb_object_agg(o.key, o.value) filter (where o.key is not null), '{}'),
        coalesce(jsonb_object_agg(o.key, n.value) filter (where o.key is not null), '{}')
    from (select) one
    left join (jsonb_each(billd_internal.agreement(before)) o
        join jsonb_each(billd_internal.agreement(after)) n on n.key = o.key and n.value <> o.value) on true
$$;
comment on function billd_internal.note_history(billd.subscription, billd.subscription, text, text) is
    'Writes down what was changed, by whom and why: the columns that differ, and no others.';

create or replace function billd_internal.note_update(old billd.subscription, new billd.subscription) returns void
language plpgsql volatile
as $$
begin
    if not billd_internal.writes_as_0_1() and billd_internal.agreement(old) <> billd_internal.agreement(new) then
        perform billd_internal.note_history(old, new, 'update', null);
    end if;
end
$$;
comment on function billd_internal.note_update(billd.subscription, billd.subscription) is
    'Writes a plain update of an agreement down.';

create or replace trigger history_is_kept before update or delete on billd.history
    for each row
    execute function billd_internal.refuse(
        'history is only added to: it says who changed what', 'There is nothing to do.');
create or replace trigger history_is_not_truncated before truncate on billd.history
    for each statement
    execute function billd_internal.refuse(
        'history is only added to: it says who changed what', 'There is nothing to do.');
