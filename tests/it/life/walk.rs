//! Random agreements with random plans, discounts, items and credits: the forecast beside an oracle written apart.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use sqlx::Row;

use super::oracle::Calendar;
use super::oracle_walk::{Adjustment, Change, Life};
use crate::support::Book;

/// How many lives are walked, unless told.
const LIVES: u32 = 4000;
const ROWS: usize = 8;

const BORN: &str = "
    select setseed($DICE / 1000.0);
    alter table billd.subscription disable trigger user;
    alter table billd.subscription enable trigger subscription_fill;
    insert into billd.subscription (external_id, customer_uid, name, amount, time_zone, interval_unit, interval_count,
        billing_day, ends_at, periods_left, paid_until)
    select n, 'c', 'n', (array[0, 60, 4000, 9900, 33333])[1 + floor(random() * 5)],
        (array['Asia/Seoul', 'America/New_York', 'Europe/London', 'Australia/Lord_Howe'])[1 + n % 4], u.unit,
        1 + floor(random() * 3),
        case when random() < 0.5 then 1 + floor(random() * case u.unit when 'week' then 7 else 31 end) end,
        case when random() < 0.4 then billd.now() + random() * interval '900 days' end,
        case when random() < 0.3 then floor(random() * 6) end,
        billd.now() + interval '1 hour' + random() * random() * interval '400 days'
    from generate_series(1, $LIVES) n
    cross join lateral (select (array['week', 'month', 'year'])[1 + n % 3] as unit) u;
    select set_config('billd.writer', 'plan', true);
    insert into billd.planned_change (subscription_id, kind, effective_at, change)
    select s.id, k.kind, case when k.kind in ('pause', 'resume') or k.kind = 'plan' and random() < 0.6
            then billd.now() + random() * interval '500 days' end,
        case when k.kind = 'plan' then jsonb_build_object('amount', floor(random() * 20000)) else '{}' end
    from billd.subscription s, generate_series(1, 4) i
    cross join lateral (select (array['plan', 'skip', 'by_day', 'pause', 'resume'])[1 + floor(random() * 5 + i * 0)] as kind) k
    where random() < 0.4;
    insert into billd.adjustment (subscription_id, kind, name, sum, share_bp, currency, periods_left, remaining)
    select s.id, k.kind, 'n', k.sum, case when k.sum is null then 1 + floor(random() * 10000) end, 'KRW',
        case when k.kind = 'discount' and random() < 0.7 then 1 + floor(random() * 4) end,
        case when k.kind <> 'discount' then k.sum end
    from billd.subscription s, generate_series(1, 4) i
    cross join lateral (select kind, case when kind <> 'discount' or random() < 0.5
            then 1 + floor(random() * 12000 + i * 0)::bigint end as sum
        from (select (array['discount', 'discount', 'item', 'credit'])[1 + floor(random() * 4 + i * 0)] as kind) j) k
    where random() < 0.4";

const WALKED: &str = "
    select concat_ws('#',
        concat_ws('|', s.time_zone, us(s.anchor_at), coalesce(s.billing_day, 0), s.interval_unit, s.interval_count,
            s.amount, coalesce(us(s.ends_at), 0), coalesce(s.periods_left, -1), us(s.settled_until)),
        (select coalesce(string_agg(concat_ws('|', p.kind, coalesce(us(p.effective_at), 0),
                coalesce(p.change ->> 'amount', '-1')), ';' order by p.id), '-')
         from billd.planned_change p where p.subscription_id = s.id),
        (select coalesce(string_agg(concat_ws('|', a.kind, coalesce(a.sum, 0), coalesce(a.share_bp, 0),
                coalesce(a.periods_left, -1)), ';' order by a.id), '-')
         from billd.adjustment a where a.subscription_id = s.id),
        (select string_agg(concat_ws(' ', f.kind, us(f.from_at), us(f.until_at), f.amount), ', ' order by f.n)
         from billd.forecast(s.id, $ROWS)
             with ordinality f (kind, period, from_at, until_at, ask_at, amount, currency, made_of, remark, n)))
    from billd.subscription s";

fn number(word: &str) -> i64 {
    word.parse().unwrap()
}

fn instant(word: &str) -> Option<Timestamp> {
    Some(number(word))
        .filter(|number| *number != 0)
        .map(|number| Timestamp::from_microsecond(number).unwrap())
}

fn list<'a, T>(text: &'a str, read: impl Fn(&[&'a str]) -> T) -> Vec<T> {
    text.split(';')
        .filter(|item| *item != "-")
        .map(|item| read(&item.split('|').collect::<Vec<_>>()))
        .collect()
}

fn life(agreement: &str, changes: &str, adjustments: &str) -> Life {
    let words: Vec<&str> = agreement.split('|').collect();
    let &[
        zone,
        anchor_at,
        day,
        unit,
        count,
        amount,
        ends_at,
        periods_left,
        cursor,
    ] = words.as_slice()
    else {
        panic!("not an agreement: {agreement}");
    };
    Life {
        calendar: Calendar {
            anchor_at: instant(anchor_at).unwrap(),
            billing_day: Some(day.parse().unwrap()).filter(|day| *day > 0),
            unit: unit.to_owned(),
            count: number(count),
            zone: TimeZone::get(zone).unwrap(),
        },
        active: true,
        amount: number(amount),
        ends_at: instant(ends_at),
        periods_left: Some(number(periods_left)).filter(|left| *left >= 0),
        cursor: instant(cursor).unwrap(),
        changes: list(changes, |words| {
            let &[kind, at, amount] = words else {
                panic!("not a change: {words:?}")
            };
            Change {
                kind: kind.to_owned(),
                at: instant(at),
                amount: number(amount),
            }
        }),
        adjustments: list(adjustments, |words| {
            let &[kind, sum, share_bp, periods_left] = words else {
                panic!("not an adjustment: {words:?}")
            };
            Adjustment {
                kind: kind.to_owned(),
                sum: number(sum),
                share_bp: number(share_bp),
                periods_left: Some(number(periods_left)).filter(|left| *left >= 0),
            }
        }),
    }
}

/// Hazard: a rule that is right for each wish alone, and wrong for two at once.
#[tokio::test]
async fn random_plans_and_sums_follow_as_an_oracle_written_apart_says() {
    let book = Book::new().await;
    book.run(
        "create function us(at timestamptz) returns bigint language sql immutable
         as $$ select (extract(epoch from at) * 1000000)::bigint $$",
    )
    .await;
    let (lives, dice) = super::lives(LIVES);
    let born = BORN.replace("$LIVES", &lives.to_string());
    book.run(&born.replace("$DICE", &dice.to_string())).await;
    let query = WALKED.replace("$ROWS", &ROWS.to_string());
    let rows = sqlx::raw_sql(sqlx::AssertSqlSafe(query))
        .fetch_all(&book.sql)
        .await
        .unwrap();
    assert_eq!(u32::try_from(rows.len()), Ok(lives));
    for row in rows {
        let row: String = row.get(0);
        let parts: Vec<&str> = row.split('#').collect();
        let &[agreement, changes, adjustments, said] = parts.as_slice() else {
            panic!("not a life: {row}");
        };
        let expected = life(agreement, changes, adjustments).walk(ROWS);
        assert_eq!(said, expected.join(", "), "{row}");
    }
}
