-- Takes the whole book away. The schema itself stays: it holds the list of migrations.
drop view billd.attention, billd.paid_twice, billd.under_way;
drop function billd.has_open_attempt, billd.open_attempt_beside, billd.last_attempt, billd.is_in_hand,
    billd.attempts_of;
drop procedure billd.forget_before;
drop table billd.charge_attempt, billd.billing_cycle, billd.subscription, billd.rate_limit,
    billd.server, billd.clock_shift;
drop function billd.charge_attempt_closed, billd.billing_cycle_voided, billd.subscription_left_its_turn,
    billd.begun_before, billd.needs_fresh_snapshots, billd.subscription_state_changed, billd.billing_cycle_guard,
    billd.billing_cycle_belongs, billd.subscription_has_debts, billd.charge_attempt_guard, billd.merchant_uid,
    billd.subscription_fill, billd.new_id, billd.refuse, billd.charge_attempt_reopened,
    billd.at_rest, billd.server_name, billd.next_fence, billd.now;
drop domain billd.currency, billd.time_zone, billd.gateway_options;
