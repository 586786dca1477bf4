-- Takes charges and refunds by hand away, with all that is written in their tables.
drop view billd.attention;
create view billd.attention as
select 'unknown'::text as kind, a.subscription_id, a.merchant_uid, a.started_at as since,
       coalesce(a.reason, 'started') as reason, a.message,
       case when a.parked_at is null then 'billd is asking the gateway; nothing to do yet'
            else 'look the payment up in the console; see OPERATIONS.md, parked attempts' end as what_to_do
from billd.charge_attempt a
where a.state = 'unknown' and a.ask_at is not null
union all
select 'past_due', s.id, billd.last_attempt(s.id, s.period), s.last_result_at, s.state_reason, s.last_message,
       'ask the customer for a card, then set state to active'
from billd.subscription s
where s.state = 'past_due'
union all
select 'paid_twice', p.subscription_id, p.merchant_uids[1], null, p.payments || ' payments', null,
       'give the surplus back'
from billd.paid_twice p
union all
select 'stuck', s.id, billd.last_attempt(s.id, s.period), s.last_result_at, 'active, but nothing is planned', null,
       'set next_charge_at'
from billd.subscription s
where s.state = 'active' and s.next_charge_at is null and s.open_attempt is null and not s.recheck
union all
select 'stuck', s.id, billd.last_attempt(s.id, s.period), s.last_result_at, 'all 99 attempts are used', null,
       'void the billing_cycle of this period'
from billd.subscription s
where s.state = 'active' and s.next_charge_at <= billd.now() and s.attempts >= 99;
comment on view billd.attention is 'What waits for the gateway or for a person, oldest first if you order by since.';
drop table billd.refund, billd.hand_charge;
drop trigger first_payment_failed on billd.charge_attempt;
drop trigger charge_attempt_terms_never_change on billd.charge_attempt;
create trigger charge_attempt_terms_never_change after update on billd.charge_attempt
    for each row
    when ((old.merchant_uid, old.subscription_id, old.period, old.attempt_no, old.amount,
           old.currency, old.customer_uid)
          is distinct from
          (new.merchant_uid, new.subscription_id, new.period, new.attempt_no, new.amount,
           new.currency, new.customer_uid))
    execute function billd.refuse(
        'the terms of a charge attempt never change: the gateway was asked for exactly these',
        'Change billd.subscription (for the next period) or billd.billing_cycle (for the next attempt).');
alter table billd.charge_attempt drop column by_card;
drop function billd.refund_guard, billd.refund_balance_guard, billd.first_payment_failed;
