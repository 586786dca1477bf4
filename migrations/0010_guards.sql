-- What stands between a slip and the customers' cards: the switch, the ceilings, the book's home.

alter table billd.control
    add column stopped_until timestamptz not null default '-infinity',
    add column home_cluster text,
    add column home_database oid,
    add column home_name text,
    add column home_account text,
    add column home_since timestamptz,
    add column home_by text,
    add column surge numeric,
    add column yes_at timestamptz not null default '-infinity',
    add column ceiling_round int not null default 0,
    add column least_ceiling bigint not null default 1000000,
    add column has_ceilings boolean not null default false,
    add constraint surge_is_more_than_1 check (surge > 1);
comment on column billd.control.stopped_until is
    'Charging is switched off until then (billd.stop_charging); infinity: until a person starts it. In the past: it is on. billd.charging_stop says why.';
comment on column billd.control.home_cluster is
    'The identifier of the cluster in which this book charges; null until it is charged for the first time. In any other place nothing is charged until billd.adopt.';
comment on column billd.control.home_database is 'The oid of the database in which it charges: a copy beside it has another.';
comment on column billd.control.home_name is 'The name of that database when it became the home; for people.';
comment on column billd.control.home_account is
    'The merchant account that it charges through: the beginning of a keyed hash of the gateway''s key, or sandbox. Null until a daemon that says its account has charged.';
comment on column billd.control.home_since is 'When this place became the home.';
comment on column billd.control.home_by is 'Who made it the home; null: the first charge did.';
comment on column billd.control.surge is
    'A sweep that begins with more than so many times yesterday''s attempts asks for a yes (billd.start_charging) before it charges anything. Null: never.';
comment on column billd.control.yes_at is 'When a person last said that charging may go on; what has been asked for that day is not asked for again.';
comment on column billd.control.ceiling_round is
    'Raised by each billd.start_charging: ceilings count what was begun since.';
comment on column billd.control.least_ceiling is
    'Of billd.ceiling, for claims: a sum up to this is above no charge_max, whatever its currency.';
comment on column billd.control.has_ceilings is 'Of billd.ceiling, for claims: whether there is one of an hour or a day.';

create table billd.charging_stop (
    id bigint generated always as identity constraint charging_stop_pkey primary key,
    why text not null,
    stopped_by text not null,
    stopped_at timestamptz not null default billd.now(),
    until_at timestamptz not null default 'infinity',
    started_by text,
    started_at timestamptz,
    constraint charging_stop_says_why check (why ~ '\S' and length(why) <= 1000),
    constraint charging_stop_lies_ahead check (until_at > stopped_at)
);
comment on table billd.charging_stop is
    'Each time that charging was switched off. No period that ended meanwhile counts as missed, whatever catch_up says.';
comment on column billd.charging_stop.why is 'As whoever switched it off said.';
comment on column billd.charging_stop.stopped_by is 'Who did: a role, or the name that was given; billd itself at a ceiling.';
comment on column billd.charging_stop.stopped_at is 'When.';
comment on column billd.charging_stop.until_at is 'When it comes back by itself; infinity: a person starts it.';
comment on column billd.charging_stop.started_by is 'Who started it before that.';
comment on column billd.charging_stop.started_at is 'When; null if nobody did, and until_at counts.';

create table billd.ceiling (
    currency text constraint ceiling_pkey primary key,
    charge_max bigint,
    hour_max bigint,
    day_max bigint,
    hour_charges_max int,
    day_charges_max int,
    constraint ceiling_currency_is_three_letters_or_any check (currency ~ '^([A-Z]{3}|any)$'),
    constraint ceiling_is_positive check (least(charge_max, hour_max, day_max, hour_charges_max, day_charges_max) > 0)
);
comment on table billd.ceiling is
    'Most that may be asked for, over all daemons, per currency; null: no ceiling. The row any holds for each currency that has no row. A debt above charge_max is held (billd.attention). The claim that would pass another one is not made, and switches charging off; hours are the clock''s, days those of Asia/Seoul.';
comment on column billd.ceiling.currency is 'ISO 4217, or any.';
comment on column billd.ceiling.charge_max is 'Most of one charge, in minor units.';
comment on column billd.ceiling.hour_max is 'Most of all charges that are begun in an hour, in minor units.';
comment on column billd.ceiling.day_max is 'Most of all charges that are begun in a day, in minor units.';
comment on column billd.ceiling.hour_charges_max is 'Most charges that are begun in an hour.';
comment on column billd.ceiling.day_charges_max is 'Most charges that are begun in a day.';
-- Ten million won, and about as much elsewhere.
insert into billd.ceiling (currency, charge_max) values ('KRW', 10000000), ('JPY', 1000000), ('any', 1000000);

create table billd_internal.asked (
    hour timestamptz not null,
    backend int not null,
    currency text not null,
    round int not null,
    charges bigint not null,
    amount numeric not null,
    constraint asked_pkey primary key (hour, backend, currency, round)
) with (fillfactor = 50);
comment on table billd_internal.asked is
    'What was begun, by the hour: attempts and their sums. A row per session, so that they need not wait for each other. Written only while billd.ceiling or control.surge needs it; kept for some days.';

-- A book that has charged does so at home. Whoever may not ask the server for its name leaves that to the first charge.
do $$
begin
    if exists (select from billd.charge_attempt) then
        update billd.control c
        set home_cluster = (select s.system_identifier::text from pg_control_system() s),
            home_database = (select d.oid from pg_database d where d.datname = current_database()),
            home_name = current_database(), home_since = billd.now();
    end if;
exception when insufficient_privilege then
    null;
end
$$;
