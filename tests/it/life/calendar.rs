//! When periods begin and end: the dates that were agreed on, and random ones beside an oracle.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use sqlx::Row;

use super::oracle::Calendar;
use crate::support::Book;

/// The next periods of an agreement behind what is settled, each as `from until`, in the clock of its zone.
async fn periods(agreement: &str, settled_until: &str, count: u32) -> String {
    let book = Book::new().await;
    let query = format!(
        "with recursive agreement as (
            select zone, anchor at time zone zone as anchor_at, day::smallint as day, unit, count::smallint as count,
                (timestamp '{settled_until}') at time zone zone as settled_until
            from (values ({agreement})) a (zone, anchor, day, unit, count)
        ),
        period as (
            select 1 as n, billd_internal.period_start(anchor_at, day, unit, zone, settled_until) as from_at
            from agreement
            union all
            select n + 1, billd_internal.period_end(anchor_at, day, unit, count, zone, from_at)
            from period, agreement where n < {count}
        )
        select string_agg(to_char(from_at at time zone zone, 'YYYY-MM-DD HH24:MI'), ', ' order by n)
        from period, agreement"
    );
    book.text(&query).await
}

#[tokio::test]
async fn a_31st_is_the_last_day_of_a_short_month_and_the_31st_again_after_it() {
    assert_eq!(
        periods(
            "'Asia/Seoul', timestamp '2026-01-31 10:00', null, 'month', 1",
            "2026-01-31 10:00",
            4
        )
        .await,
        "2026-01-31 10:00, 2026-02-28 10:00, 2026-03-31 10:00, 2026-04-30 10:00"
    );
}

#[tokio::test]
async fn an_earlier_billing_day_leaves_the_days_behind_what_is_paid_free() {
    assert_eq!(
        periods(
            "'Asia/Seoul', timestamp '2026-01-31 10:00', 15, 'month', 1",
            "2026-02-28 10:00",
            2
        )
        .await,
        "2026-03-15 10:00, 2026-04-15 10:00"
    );
}

#[tokio::test]
async fn a_31st_that_is_chosen_in_a_short_month_begins_on_its_last_day() {
    assert_eq!(
        periods(
            "'Asia/Seoul', timestamp '2026-01-15 10:00', 31, 'month', 1",
            "2026-04-15 10:00",
            3
        )
        .await,
        "2026-04-30 10:00, 2026-05-31 10:00, 2026-06-30 10:00"
    );
}

#[tokio::test]
async fn another_interval_is_counted_from_the_end_of_what_is_paid() {
    assert_eq!(
        periods(
            "'Asia/Seoul', timestamp '2026-02-28 10:00', 31, 'month', 3",
            "2026-02-28 10:00",
            4
        )
        .await,
        "2026-02-28 10:00, 2026-05-31 10:00, 2026-08-31 10:00, 2026-11-30 10:00"
    );
}

#[tokio::test]
async fn starts_fall_on_billing_days_and_not_on_a_grid_of_intervals() {
    assert_eq!(
        periods(
            "'Asia/Seoul', timestamp '2026-01-05 10:00', null, 'month', 3",
            "2026-04-10 10:00",
            2
        )
        .await,
        "2026-05-05 10:00, 2026-08-05 10:00"
    );
}

#[tokio::test]
async fn a_leap_day_comes_back_every_four_years_and_is_a_29th_by_the_month() {
    let yearly = "'Asia/Seoul', timestamp '2024-02-29 10:00', null, 'year', 1";
    assert_eq!(
        periods(yearly, "2027-02-28 10:00", 3).await,
        "2027-02-28 10:00, 2028-02-29 10:00, 2029-02-28 10:00"
    );
    let monthly = "'Asia/Seoul', timestamp '2027-02-28 10:00', 29, 'month', 1";
    assert_eq!(
        periods(monthly, "2027-02-28 10:00", 3).await,
        "2027-02-28 10:00, 2027-03-29 10:00, 2027-04-29 10:00"
    );
}

#[tokio::test]
async fn a_time_that_a_gap_leaves_out_moves_on_for_that_day_alone() {
    assert_eq!(
        periods(
            "'America/New_York', timestamp '2026-03-07 02:30', null, 'day', 1",
            "2026-03-07 02:30",
            3
        )
        .await,
        "2026-03-07 02:30, 2026-03-08 03:30, 2026-03-09 02:30"
    );
}

#[tokio::test]
async fn of_two_equal_hours_the_first_one_counts() {
    let book = Book::new().await;
    let ends = "select string_agg(billd_internal.period_end(
                '2026-10-31 05:30Z', null, 'day', 1::smallint, 'America/New_York', from_at)::text, ', ' order by from_at)
            from unnest(array['2026-10-31 05:30Z', '2026-11-01 05:30Z']::timestamptz[]) from_at";
    assert_eq!(
        book.text(ends).await,
        "2026-11-01 05:30:00+00, 2026-11-02 06:30:00+00",
        "one day of 24 hours, and one of 25"
    );
}

#[tokio::test]
async fn a_month_is_counted_on_the_clock_of_the_wall_and_not_in_hours() {
    assert_eq!(
        periods(
            "'America/New_York', timestamp '2026-02-10 09:00', null, 'month', 1",
            "2026-02-10 09:00",
            3
        )
        .await,
        "2026-02-10 09:00, 2026-03-10 09:00, 2026-04-10 09:00"
    );
}

