-- Takes the whole book away. The schema itself stays: it holds the list of migrations.
drop view billd.attention, billd.paid_twice;
drop table billd.charge_attempt, billd.billing_cycle, billd.subscription, billd.rate_limit, billd.clock_shift;
drop function billd.charge_attempt_closed, billd.billing_cycle_voided, billd.subscription_state_changed, billd.billing_cycle_guard,
    billd.charge_attempt_guard, billd.merchant_uid, billd.subscription_fill, billd.refuse, billd.now;
