use jiff::civil::DateTime;
use jiff::tz::AmbiguousOffset;
use proptest::prelude::*;

use super::*;

const ZONES: [&str; 8] = [
    "Asia/Seoul",
    "America/New_York",
    "Europe/London",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "America/Sao_Paulo",
    "Pacific/Apia",
    "UTC",
];

fn zone(name: &str) -> Zone {
    Zone::parse(name).unwrap()
}

fn interval(count: u16, unit: &str) -> Interval {
    Interval::new(count, IntervalUnit::parse(unit).unwrap()).unwrap()
}

fn schedule(anchor: &str, zone_name: &str, count: u16, unit: &str) -> Schedule {
    let local: DateTime = anchor.parse().unwrap();
    let zone = zone(zone_name);
    let anchor = zone.0.to_ambiguous_timestamp(local).compatible().unwrap();
    Schedule::new(anchor, interval(count, unit), zone).unwrap()
}

fn walk(schedule: &Schedule, from: Date, periods: usize) -> Vec<Period> {
    let mut walked = Vec::new();
    let mut date = from;
    for _ in 0..periods {
        let period = schedule.next_after(date).unwrap();
        date = period.date;
        walked.push(period);
    }
    walked
}

#[track_caller]
fn check_dates(schedule: &Schedule, from: Date, expected: &[&str]) {
    let dates: Vec<_> = walk(schedule, from, expected.len())
        .iter()
        .map(|period| period.date.to_string())
        .collect();
    assert_eq!(dates, expected);
}

#[track_caller]
fn check_due(schedule: &Schedule, after: Date, expected: &str) {
    let due_at = schedule.next_after(after).unwrap().due_at;
    assert_eq!(
        due_at.to_zoned(schedule.zone.0.clone()).to_string(),
        expected
    );
}

#[test]
fn the_31st_becomes_a_month_end_and_comes_back() {
    check_dates(
        &schedule("2026-01-31T09:00", "Asia/Seoul", 1, "month"),
        date(2026, 1, 30),
        &[
            "2026-01-31",
            "2026-02-28",
            "2026-03-31",
            "2026-04-30",
            "2026-05-31",
        ],
    );
    check_dates(
        &schedule("2027-12-30T09:00", "Asia/Seoul", 1, "month"),
        date(2027, 12, 30),
        &["2028-01-30", "2028-02-29", "2028-03-30"],
    );
    check_dates(
        &schedule("2026-08-31T09:00", "Asia/Seoul", 3, "month"),
        date(2026, 8, 31),
        &["2026-11-30", "2027-02-28", "2027-05-31", "2027-08-31"],
    );
}

#[test]
fn the_29th_of_february_comes_back_in_a_leap_year() {
    check_dates(
        &schedule("2024-02-29T09:00", "Asia/Seoul", 1, "year"),
        date(2024, 2, 29),
        &[
            "2025-02-28",
            "2026-02-28",
            "2027-02-28",
            "2028-02-29",
            "2029-02-28",
        ],
    );
}

#[test]
fn days_and_weeks_are_counted_from_the_anchor() {
    check_dates(
        &schedule("2026-02-20T09:00", "Asia/Seoul", 10, "day"),
        date(2026, 2, 20),
        &["2026-03-02", "2026-03-12", "2026-03-22"],
    );
    check_dates(
        &schedule("2026-02-20T09:00", "Asia/Seoul", 2, "week"),
        date(2026, 2, 21),
        &["2026-03-06", "2026-03-20"],
    );
}

#[test]
fn before_the_anchor_the_first_period_is_the_anchor_itself() {
    let schedule = schedule("2026-05-31T09:00", "Asia/Seoul", 1, "month");
    for earlier in [Date::MIN, DATE_MIN, date(2026, 5, 1), date(2026, 5, 30)] {
        let period = schedule.next_after(earlier).unwrap();
        assert_eq!(
            (period.date, period.due_at),
            (date(2026, 5, 31), schedule.anchor)
        );
    }
    assert_eq!(
        schedule.next_after(date(2026, 5, 31)).unwrap().date,
        date(2026, 6, 30)
    );
}

