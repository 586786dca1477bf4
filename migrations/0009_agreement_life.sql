-- What people plan, give and agree to: changes that lie ahead, discounts, items and credits, consent, and who did what.

alter table billd.subscription
    add column next_change_at timestamptz,
    add column on_refund text not null default 'go_on',
    add constraint on_refund_is_go_on_or_end check (on_refund in ('go_on', 'end')) not valid;
comment on column billd.subscription.next_change_at is
    'When the next planned change acts (billd.planned_change); null if none lies ahead.';
comment on column billd.subscription.on_refund is
    'What it means for the agreement if a payment is given back in full at the console. go_on: nothing. end: it is cancelled.';
create index subscription_to_change on billd.subscription (next_change_at) where next_change_at is not null;
comment on index billd.subscription_to_change is 'Finds rows whose planned change acts now. A row without plans is not in it.';

alter table billd.billing_cycle add column made_of jsonb;
comment on column billd.billing_cycle.made_of is
    'How the sum came about, as lines that sum up to it: price, days, discount, item, credit, least. Null: the plain price.';

alter table billd.control
    add column consent text not null default 'tell',
    add constraint consent_is_off_tell_or_enforce check (consent in ('off', 'tell', 'enforce'));
comment on column billd.control.consent is
    'What is done without the payer''s consent to a higher price, or to a price after a free time. off: nothing. tell: billd.attention says so. enforce: the old price is charged, and what was free waits.';

create table billd.planned_change (
    id bigint generated always as identity constraint planned_change_pkey primary key,
    subscription_id uuid not null,
    kind text not null,
    effective_at timestamptz,
    change jsonb not null default '{}',
    state text not null default 'pending',
    reason text,
    made_by text not null default session_user,
    made_at timestamptz not null default billd.now(),
    constraint planned_change_kind_is_known check (kind in ('plan', 'pause', 'resume', 'skip', 'by_day')),
    constraint planned_change_state_is_known check (state in ('pending', 'applied', 'taken_back', 'lapsed')),
    constraint planned_change_of_service_has_its_time check (kind not in ('pause', 'resume') or effective_at is not null),
    constraint planned_change_changes_only_the_plan check (
        jsonb_typeof(change) = 'object' and (kind = 'plan') = (change <> '{}')
        and change - array['amount', 'name', 'interval_unit', 'interval_count', 'tax_free', 'vat_amount'] = '{}')
);
comment on table billd.planned_change is
    'What will change, and when. The verbs write it; the daemon applies it on time, and billd.take_back takes it back.';
comment on column billd.planned_change.id is 'Names it to billd.take_back.';
comment on column billd.planned_change.subscription_id is 'Whose.';
comment on column billd.planned_change.kind is
    'plan: price, name or interval. pause, resume. skip: one period is passed over. by_day: the days up to the next billing day are charged by the day.';
comment on column billd.planned_change.effective_at is
    'When it acts, however late it is applied. Null: when the next period begins.';
comment on column billd.planned_change.change is 'For a plan: the columns of billd.subscription that it sets, and to what.';
comment on column billd.planned_change.state is
    'pending; applied; taken_back by a person; lapsed: when its time came it had no meaning any more.';
comment on column billd.planned_change.reason is 'Why it was planned, or why it lapsed.';
comment on column billd.planned_change.made_by is 'The role that planned it.';
comment on column billd.planned_change.made_at is 'When it was planned.';
comment on constraint planned_change_pkey on billd.planned_change is 'One number each.';
comment on constraint planned_change_kind_is_known on billd.planned_change is 'plan, pause, resume, skip or by_day.';
comment on constraint planned_change_state_is_known on billd.planned_change is 'pending, applied, taken_back or lapsed.';
comment on constraint planned_change_of_service_has_its_time on billd.planned_change is 'A pause and its end act at an instant.';
comment on constraint planned_change_changes_only_the_plan on billd.planned_change is
    'A plan sets price, tax, name or interval, and nothing else; the other kinds set nothing.';
create index planned_change_pending on billd.planned_change (subscription_id) where state = 'pending';
comment on index billd.planned_change_pending is 'What is still ahead of a subscription.';

create table billd.adjustment (
    id bigint generated always as identity constraint adjustment_pkey primary key,
    subscription_id uuid not null,
    kind text not null,
    name text not null,
    sum bigint,
    share_bp int,
    tax_free bigint,
    vat_amount bigint,
    currency billd.currency not null,
    periods_left int,
    remaining bigint,
    made_by text not null default session_user,
    made_at timestamptz not null default billd.now(),
    constraint adjustment_kind_is_known check (kind in ('discount', 'item', 'credit')),
    constraint adjustment_is_a_sum_or_a_share check ((sum is null) <> (share_bp is null) and (share_bp is null or kind = 'discount')),
    constraint adjustment_sum_is_between_1_and_1000000000 check (sum between 1 and 1000000000),
    constraint adjustment_share_is_at_most_all check (share_bp between 1 and 10000),
    constraint adjustment_remains_until_used check (
        case when kind = 'discount' then remaining is null and periods_left >= 0 is not false
             else coalesce(remaining between 0 and sum, false) and periods_left is null end),
    constraint adjustment_tax_is_within_the_sum check (
        tax_free is null and vat_amount is null
        or kind = 'item' and coalesce(tax_free, 0) >= 0 and coalesce(vat_amount, 0) >= 0
            and coalesce(tax_free, 0) + coalesce(vat_amount, 0) <= sum)
);
comment on table billd.adjustment is
    'What makes a period cost more or less than its price: discounts, one-off items, credits. Used in the order of id when a period is opened; a debt that becomes void gives them back.';
