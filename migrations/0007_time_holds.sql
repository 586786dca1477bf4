-- Apart from the change itself, so that nobody waits while all rows are looked at.

alter table billd.subscription validate constraint amount_is_between_0_and_1000000000;
alter table billd.billing_cycle
    validate constraint billing_cycle_state_is_known,
    validate constraint billing_cycle_amount_is_between_0_and_1000000000,
    validate constraint billing_cycle_is_closed_when_terminal,
    validate constraint billing_cycle_ends_after_it_begins;
