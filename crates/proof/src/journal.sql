-- The journal: every write of the book, by whom it was and when, kept by triggers that the daemons
-- neither see nor can evade. Apply it as a superuser to a migrated database; the daemons' roles need
-- no rights on schema proof, since the triggers run with their owner's.
--
-- `at` is the real clock, and lies before the commit. With track_commit_timestamp = on the reader of
-- the journal asks PostgreSQL for the commit's own time by `xid`.

create schema proof;
comment on schema proof is 'What the judge of the proof reads. Not part of billd.';

create table proof.journal (
    id bigint generated always as identity constraint journal_pkey primary key,
    at timestamptz not null default clock_timestamp(),
    began timestamptz not null default statement_timestamp(),
    xid xid not null default pg_current_xact_id()::xid,
    who text not null default session_user,
    table_name text not null,
    old jsonb,
    new jsonb
);
comment on table proof.journal is 'One row per row that was inserted, changed or deleted.';
comment on column proof.journal.began is 'When the statement that was sent began: billd''s time within it, but for the shift.';
comment on column proof.journal.who is
    'The role that logged in. Not current_user, which is the owner of the trigger here.';

create function proof.note() returns trigger
language plpgsql security definer set search_path = pg_catalog
as $$
begin
    insert into proof.journal (table_name, old, new)
    values (
        tg_table_name,
        case when tg_op <> 'INSERT' then to_jsonb(old) end,
        case when tg_op <> 'DELETE' then to_jsonb(new) end);
    return null;
end
$$;

-- Their name comes first in the alphabet, so what a statement did is noted before what its triggers did.
-- A statement that sets a column to what it is, as the claim does with an existing cycle, changes
-- nothing.
create trigger a_proof_note after insert or delete on billd.subscription
    for each row execute function proof.note();
create trigger a_proof_note_change after update on billd.subscription
    for each row when (old is distinct from new) execute function proof.note();
create trigger a_proof_note after insert or delete on billd.billing_cycle
    for each row execute function proof.note();
create trigger a_proof_note_change after update on billd.billing_cycle
    for each row when (old is distinct from new) execute function proof.note();
create trigger a_proof_note after insert or delete on billd.charge_attempt
    for each row execute function proof.note();
create trigger a_proof_note_change after update on billd.charge_attempt
    for each row when (old is distinct from new) execute function proof.note();
create trigger a_proof_note after insert or delete on billd.refund
    for each row execute function proof.note();
create trigger a_proof_note_change after update on billd.refund
    for each row when (old is distinct from new) execute function proof.note();

-- The shift as it works at this moment: an interval of months has another length on another day.
create function proof.note_shift() returns trigger
language plpgsql security definer set search_path = pg_catalog
as $$
declare
    now constant timestamptz := clock_timestamp();
begin
    insert into proof.journal (table_name, old, new)
    values (
        'clock_shift',
        jsonb_build_object('shift_us', (extract(epoch from now + old.clock_shift - now) * 1000000)::bigint),
        jsonb_build_object('shift_us', (extract(epoch from now + new.clock_shift - now) * 1000000)::bigint));
    return null;
end
$$;
create trigger a_proof_note after update on billd.control
    for each row when (old.clock_shift <> new.clock_shift) execute function proof.note_shift();