comment on column billd.adjustment.id is 'Its number; the lines of billing_cycle.made_of name it.';
comment on column billd.adjustment.subscription_id is 'Whose.';
comment on column billd.adjustment.kind is 'discount: off the price. item: once on top. credit: off the sum, until it is used up.';
comment on column billd.adjustment.name is 'What the payer reads.';
comment on column billd.adjustment.sum is 'How much, in minor units; null for a share.';
comment on column billd.adjustment.share_bp is 'Which share of the price, in hundredths of a per cent.';
comment on column billd.adjustment.tax_free is 'The tax free part of an item.';
comment on column billd.adjustment.vat_amount is 'The VAT in an item.';
comment on column billd.adjustment.currency is 'Of the sum: that of the subscription.';
comment on column billd.adjustment.periods_left is 'For how many more periods a discount is given; null: for ever.';
comment on column billd.adjustment.remaining is 'What of an item or a credit is not used yet.';
comment on column billd.adjustment.made_by is 'The role that gave it.';
comment on column billd.adjustment.made_at is 'When it was given.';
comment on constraint adjustment_pkey on billd.adjustment is 'One number each.';
comment on constraint adjustment_kind_is_known on billd.adjustment is 'discount, item or credit.';
comment on constraint adjustment_is_a_sum_or_a_share on billd.adjustment is 'One of both; only a discount is a share.';
comment on constraint adjustment_sum_is_between_1_and_1000000000 on billd.adjustment is 'As much as may be charged at once.';
comment on constraint adjustment_share_is_at_most_all on billd.adjustment is 'At most the whole price.';
comment on constraint adjustment_remains_until_used on billd.adjustment is
    'A discount has periods left, an item or a credit a rest.';
comment on constraint adjustment_tax_is_within_the_sum on billd.adjustment is 'Only items say what of them is tax.';
create index adjustment_open on billd.adjustment (subscription_id)
    where coalesce(remaining, periods_left, 1) > 0;
comment on index billd.adjustment_open is 'What the next period of a subscription is made of.';

create table billd.consent (
    id bigint generated always as identity constraint consent_pkey primary key,
    subscription_id uuid not null,
    kind text not null,
    old_amount bigint,
    new_amount bigint,
    effective_on date not null,
    given_at timestamptz not null,
    method text not null,
    evidence text,
    withdrawn_at timestamptz,
    constraint consent_kind_is_known check (kind in ('increase', 'conversion', 'notice')),
    constraint consent_names_a_sum check (kind = 'notice' or coalesce(new_amount > 0, false))
);
comment on table billd.consent is
    'What the payer agreed to, and what the payer was told: the evidence for a higher price, or for a price after a free time.';
comment on column billd.consent.id is 'Names it to billd.withdraw_consent.';
comment on column billd.consent.subscription_id is 'Whose.';
comment on column billd.consent.kind is 'increase: to a higher price. conversion: to a price after a free time. notice: that the free time ends was told.';
comment on column billd.consent.old_amount is 'The price when it was given.';
comment on column billd.consent.new_amount is 'The price, at most, that was agreed to.';
comment on column billd.consent.effective_on is 'From which day, in Seoul, it is agreed to.';
comment on column billd.consent.given_at is 'When the payer agreed, or was told.';
comment on column billd.consent.method is 'How: app, web, phone, text, by_payer (the payer''s own upgrade).';
comment on column billd.consent.evidence is 'Where the proof is.';
comment on column billd.consent.withdrawn_at is 'When it was withdrawn; from then on it doesn''t count.';
comment on constraint consent_pkey on billd.consent is 'One number each.';
comment on constraint consent_kind_is_known on billd.consent is 'increase, conversion or notice.';
comment on constraint consent_names_a_sum on billd.consent is 'Consent is to a sum.';
create index consent_by_subscription on billd.consent (subscription_id);
comment on index billd.consent_by_subscription is 'What a payer agreed to.';

create table billd.history (
    id bigint generated always as identity constraint history_pkey primary key,
    subscription_id uuid not null,
    at timestamptz not null default billd.now(),
    session_role text not null default session_user,
    program text default nullif(current_setting('application_name', true), ''),
    verb text not null,
    note text,
    before jsonb not null default '{}',
    after jsonb not null default '{}'
);
comment on table billd.history is
    'Who changed what of an agreement. One row per verb, plain update or planned change that was applied; never changed, never deleted.';
comment on column billd.history.id is 'In order.';
comment on column billd.history.subscription_id is 'Whose.';
comment on column billd.history.at is 'When.';
comment on column billd.history.session_role is 'The role that was logged in.';
comment on column billd.history.program is 'application_name of that session.';
comment on column billd.history.verb is 'What was called; update for a plain update.';
comment on column billd.history.note is 'Why, in the words of who did it.';
comment on column billd.history.before is 'The columns that changed, as they were.';
comment on column billd.history.after is 'The same columns, as they are from then on.';
comment on constraint history_pkey on billd.history is 'One number each.';
create index history_by_subscription on billd.history (subscription_id, id);
comment on index billd.history_by_subscription is 'The story of one subscription.';

create type billd.forecast as (
    kind text, period date, from_at timestamptz, until_at timestamptz, ask_at timestamptz,
    amount bigint, currency text, made_of jsonb, remark text
);
comment on type billd.forecast is
    'What will follow. kind: debt (open already), charge, free, passed (nothing is billed), change, hold, owes, end.';
