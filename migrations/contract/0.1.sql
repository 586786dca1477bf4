-- What billd 0.1 called by name. Applied by billd migrate once no daemon of that version is connected any more.

drop trigger if exists charge_attempt_of_0_1_is_noted on billd.charge_attempt;
drop function if exists billd_internal.note_claim_of_0_1();
drop trigger if exists subscription_left_its_turn on billd.subscription;
drop function if exists billd.subscription_left_its_turn();
drop function if exists billd.at_rest(interval);
drop function if exists billd.begun_before(text[]);
drop function if exists billd.is_in_hand(uuid, date);
drop function if exists billd.has_open_attempt(uuid, date);
drop function if exists billd.open_attempt_beside(billd.charge_attempt);
drop function if exists billd.last_attempt(uuid, date);
drop function if exists billd.needs_fresh_snapshots();
drop function if exists billd.server_name();
drop view if exists billd.server;
drop view if exists billd.clock_shift;
drop function if exists billd.next_fence(bigint);
drop view if exists billd.asked_for;
drop view if exists billd.hand_charge;
drop table if exists billd.hand_charge_moved;
drop function if exists billd_internal.begin_one_off_of_0_1();
drop trigger if exists subscription_of_0_1_has_its_end on billd.subscription;
drop function if exists billd_internal.end_move_of_0_1();
drop procedure if exists billd_internal.fill_time(int);
drop trigger if exists told_debt_of_0_1 on billd.billing_cycle;

-- Only once: each of these locks the whole table.
do $$
begin
    if exists (
        select from pg_attribute
        where attrelid = 'billd.subscription'::regclass and attname = 'paused_at' and not attisdropped
    ) then
        alter table billd.subscription
            alter column settled_until set not null,
            alter column catch_up set not null,
            drop column paused_at,
            drop column resumed_at;
        alter table billd.billing_cycle alter column until_at set not null;
    end if;
end
$$;
