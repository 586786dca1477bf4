-- What serves as a version of the row for programs that write whole rows, and the pace that triggers go by.

alter table billd.subscription
    add column row_version bigint not null default 0,
    -- Held by a trigger (subscription_amount_and_tax): a check would refuse an amount before its parts can follow.
    drop constraint tax_free_is_within_amount,
    drop constraint vat_amount_is_within_amount;
comment on column billd.subscription.row_version is
    'A version column for ORMs: every write raises it. A program that writes it, writes one more than it has read; any other number is a row that was read too early, and is refused.';

alter table billd.control add column catch_up_pace interval not null default '1 hour';
comment on column billd.control.catch_up_pace is
    'How far apart missed periods are charged. Written by the daemon, from its setting engine.catch_up_interval; triggers go by it too.';