#[tokio::test]
async fn in_another_zone_days_are_counted_from_the_end_of_what_is_paid() {
    assert_eq!(
        periods(
            "'America/New_York', timestamp '2026-05-10 20:00', null, 'day', 1",
            "2026-05-10 20:00",
            2
        )
        .await,
        "2026-05-10 20:00, 2026-05-11 20:00"
    );
    assert_eq!(
        periods(
            "'Asia/Seoul', timestamp '2026-05-11 22:00', null, 'day', 1",
            "2026-05-11 22:00",
            2
        )
        .await,
        "2026-05-11 22:00, 2026-05-12 22:00"
    );
}

#[tokio::test]
async fn an_earlier_hour_makes_the_first_period_shorter_and_overlaps_nothing() {
    assert_eq!(
        periods(
            "'Asia/Seoul', timestamp '2026-01-10 08:00', null, 'month', 1",
            "2026-04-10 10:00",
            2
        )
        .await,
        "2026-04-10 10:00, 2026-05-10 08:00"
    );
}

#[tokio::test]
async fn a_clock_that_a_gap_moves_into_the_next_day_skips_no_day() {
    // In Nuuk clocks go from 23:00 to midnight.
    assert_eq!(
        periods(
            "'America/Nuuk', timestamp '2026-03-27 23:30', null, 'day', 1",
            "2026-03-27 23:30",
            4
        )
        .await,
        "2026-03-27 23:30, 2026-03-29 00:30, 2026-03-29 23:30, 2026-03-30 23:30"
    );
}

/// Random agreements in zones whose clocks change in every way there is, and three periods of each.
const RANDOM: &str = "
    with seed as materialized (select setseed(0.13)),
    agreement as materialized (
        select n,
            (array['Asia/Seoul', 'America/New_York', 'Europe/London', 'Australia/Lord_Howe', 'Antarctica/Troll',
                'America/St_Johns', 'Asia/Kathmandu', 'Pacific/Auckland', 'UTC'])[1 + random() * 8] as zone,
            date '2015-01-01' + (random() * 20000)::int + make_interval(mins => (random() * 1439)::int
                / case when random() < 0.5 then 6 else 1 end) as anchor,
            case when random() < 0.4 then 1 + (random() * 6)::int end as weekday,
            case when random() < 0.4 then 1 + (random() * 30)::int end as day,
            (array['day', 'week', 'month', 'year'])[1 + random() * 3] as unit,
            (1 + random() * random() * 14)::smallint as count,
            timestamptz '2015-01-01' + random() * 20000 * interval '1 day' as not_before
        from seed, generate_series(1, 120000) n
    ),
    known as materialized (
        select *, anchor at time zone zone as anchor_at,
            (case unit when 'week' then weekday when 'day' then null else day end)::smallint as billing_day
        from agreement
    ),
    first as materialized (
        select *, billd_internal.period_start(anchor_at, billing_day, unit, zone, not_before) as a from known
    ),
    second as materialized (
        select *, billd_internal.period_end(anchor_at, billing_day, unit, count, zone, a) as b from first
    ),
    third as materialized (
        select *, billd_internal.period_end(anchor_at, billing_day, unit, count, zone, b) as c,
            billd_internal.period_start(anchor_at, billing_day, unit, zone, b) as again
        from second
    )
    select concat_ws('|', zone, (extract(epoch from anchor_at) * 1000000)::bigint, coalesce(billing_day, 0), unit, count,
        (extract(epoch from not_before) * 1000000)::bigint, (extract(epoch from a) * 1000000)::bigint,
        (extract(epoch from b) * 1000000)::bigint, (extract(epoch from c) * 1000000)::bigint,
        (extract(epoch from again) * 1000000)::bigint)
    from third";

fn instant(word: &str) -> Timestamp {
    Timestamp::from_microsecond(word.parse().unwrap()).unwrap()
}

/// Hazard: a date that is wrong once in ten thousand charges a customer twice in ten thousand.
#[tokio::test]
async fn a_hundred_thousand_random_agreements_have_the_dates_that_another_library_gives_them() {
    let book = Book::new().await;
    let rows = sqlx::raw_sql(RANDOM).fetch_all(&book.sql).await.unwrap();
    assert!(rows.len() >= 100_000);
    for row in rows {
        let row: String = row.get(0);
        let words: Vec<&str> = row.split('|').collect();
        let &[
            zone,
            anchor_at,
            day,
            unit,
            count,
            not_before,
            a,
            b,
            c,
            again,
        ] = words.as_slice()
        else {
            panic!("not a case: {row}");
        };
        let calendar = Calendar {
            anchor_at: instant(anchor_at),
            billing_day: Some(day.parse().unwrap()).filter(|day| *day > 0),
            unit: unit.to_owned(),
            count: count.parse().unwrap(),
            zone: TimeZone::get(zone).unwrap(),
        };
        let start = calendar.start(instant(not_before));
        let end = calendar.end(start);
        assert_eq!(
            [instant(a), instant(b), instant(c), instant(again)],
            [start, end, calendar.end(end), end],
            "{row}; {calendar:?}"
        );
        assert!(start < end, "{row}");
    }
}
