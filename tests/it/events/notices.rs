//! Notices of what lies ahead: once per period, whatever becomes of the date.

use crate::support::House;
use crate::words::given;

const ONE: &str = "(select id from billd.subscription limit 1)";

/// A subscription whose next charge lies a month ahead, told of seven days ahead.
async fn paid() -> House {
    let it = given().due("cust_1").swept().await;
    it.run("update billd.control set upcoming_days = 7").await;
    it
}

#[tokio::test]
async fn a_charge_is_told_of_once_when_it_is_near_and_late_if_nobody_looked() {
    let it = paid().await;
    it.sweep().await;
    it.told("paid").await;
    it.advance("25 days").await;
    it.sweep().await;
    it.sweep().await;
    it.told("paid charge_upcoming").await;
    it.shows(
        "select concat_ws(' ', e.data ->> 'amount', e.period = s.period, e.data ->> 'next_charge_at' = billd_internal.utc(s.next_charge_at))
         from billd.event e, billd.subscription s where e.kind = 'charge_upcoming'",
        "9900 t t",
    )
    .await;
    // Down from before the window of the next one until after its charge: that is told when it is over.
    it.advance("10 days").await;
    it.sweep().await;
    it.told("paid charge_upcoming paid").await;
    it.advance("21 days").await;
    it.sweep().await;
    it.told("paid charge_upcoming paid charge_upcoming").await;
}

#[tokio::test]
async fn a_date_that_moves_into_or_out_of_its_window_is_told_once_per_period() {
    let it = paid().await;
    it.advance("20 days").await;
    it.sweep().await;
    it.told("paid").await;
    let near = "select billd.move_day(ONE, (date_part('day', (billd.now() + interval '12 days') at time zone 'Asia/Seoul'))::int)";
    it.run(&near.replace("ONE", ONE)).await;
    it.advance("6 days").await;
    it.sweep().await;
    it.told("paid charge_upcoming").await;
    it.run(&format!("select billd.put_off({ONE}, (select next_charge_at + interval '9 days' from billd.subscription))"))
        .await;
    it.sweep().await;
    it.advance("5 days").await;
    it.sweep().await;
    it.told("paid charge_upcoming").await;
}

#[tokio::test]
async fn a_subscription_may_have_its_own_days_or_none() {
    let it = given().due("cust_1").due("cust_2").swept().await;
    it.run("update billd.control set upcoming_days = 7").await;
    it.run("update billd.subscription set upcoming_days = case customer_uid when 'cust_1' then 0 else 20 end")
        .await;
    it.advance("12 days").await;
    it.sweep().await;
    it.told("paid paid charge_upcoming").await;
    it.advance("15 days").await;
    it.sweep().await;
    it.told("paid paid charge_upcoming").await;
    it.run("update billd.subscription set upcoming_days = null")
        .await;
    it.sweep().await;
    it.told("paid paid charge_upcoming charge_upcoming").await;
    it.refuses(
        "update billd.subscription set upcoming_days = 61",
        "upcoming_days",
    )
    .await;
}

#[tokio::test]
async fn what_is_not_charged_is_not_announced() {
    let it = paid().await;
    it.run(&format!("select billd.cancel({ONE})")).await;
    it.advance("25 days").await;
    it.sweep().await;
    it.told("paid cancelled").await;
    it.run(&format!("select billd.keep({ONE})")).await;
    it.sweep().await;
    it.told("paid cancelled kept charge_upcoming").await;
}

#[tokio::test]
async fn the_end_of_a_trial_and_of_a_discount_and_a_consent_that_is_missing_are_told_ahead() {
    let it = given().await;
    it.run(
        "insert into billd.subscription (customer_uid, name, amount, trial_until)
        values ('cust_1', 'n', 9900, billd.now() + interval '40 days')",
    )
    .await;
    it.sweep().await;
    it.told("free").await;
    it.advance("20 days").await;
    it.sweep().await;
    it.sweep().await;
    it.told("free consent_due").await;
    it.advance("14 days").await;
    it.sweep().await;
    it.sweep().await;
    it.told("free consent_due trial_ending").await;
    let it = given().due("cust_1").await;
    it.run(&format!(
        "select billd.give_discount({ONE}, sum => 900, periods => 1)"
    ))
    .await;
    it.sweep().await;
    it.sweep().await;
    it.told("paid").await;
    it.advance("25 days").await;
    it.sweep().await;
    it.sweep().await;
    it.told("paid discount_ending").await;
    it.shows(
        "select e.data ->> 'amount' from billd.event e where e.kind = 'discount_ending'",
        9900,
    )
    .await;
}
