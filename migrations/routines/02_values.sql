-- What may stand in the columns that people write: texts, currencies, dates. Judged when they are written, by an insert,
-- a plain update or a verb, so that it costs no charge anything.

create or replace function billd_internal.is_currency(code text) returns boolean
language sql immutable parallel safe
as $$
    -- The same as in src/domain/money.rs; a test compares them.
    select length(code) = 3 and position(' ' || code || ' ' in
        ' AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF '
        'CHE CHF CHW CLF CLP CNY COP COU CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF '
        'GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD '
        'LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP '
        'PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP '
        'TRY TTD TWD TZS UAH UGX USD USN UYI UYU UYW UZS VED VES VND VUV WST XAF XCD XOF XPF YER ZAR ZMW ZWG ') > 0
$$;
comment on function billd_internal.is_currency(text) is 'Whether this is a currency of ISO 4217, whose minor unit is known.';

create or replace function billd_internal.composed(said text) returns text
language plpgsql immutable parallel safe
as $$
begin
    -- In another encoding there is nothing to compose.
    return case when getdatabaseencoding() = 'UTF8' then normalize(said, NFC) else said end;
end
$$;
comment on function billd_internal.composed(text) is
    'A text in the form in which one syllable is one character (NFC). macOS decomposes Hangul: then 20 syllables count as 60.';

create or replace function billd_internal.text_fault(said text, is_id boolean) returns text
language sql immutable parallel safe
as $$
    select case
        when said ~ '[\u0001-\u001f\u007f-\u009f\u2028\u2029]' then 'has a control character: '
            || case when said ~ '\r' then 'a carriage return, of the line ends of a file' else 'a line break or a tab, for instance' end
        when said ~ '[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffc]'
            or is_id and said ~ '[\u200c\u200d]' then 'has a character that can''t be seen'
        when is_id and said ~ '^[ \u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]|[ \u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]$'
            then 'begins or ends with a blank'
        when said ~ '^[ \u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]+$' then 'is blank'
    end
$$;
comment on function billd_internal.text_fault(text, boolean) is
    'What makes a text another one than it looks like; null if nothing does. An id must not have blanks around it either.';

create or replace function billd_internal.judge_texts(s billd.subscription, columns text[]) returns void
language plpgsql immutable
as $$
declare
    texts text collate "C" := concat_ws('.', s.customer_uid, s.external_id, s.channel_key, s.name, s.buyer_name,
        s.buyer_email, s.buyer_tel, s.buyer_addr, s.buyer_postcode);
    bad record;
begin
    -- Nearly all texts are what they look like: one look for all of them.
    if texts ~ '^[ -~\uac00-\ud7a3]*$' and texts !~ '(^| )(\.|$)|(^|\.) ' then
        return;
    end if;
    select t.name, f.fault into bad
    from (values ('customer_uid', s.customer_uid, true), ('external_id', s.external_id, true),
        ('channel_key', s.channel_key, true), ('name', s.name, false), ('buyer_name', s.buyer_name, false),
        ('buyer_email', s.buyer_email, false), ('buyer_tel', s.buyer_tel, false), ('buyer_addr', s.buyer_addr, false),
        ('buyer_postcode', s.buyer_postcode, false)) t (name, said, is_id)
    cross join lateral (select billd_internal.text_fault(t.said, t.is_id) offset 0) f (fault)
    where t.name = any (columns) and f.fault is not null
    limit 1;
    if found then
        perform billd_internal.refuse_change(format('%s %s', bad.name, bad.fault), 'texts_are_as_they_look',
            'Write it as the gateway knows it: without line ends, control characters, characters that can''t be seen, or blanks around it.');
    end if;
end
$$;
comment on function billd_internal.judge_texts(billd.subscription, text[]) is
    'Refuses texts that are others than they look like, in these columns.';

create or replace function billd_internal.is_readable(at timestamptz) returns boolean
language sql immutable parallel safe
as $$ select at is null or at >= timestamptz '2000-01-01 00:00Z' and at < timestamptz '2100-01-01 00:00Z' $$;
comment on function billd_internal.is_readable(timestamptz) is
    'Whether a date is one that a book has: neither a slip by a digit nor infinity. Periods are named from 2000 to 2099.';