#[test]
fn a_local_time_that_the_clocks_skip_is_due_when_they_have_jumped() {
    check_due(
        &schedule("2026-02-08T02:30", "America/New_York", 1, "month"),
        date(2026, 3, 7),
        "2026-03-08T03:30:00-04:00[America/New_York]",
    );
    check_due(
        &schedule("2026-03-28T01:15", "Europe/London", 1, "day"),
        date(2026, 3, 28),
        "2026-03-29T02:15:00+01:00[Europe/London]",
    );
    check_due(
        &schedule("2026-10-03T02:15", "Australia/Lord_Howe", 1, "day"),
        date(2026, 10, 3),
        "2026-10-04T02:45:00+11:00[Australia/Lord_Howe]",
    );
    // The clocks jump at midnight: the period keeps its date.
    let schedule = schedule("2018-11-03T00:00", "America/Sao_Paulo", 1, "day");
    check_due(
        &schedule,
        date(2018, 11, 3),
        "2018-11-04T01:00:00-02:00[America/Sao_Paulo]",
    );
    check_due(
        &schedule,
        date(2018, 11, 4),
        "2018-11-05T00:00:00-02:00[America/Sao_Paulo]",
    );
}

#[test]
fn a_local_time_that_occurs_twice_is_due_the_first_time() {
    check_due(
        &schedule("2026-10-31T01:30", "America/New_York", 1, "day"),
        date(2026, 10, 31),
        "2026-11-01T01:30:00-04:00[America/New_York]",
    );
    check_due(
        &schedule("2026-04-04T01:45", "Australia/Lord_Howe", 1, "day"),
        date(2026, 4, 4),
        "2026-04-05T01:45:00+11:00[Australia/Lord_Howe]",
    );
}

#[test]
fn an_anchor_in_the_second_of_two_equal_hours_is_due_at_itself() {
    let anchor: Timestamp = "2026-11-01T01:30:00-05:00".parse().unwrap();
    let schedule = Schedule::new(anchor, interval(1, "month"), zone("America/New_York")).unwrap();
    assert_eq!(
        schedule.next_after(date(2026, 10, 31)).unwrap().due_at,
        anchor
    );
    check_due(
        &schedule,
        date(2026, 11, 1),
        "2026-12-01T01:30:00-05:00[America/New_York]",
    );
}

#[test]
fn a_date_is_read_in_the_zone_of_the_subscription() {
    // Still 31 January in UTC.
    let anchor: Timestamp = "2026-01-31T15:30:00Z".parse().unwrap();
    let schedule = Schedule::new(anchor, interval(1, "month"), zone("Asia/Seoul")).unwrap();
    check_due(
        &schedule,
        date(2026, 1, 31),
        "2026-02-01T00:30:00+09:00[Asia/Seoul]",
    );
    check_due(
        &schedule,
        date(2026, 2, 1),
        "2026-03-01T00:30:00+09:00[Asia/Seoul]",
    );
}

#[test]
fn a_day_that_the_zone_left_out_still_has_its_own_period() {
    // Samoa went from 29 to 31 December 2011: two periods, due at one instant.
    let schedule = schedule("2011-12-29T10:00", "Pacific/Apia", 1, "day");
    let periods = walk(&schedule, date(2011, 12, 29), 2);
    assert_eq!(periods[0].date, date(2011, 12, 30));
    assert_eq!(periods[1].date, date(2011, 12, 31));
    assert_eq!(periods[0].due_at, periods[1].due_at);
}

#[test]
fn a_long_downtime_is_crossed_in_one_step() {
    let schedule = schedule("2000-01-31T09:00", "Asia/Seoul", 1, "month");
    assert_eq!(
        schedule.next_after(date(2099, 2, 27)).unwrap().date,
        date(2099, 2, 28)
    );
    assert_eq!(
        schedule.next_after(date(2099, 2, 28)).unwrap().date,
        date(2099, 3, 31)
    );
}

#[test]
fn a_period_outside_this_century_is_refused() {
    let schedule = schedule("2099-11-30T09:00", "Asia/Seoul", 1, "month");
    assert_eq!(
        schedule.next_after(date(2099, 11, 30)).unwrap().date,
        date(2099, 12, 30)
    );
    for late in [date(2099, 12, 30), DATE_MAX, Date::MAX] {
        assert_eq!(schedule.next_after(late), Err(CalendarError::OutOfRange));
    }
    for anchor in ["1999-12-31T14:59:59Z", "2099-12-31T15:00:00Z"] {
        assert_eq!(
            Schedule::new(
                anchor.parse().unwrap(),
                interval(1, "month"),
                zone("Asia/Seoul")
            ),
            Err(CalendarError::OutOfRange),
        );
    }
    let rare = self::schedule("2026-01-31T09:00", "Asia/Seoul", 366, "year");
    assert_eq!(
        rare.next_after(date(2026, 1, 31)),
        Err(CalendarError::OutOfRange)
    );
}

