-- Twelve more at once, all of them due now.
insert into billd.subscription (buyer_name, name, amount, customer_uid) values
    ('권나은', '프리미엄 월간',  9900, 'rush-naeun'),
    ('황은우', '프리미엄 월간',  9900, 'rush-eunwoo'),
    ('안수아', '전자책 구독',   14900, 'rush-sua'),
    ('송이안', '온라인 강의',   19900, 'rush-ian'),
    ('전지유', '뉴스레터 월간',  4900, 'rush-jiyu'),
    ('홍서진', '꽃 정기배송',   24900, 'rush-seojin'),
    ('문채원', '커피 원두',     18900, 'rush-chaewon'),
    ('양현우', '클라우드 100GB', 2900, 'rush-hyeonwoo'),
    ('손다인', '펫 간식 박스',  15900, 'rush-dain'),
    ('배주원', '프리미엄 월간',  9900, 'rush-lost-juwon'),
    ('백소율', '전자책 구독',   14900, 'rush-lost-soyul'),
    ('허태민', '온라인 강의',   19900, 'rush-lost-taemin');
