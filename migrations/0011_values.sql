-- Names count as they are stored: composed. And what a book is made of, so that what is missing can be named.
-- billd migrate looks at the rows for what is not valid yet, one constraint at a time, while all others work on.

alter table billd.subscription
    drop constraint name_has_1_to_40_characters,
    add constraint name_has_1_to_40_characters
        check (char_length(name) between 1 and 40 or char_length(normalize(name, NFC)) between 1 and 40) not valid,
    drop constraint buyer_name_has_at_most_16_characters,
    add constraint buyer_name_has_at_most_16_characters
        check (char_length(buyer_name) <= 16 or char_length(normalize(buyer_name, NFC)) <= 16) not valid,
    drop constraint buyer_addr_has_at_most_128_characters,
    add constraint buyer_addr_has_at_most_128_characters
        check (char_length(buyer_addr) <= 128 or char_length(normalize(buyer_addr, NFC)) <= 128) not valid;
comment on constraint name_has_1_to_40_characters on billd.subscription is
    'What the gateways take. It is stored composed; an update that says it decomposed is composed behind this.';
comment on constraint buyer_name_has_at_most_16_characters on billd.subscription is 'What the gateways take, composed.';
comment on constraint buyer_addr_has_at_most_128_characters on billd.subscription is 'What the gateways take, composed.';

alter table billd_internal.routines add column parts text[];
comment on column billd_internal.routines.parts is
    'The triggers that guard this book, as table.trigger: billd migrate notes them, and billd check says which of them are missing or disabled.';
