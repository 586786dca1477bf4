-- One subscription per number; the later ones are due next month. Written without triggers, so with all that they
-- would derive; a test (tests/it/plans.rs) compares. {id} and {due_at} are those of an `Order`.
insert into billd.subscription
    (id, customer_uid, name, amount, anchor_at, next_charge_at, due_at, settled_until, until_at, catch_up, period,
     buyer_name, buyer_email, buyer_tel)
select {id}, 'cust_' || n, '프리미엄 월간', 9900, due, due, due, due,
       (due at time zone 'Asia/Seoul' + interval '1 month') at time zone 'Asia/Seoul', 'all',
       (due at time zone 'Asia/Seoul')::date, '홍길동', 'buyer' || n || '@example.com', '010-1234-5678'
from (
    select n, {due_at} + case when n <= {due} then interval '0' else interval '30 days' end as due
    from generate_series(1, {rows}) n
) numbered