#[test]
fn units_counts_and_zones_are_checked() {
    for unit in ["day", "week", "month", "year"] {
        assert_eq!(IntervalUnit::parse(unit).unwrap().as_str(), unit);
    }
    assert_eq!(
        IntervalUnit::parse("Month"),
        Err(CalendarError::Unit("Month".to_owned()))
    );
    assert_eq!(
        Interval::new(0, IntervalUnit::Day),
        Err(CalendarError::Count(0))
    );
    assert_eq!(
        Interval::new(367, IntervalUnit::Day),
        Err(CalendarError::Count(367))
    );
    assert_eq!(zone("Asia/Seoul").name(), "Asia/Seoul");
    for name in [
        "",
        "Seoul",
        "KST-9",
        "+09:00",
        "Asia/Atlantis",
        "Etc/Unknown",
        "../etc/passwd",
    ] {
        assert_eq!(
            Zone::parse(name),
            Err(CalendarError::Zone(name.to_owned())),
            "{name}"
        );
    }
}

fn any_date() -> impl Strategy<Value = Date> {
    (0_i64..36_525).prop_map(|days| DATE_MIN.checked_add(Span::new().days(days)).unwrap())
}

fn any_schedule() -> impl Strategy<Value = Schedule> {
    let unit = prop::sample::select(vec!["day", "week", "month", "year"]);
    let zone_name = prop::sample::select(ZONES.to_vec());
    (any_date(), 0_i8..24, 0_i8..60, zone_name, 1_u16..=40, unit).prop_map(
        |(date, hour, minute, zone_name, count, unit)| {
            let local = date.at(hour, minute, 0, 0);
            let zone = zone(zone_name);
            let anchor = zone.0.to_ambiguous_timestamp(local).compatible().unwrap();
            // A day that was left out moves the anchor past the last date at most.
            Schedule::new(anchor, interval(count, unit), zone).unwrap()
        },
    )
}

proptest! {
    #[test]
    fn the_next_period_is_the_first_grid_point_after_the_date(
        schedule in any_schedule(),
        date in any_date(),
    ) {
        let Ok(next) = schedule.next_after(date) else { return Ok(()) };
        prop_assert!(next.date > date);
        // The slow way: count up from the anchor.
        let first = (0..).find_map(|k| {
            let period = schedule.period(k).unwrap();
            (period.date > date).then_some(period)
        });
        prop_assert_eq!(Some(next), first);
    }

    #[test]
    fn walking_never_drifts_from_the_anchor(schedule in any_schedule()) {
        let mut before = schedule.start.date().yesterday().unwrap();
        let mut due_before = Timestamp::MIN;
        for k in 0..400 {
            let Ok(period) = schedule.next_after(before) else {
                prop_assert_eq!(schedule.period(k), Err(CalendarError::OutOfRange));
                break;
            };
            prop_assert_eq!(Ok(period), schedule.period(k));
            prop_assert!(period.date > before);
            prop_assert!(period.due_at > due_before || schedule.zone.name() == "Pacific/Apia");
            let (start, date) = (schedule.start.date(), period.date);
            if matches!(schedule.interval.unit(), IntervalUnit::Month | IntervalUnit::Year) {
                prop_assert_eq!(date.day(), start.day().min(date.days_in_month()));
            }
            (before, due_before) = (period.date, period.due_at);
        }
    }

    #[test]
    fn the_local_time_is_the_anchors_except_where_the_clocks_skip_it(
        schedule in any_schedule(),
        date in any_date(),
    ) {
        let Ok(next) = schedule.next_after(date) else { return Ok(()) };
        let wanted = next.date.to_datetime(schedule.start.time());
        let shown = schedule.zone.0.to_datetime(next.due_at);
        let offset = schedule.zone.0.to_ambiguous_timestamp(wanted).offset();
        if matches!(offset, AmbiguousOffset::Gap { .. }) {
            prop_assert!(shown > wanted);
        } else {
            prop_assert_eq!(shown, wanted);
        }
    }

    #[test]
    fn any_date_within_a_period_leads_to_the_same_next_period(
        schedule in any_schedule(),
        date in any_date(),
    ) {
        let Ok(next) = schedule.next_after(date) else { return Ok(()) };
        let last_day = next.date.yesterday().unwrap();
        prop_assert_eq!(schedule.next_after(last_day), Ok(next));
    }
}
