-- The rate cap is the book's: daemons that were given different ones keep the strictest.
alter table billd.rate_limit
    add column per_second integer,
    add constraint rate_limit_per_second check (per_second between 1 and 10000);
comment on column billd.rate_limit.per_second is
    'Most charges a second over all daemons: the strictest gateway.rate_per_second that any of them was started with. Null is no cap. To raise or end it, change the setting of all daemons, then this.';
comment on constraint rate_limit_per_second on billd.rate_limit is
    'A cap is between 1 and 10000 charges a second, or null for none';
