-- What a merchant types to hand his subscriptions to billd. Who is charged from now on, every month,
-- needs a name, an amount and a card; everything else has a default.
insert into billd.subscription (buyer_name, name, amount, customer_uid) values
    ('김민지', '뉴스레터 월간',      4900, 'card-minji'),
    ('박지민', '프리미엄 월간',      9900, 'card-jimin'),
    ('이서준', '밀키트 정기배송',   39900, 'card-seojun'),
    ('최도윤', '클라우드 100GB',     2900, 'card-doyun'),
    ('정하은', '온라인 강의',       19900, 'card-haeun'),
    ('서지안', '꽃 정기배송',       24900, 'card-jian'),
    ('신하린', '펫 간식 박스',      15900, 'card-harin'),
    ('강시우', '프리미엄 월간',      9900, 'decline-balance-once-siwoo'),
    ('장예은', '프리미엄 월간',      9900, 'decline-outage-once-yeeun'),
    ('조서연', '전자책 구독',       14900, 'decline-limit-seoyeon'),
    ('윤지호', '헬스장 정기권',     55000, 'decline-stolen-jiho');

insert into billd.subscription (buyer_name, name, amount, customer_uid, interval_unit) values
    ('오건우', '연간 멤버십',      118800, 'card-geonu', 'year');

insert into billd.subscription (buyer_name, name, amount, customer_uid, next_charge_at) values
    ('임준서', '커피 원두',         18900, 'drop-after-approval-once-junseo', '2027-01-31 10:10+09'),
    ('한유나', '영어 회화 (체험)',  29900, 'card-yuna', '2027-02-28 10:00+09');