create or replace function billd_internal.has_readable_dates(s billd.subscription) returns boolean
language sql immutable parallel safe
as $$
    select billd_internal.is_readable(least(s.anchor_at, s.next_charge_at, s.due_at, s.settled_until, s.paid_until, s.trial_until, s.ends_at))
        and billd_internal.is_readable(greatest(s.anchor_at, s.next_charge_at, s.due_at, s.settled_until, s.paid_until, s.trial_until, s.ends_at))
        -- An interval is up to 366 years.
        and coalesce(s.until_at >= timestamptz '2000-01-01 00:00Z' and s.until_at < timestamptz '2500-01-01 00:00Z', true)
$$;
comment on function billd_internal.has_readable_dates(billd.subscription) is 'Whether all its dates are ones that a book has.';

create or replace function billd_internal.date_columns() returns text[]
language sql immutable parallel safe
as $$ select '{anchor_at,next_charge_at,due_at,until_at,settled_until,paid_until,trial_until,ends_at}'::text[] $$;
comment on function billd_internal.date_columns() is 'The dates of a subscription that people say, or that follow from them.';

create or replace function billd_internal.unreadable_date(s billd.subscription, columns text[]) returns text
language sql immutable parallel safe
as $$
    select format('%s is %s', t.name, t.at)
    from (values ('anchor_at', s.anchor_at), ('next_charge_at', s.next_charge_at), ('due_at', s.due_at),
        ('settled_until', s.settled_until), ('paid_until', s.paid_until), ('trial_until', s.trial_until),
        ('ends_at', s.ends_at),
        ('until_at', case when s.until_at >= '2100-01-01' and s.until_at < '2500-01-01' then null else s.until_at end)) t (name, at)
    where not billd_internal.is_readable(t.at) and t.name = any (columns)
    limit 1
$$;
comment on function billd_internal.unreadable_date(billd.subscription, text[]) is
    'The first of these columns whose date no book has, and what it says; null if there is none.';

create or replace function billd_internal.refuse_date(said text) returns void
language plpgsql immutable
as $$
begin
    if said is not null then
        perform billd_internal.refuse_change(said || ': not between 2000-01-01 and 2099-12-31', 'dates_are_of_this_century',
            'Look at the year. What has no end or no date is null, and not infinity.');
    end if;
end
$$;
comment on function billd_internal.refuse_date(text) is 'Refuses a date that no book has.';

create or replace function billd_internal.judge_values(inout s billd.subscription, columns text[])
language plpgsql stable
as $$
begin
    if concat(s.name, s.buyer_name, s.buyer_addr) collate "C" !~ '^[ -~\uac00-\ud7a3]*$' then
        s.name := billd_internal.composed(s.name);
        s.buyer_name := billd_internal.composed(s.buyer_name);
        s.buyer_addr := billd_internal.composed(s.buyer_addr);
    end if;
    perform billd_internal.judge_texts(s, columns);
    if not billd_internal.has_readable_dates(s) then
        perform billd_internal.refuse_date(billd_internal.unreadable_date(s, columns));
    end if;
    if 'time_zone' = any (columns) then
        perform billd_internal.try_zone(s.time_zone);
    end if;
    if s.currency <> 'KRW' and 'currency' = any (columns) and not billd_internal.is_currency(s.currency) then
        perform billd_internal.refuse_change(format('%s is no currency of ISO 4217', s.currency), 'currency_is_known',
            'Nobody knows its minor unit, and a wrong one costs a power of ten. KRW is one.');
    end if;
    if s.upcoming_days not between 0 and 60 then
        perform billd_internal.refuse_change(format('upcoming_days is %s', s.upcoming_days), 'upcoming_days_are_0_to_60',
            'So many days ahead each charge is told: 0 to 60, or null for what billd.control says.');
    end if;
end
$$;
comment on function billd_internal.judge_values(billd.subscription, text[]) is
    'Refuses values that these columns can''t have, and composes names.';

create or replace function billd_internal.planned_change_is_sound() returns trigger
language plpgsql
as $$
declare
    s billd.subscription;
begin
    if not billd_internal.is_readable(new.effective_at) then
        perform billd_internal.refuse_date(format('effective_at is %s', new.effective_at));
    end if;
    if new.change ? 'name' then
        s.name := new.change ->> 'name';
        s := billd_internal.judge_values(s, '{name}');
        new.change := new.change || jsonb_build_object('name', s.name);
    end if;
    return new;
end
$$;
comment on function billd_internal.planned_change_is_sound() is 'Judges what is planned when it is written, and not when it acts.';
create or replace trigger planned_change_is_sound before insert or update of effective_at, change on billd.planned_change
    for each row execute function billd_internal.planned_change_is_sound();
