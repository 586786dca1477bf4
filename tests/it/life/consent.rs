//! Consent to a higher price, and to a price after a free time.

use super::book::Life;

async fn trial(gate: &str) -> Life {
    let life = Life::begun("2026-06-05", ", trial_until", ", '2026-07-10 10:00+09'").await;
    life.run(&format!("update billd.control set consent = '{gate}'"))
        .await;
    life
}

async fn agreed(life: &Life, kind: &str, effective_on: &str, given_at: &str) {
    life.run(&format!(
        "select billd.record_consent(id, '{kind}', amount, '{effective_on}', '{given_at}', 'app') from billd.subscription"
    ))
    .await;
}

#[tokio::test]
async fn a_trial_is_followed_by_a_charge_if_consent_came_within_30_days_and_notice_a_week_before() {
    for (consent, notice, taken) in [
        ("2026-06-10 00:00+09", "2026-07-03 23:59+09", 1),
        ("2026-07-09 23:59+09", "2026-06-05 10:00+09", 1),
        ("2026-06-09 23:59+09", "2026-07-03 10:00+09", 0),
        ("2026-07-10 00:00+09", "2026-07-03 10:00+09", 0),
        ("2026-06-20 10:00+09", "2026-07-04 00:00+09", 0),
    ] {
        let life = trial("enforce").await;
        life.at("2026-07-10 09:00").await;
        agreed(&life, "conversion", "2026-07-10", consent).await;
        agreed(&life, "notice", "2026-07-10", notice).await;
        life.day("2026-07-10").await;
        assert_eq!(life.taken().len(), taken, "{consent}, {notice}");
    }
}

#[tokio::test]
async fn what_waits_for_consent_is_held_and_that_time_is_not_billed() {
    let life = trial("enforce").await;
    life.day("2026-07-10").await;
    assert_eq!(life.taken(), [0_i64; 0]);
    let shown =
        "select string_agg(kind || ': ' || reason, '; ' order by kind) from billd.attention";
    life.house
        .book
        .shows(
            shown,
            "consent: consent and notice is missing for 9900 from 2026-07-10; held: consent",
        )
        .await;
    let refused = life.call_refused("2026-07-11", "release", "").await;
    assert!(
        refused.contains("consent or notice is missing"),
        "{refused}"
    );
    life.at("2026-07-12").await;
    agreed(&life, "conversion", "2026-08-10", "2026-07-12 10:00+09").await;
    agreed(&life, "notice", "2026-08-10", "2026-07-12 10:00+09").await;
    life.day("2026-08-10").await;
    assert_eq!(life.paid_for().await, "2026-08-10 2026-09-10 9900");
}

#[tokio::test]
async fn telling_charges_all_the_same_and_off_says_nothing() {
    for (gate, rows) in [("tell", "1"), ("off", "0")] {
        let life = trial(gate).await;
        life.at("2026-06-15").await;
        let told = "select count(*) from billd.attention where kind = 'consent'";
        life.house.book.shows(told, rows).await;
        life.day("2026-07-10").await;
        assert_eq!(life.taken(), [9900], "{gate}");
    }
}

#[tokio::test]
async fn a_planned_rise_waits_for_consent_and_the_old_price_is_charged_until_then() {
    let life = Life::paid("2026-03-10").await;
    life.run("update billd.control set consent = 'enforce'")
        .await;
    life.call("2026-03-20", "change_plan", "12900").await;
    life.day("2026-04-10").await;
    life.run(
        "select billd.record_consent(id, 'increase', 12900, '2026-05-10', '2026-04-20 10:00+09', 'app')
         from billd.subscription",
    )
    .await;
    life.day("2026-05-10").await;
    assert_eq!(life.taken(), [9900, 9900, 12900]);
}

#[tokio::test]
async fn consent_that_is_withdrawn_does_not_count() {
    let life = Life::paid("2026-03-10").await;
    life.run("update billd.control set consent = 'enforce'")
        .await;
    life.call("2026-03-20", "change_plan", "12900").await;
    life.run(
        "select billd.withdraw_consent(billd.record_consent(
            id, 'increase', 12900, '2026-04-10', '2026-03-20 10:00+09', 'app')) from billd.subscription",
    )
    .await;
    life.day("2026-04-10").await;
    assert_eq!(life.taken(), [9900, 9900]);
}

#[tokio::test]
async fn a_plain_rise_is_refused_while_consent_is_enforced_and_the_payers_own_is_consent() {
    let life = Life::paid("2026-03-10").await;
    life.run("update billd.control set consent = 'enforce'")
        .await;
    let refused = life.refused("amount = 12900").await;
    assert!(refused.contains("needs the payer's consent"), "{refused}");
    let refused = life
        .call_refused("2026-03-20", "change_plan", "12900, at => 'now'")
        .await;
    assert!(refused.contains("needs the payer's consent"), "{refused}");
    life.call(
        "2026-03-20",
        "change_plan",
        "12900, at => 'now', by_payer => true",
    )
    .await;
    life.sweep().await;
    assert_eq!(life.taken().len(), 2);
}

#[tokio::test]
async fn the_end_of_a_discount_is_no_rise() {
    let life = Life::begun("2026-03-10", "", "").await;
    life.run("update billd.control set consent = 'enforce'")
        .await;
    life.call("2026-03-10", "give_discount", "share => 1, periods => 1")
        .await;
    life.day("2026-03-10").await;
    life.day("2026-04-10").await;
    assert_eq!(life.taken(), [9900]);
}
