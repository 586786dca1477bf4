-- Old history.

create or replace procedure billd.forget_before(day date, batch int default 1000)
language plpgsql
as $$
declare
    ids uuid[];
    last_id uuid := '00000000-0000-0000-0000-000000000000';
begin
    if day is null or day > (billd.now() - interval '1 year')::date then
        raise exception 'what is younger than a year is not forgotten'
            using errcode = 'check_violation', constraint = 'history_is_kept_for_a_year',
                  hint = 'A payment can be given back, disputed or audited for that long.';
    end if;
    loop
        -- Locked like a claim does, and what a claim holds is left for the next time.
        select array_agg(t.id order by t.id), (array_agg(t.id order by t.id desc))[1] into ids, last_id
        from (
            select s.id from billd.subscription s
            where s.id > last_id order by s.id limit batch
        ) t;
        exit when ids is null;
        perform set_config('billd.forgetting', 'on', true);
        -- Compiling such a plan takes longer than running it.
        perform set_config('jit', 'off', true);
        with held as materialized (
            select s.id, s.period from billd.subscription s
            where s.id = any (ids) and s.open_attempt is null and not s.recheck
            for no key update skip locked
        ),
        debt as (
            delete from billd.billing_cycle c
            using held h
            where c.subscription_id = h.id and c.period < least(day, h.period)
              and c.state in ('paid', 'uncollectible', 'void') and c.closed_at < day
              and not billd_internal.has_open_attempt(c.subscription_id, c.period)
            returning c.subscription_id, c.period
        )
        delete from billd.charge_attempt a
        using debt d
        where a.merchant_uid between billd.merchant_uid(d.subscription_id, d.period, 0)
            and billd.merchant_uid(d.subscription_id, d.period, 99);
        perform set_config('billd.forgetting', 'off', true);
        commit;
    end loop;
    call billd_internal.forget_webhooks(day, batch);
    call billd_internal.forget_events(day, batch);
end
$$;
comment on procedure billd.forget_before(date, int) is
    'Deletes closed debts of periods before a day, and their attempts, and events that every consumer has read and what became of them at endpoints, in short transactions; safe to stop and to run again. Never the current period of a subscription, so no merchant_uid can be made a second time. Keep a copy if the law asks for one.';
