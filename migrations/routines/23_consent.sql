-- Consent to a higher price, and to a price after a free time. Judged by civil dates in Seoul.

create or replace function billd_internal.consent_is_enforced() returns boolean
language sql stable
as $$ select c.consent = 'enforce' from billd.control c $$;
comment on function billd_internal.consent_is_enforced() is 'Whether nothing dearer is charged without consent.';

create or replace function billd_internal.has_consent(s uuid, kind text, amount bigint, at timestamptz) returns boolean
language sql stable
as $$
    select exists (
        select from billd.consent c
        cross join lateral (select (c.given_at at time zone 'Asia/Seoul')::date as given_on,
            (has_consent.at at time zone 'Asia/Seoul')::date as on_day) d
        where c.subscription_id = s and c.kind = has_consent.kind and c.withdrawn_at is null
          and coalesce(c.new_amount >= has_consent.amount, true)
          and case when c.kind = 'notice' then d.given_on <= d.on_day - 7
              else c.effective_on <= d.on_day and d.given_on >= c.effective_on - 30
                  and d.given_on < c.effective_on + (c.method = 'by_payer')::int end
          -- It was for this step, and not for one that was billed before.
          and c.effective_on >= coalesce((
              select max((b.due_at at time zone 'Asia/Seoul')::date) from billd.billing_cycle b
              where b.subscription_id = s and b.state in ('due', 'unresolved', 'paid', 'free', 'uncollectible')
                and b.due_at < has_consent.at and b.reason is distinct from 'gift'), '-infinity'))
$$;
comment on function billd_internal.has_consent(uuid, text, bigint, timestamptz) is
    'Whether a price may be charged for a period that begins then: consent that was given within the 30 days before, or a notice a week before.';

create or replace function billd_internal.may_follow_free_time(s billd.subscription, from_at timestamptz) returns boolean
language sql stable
as $$
    select billd_internal.has_consent(s.id, 'conversion', s.amount, from_at)
        and billd_internal.has_consent(s.id, 'notice', s.amount, from_at)
$$;
comment on function billd_internal.may_follow_free_time(billd.subscription, timestamptz) is
    'Whether consent and notice are there for the first price after a free time.';

create or replace function billd_internal.change_waits(
    s billd.subscription, p billd.planned_change, from_at timestamptz
) returns boolean
language sql stable
as $$
    select case when p.kind = 'plan' and s.amount >= billd_internal.least_amount(s.currency)
            and (p.change ->> 'amount')::bigint > s.amount and billd_internal.consent_is_enforced()
        then not billd_internal.has_consent(s.id, 'increase', (p.change ->> 'amount')::bigint, from_at)
        else false end
$$;
comment on function billd_internal.change_waits(billd.subscription, billd.planned_change, timestamptz) is
    'Whether a planned rise waits for consent; the old price is charged until it is there.';

create or replace function billd_internal.need_consent(old billd.subscription, new billd.subscription) returns void
language plpgsql stable
as $$
begin
    if old.amount >= 100 and old.state <> 'cancelled' and billd_internal.consent_is_enforced()
        and not billd_internal.has_consent(new.id, 'increase', new.amount, greatest(new.settled_until, billd.now()))
    then
        perform billd_internal.refuse_change(format('a rise from %s to %s needs the payer''s consent', old.amount, new.amount),
            'rise_needs_consent',
            'Plan it with billd.change_plan, and write the consent down with billd.record_consent.');
    end if;
end
$$;
comment on function billd_internal.need_consent(billd.subscription, billd.subscription) is
    'Refuses a plain rise of price while consent is enforced.';

create or replace function billd.record_consent(
    s uuid, kind text, new_amount bigint, effective_on date, given_at timestamptz, method text, evidence text default null
) returns bigint
language plpgsql volatile
as $$
declare
    r billd.subscription := billd_internal.lock_subscription(s);
    new_id bigint;
begin
    insert into billd.consent (subscription_id, kind, old_amount, new_amount, effective_on, given_at, method, evidence)
    values (s, record_consent.kind, r.amount, record_consent.new_amount, record_consent.effective_on,
        record_consent.given_at, record_consent.method, record_consent.evidence)
    returning id into new_id;
    perform billd_internal.consent_changed(r, 'record_consent', format('%s, number %s', record_consent.kind, new_id));
    return new_id;
end
$$;
comment on function billd.record_consent(uuid, text, bigint, date, timestamptz, text, text) is
    'Writes down what the payer agreed to (increase, conversion) or was told (notice). Moves no money; what waited for it goes on. Consent counts if it was given within the 30 days before effective_on, a notice if a week before.';

create or replace function billd.withdraw_consent(id bigint) returns void
language plpgsql volatile
as $$
declare
    c billd.consent;
begin
    update billd.consent t set withdrawn_at = billd.now()
    where t.id = withdraw_consent.id and t.withdrawn_at is null returning t.* into c;
    if c.id is null then
        raise exception 'there is no consent % that counts', withdraw_consent.id
            using errcode = 'no_data_found', constraint = 'consent_is_there', hint = 'billd.consent lists them.';
    end if;
    perform billd_internal.consent_changed(
        billd_internal.lock_subscription(c.subscription_id), 'withdraw_consent', format('%s, number %s', c.kind, c.id));
end
$$;
comment on function billd.withdraw_consent(bigint) is
    'Notes that the payer has withdrawn. From the next period on it doesn''t count; what is billed stays billed.';

create or replace function billd_internal.consent_changed(r billd.subscription, verb text, note text) returns void
language plpgsql volatile
as $$
declare
    writer text := billd_internal.write_as('plan');
begin
    perform billd_internal.note_history(r, r, verb, note);
    update billd.subscription t set recheck = true where t.id = r.id;
    perform billd_internal.replan(r.id, (select c.catch_up_pace from billd.control c));
    perform billd_internal.write_as(writer);
end
$$;
comment on function billd_internal.consent_changed(billd.subscription, text, text) is
    'What follows is derived again, because consent decides it.';
