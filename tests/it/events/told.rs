//! What is told, by whom it ever is done: each fact once, in the commit that makes it true.

use crate::audit::world::Stranger;
use crate::process::{billd, exits, run};
use crate::support::House;
use crate::words::{
    answer, claim_one, declined, given, not_sent, paid, psql, record, send_again, take_over,
};
use billd::domain::claim::Claim;
use billd::domain::dunning::Decision;
use std::time::Duration;

const ONE: &str = "(select id from billd.subscription limit 1)";

/// Data of the last event of a kind, and what the rows say it should be.
fn data(kind: &str, keys: &str) -> String {
    format!(
        "select concat_ws(' ', {keys}) from (select data as d, period, merchant_uid from billd.event where kind = '{kind}' order by id desc limit 1) e"
    )
}

#[tokio::test]
async fn a_payment_is_told_once_with_all_that_a_receipt_needs() {
    let it = given().due("cust_1").swept().await;
    it.told("paid").await;
    it.shows(
        "select e.data = jsonb_build_object('amount', c.amount, 'currency', 'KRW', 'attempt', 1,
            'made_of', '[{\"what\": \"price\", \"sum\": 9900}]'::jsonb, 'from', billd_internal.utc(c.due_at),
            'until', billd_internal.utc(c.until_at), 'next_charge_at', billd_internal.utc(s.next_charge_at))
            and (e.subscription_id, e.period, e.merchant_uid) = (c.subscription_id, c.period, a.merchant_uid)
         from billd.event e, billd.billing_cycle c, billd.subscription s, billd.charge_attempt a where e.kind = 'paid'",
        "true",
    )
    .await;
    // As a discount came about, so it is told.
    it.run(&format!(
        "select billd.give_discount({ONE}, sum => 900, periods => 1)"
    ))
    .await;
    it.advance("32 days").await;
    it.sweep().await;
    it.sweep().await;
    it.shows(
        &data(
            "paid",
            "d ->> 'amount', d #>> '{made_of,1,what}', d #>> '{made_of,1,sum}'",
        ),
        "9000 discount -900",
    )
    .await;
}

#[tokio::test]
async fn a_refused_card_is_told_step_by_step_until_it_pays() {
    let it = given().due("cust_1").await;
    record(&it, declined(&claim_one(&it).await)).await;
    it.shows(
        &data(
            "declined",
            "d ->> 'class', d ->> 'attempt', d ->> 'next_charge_at' =
            (select billd_internal.utc(next_charge_at) from billd.subscription)",
        ),
        "soft_funds 1 t",
    )
    .await;
    it.advance("2 minutes").await;
    let give_up = |claim: &Claim| {
        let reason = billd::domain::dunning::GiveUpReason::LadderEnded;
        answer(
            claim,
            Some(crate::words::no_balance()),
            Decision::GiveUp(reason),
        )
    };
    record(&it, give_up(&claim_one(&it).await)).await;
    it.told("declined declined past_due").await;
    it.shows(
        &data("past_due", "d ->> 'class', d ->> 'why', d ->> 'amount'"),
        "soft_funds ladder_ended 9900",
    )
    .await;
    it.run(&format!("select billd.change_card({ONE}, 'cust_2')"))
        .await;
    record(&it, paid(&claim_one(&it).await)).await;
    it.told("declined declined past_due card_changed resumed paid recovered")
        .await;
    it.shows(
        &data("resumed", "d ->> 'was', d ->> 'paid_until'"),
        "past_due",
    )
    .await;
}

/// What is done to a subscription that is paid, and what is told of it.
const DONE: &[(&str, &str)] = &[
    (
        "select billd.pause(ONE, billd.now() + interval '1 day'); select billd.resume(ONE)",
        "paused resumed",
    ),
    (
        "update billd.subscription set state = 'paused'; update billd.subscription set state = 'active'",
        "paused resumed",
    ),
    ("select billd.change_card(ONE, 'cust_2')", "card_changed"),
    (
        "update billd.subscription set customer_uid = 'cust_2', custom_data = 'x'",
        "card_changed",
    ),
    (
        "select billd.change_plan(ONE, amount => 5000, at => 'end')",
        "",
    ),
    (
        "update billd.subscription set amount = 5000",
        "plan_changed",
    ),
    ("select billd.cancel(ONE)", "cancelled"),
    (
        "select billd.cancel(ONE); select billd.keep(ONE)",
        "cancelled kept",
    ),
    (
        "select billd.end_after(ONE, 2); select billd.end_after(ONE, 5)",
        "cancelled cancelled",
    ),
    ("select billd.cancel(ONE, 'now')", "cancelled ended"),
    (
        "update billd.subscription set state = 'cancelled'",
        "cancelled ended",
    ),
    (
        "select billd.cancel(ONE, 'now'); select billd.resume(ONE, 'now')",
        "cancelled ended resumed",
    ),
    (
        "select billd.extend(ONE, (select paid_until + interval '3 days' from billd.subscription))",
        "free",
    ),
    ("select billd.skip(ONE)", ""),
    ("select billd.pause(ONE, dry_run => true)", ""),
    (
        "update billd.subscription set buyer_name = 'x', amount = amount",
        "",
    ),
];

#[tokio::test]
async fn what_verbs_and_plain_updates_do_is_told_alike() {
    for (statement, told) in DONE {
        let it = given().due("cust_1").swept().await;
        for one in statement.split("; ") {
            it.run(&one.replace("ONE", ONE)).await;
        }
        let expected = format!("paid {told}");
        let at = it.text(
            "select string_agg(kind, ' ' order by id) from billd.event where kind <> 'created'",
        );
        assert_eq!(at.await, expected.trim_end(), "{statement}");
    }
}

#[tokio::test]
async fn an_agreement_that_ends_in_its_time_is_told_twice_when_agreed_and_when_it_ends() {
    let it = given().due("cust_1").swept().await;
    it.run(&format!("select billd.cancel({ONE})")).await;
    it.advance("32 days").await;
    it.sweep().await;
    it.told("paid cancelled ended").await;
    it.shows(&data("ended", "d ->> 'why'"), "agreed").await;
    it.run(
        "insert into billd.subscription (customer_uid, name, amount, trial_until)
        values ('cust_2', 'n', 100, billd.now() + interval '40 days')",
    )
    .await;
    it.told("paid cancelled ended free").await;
    it.shows(&data("free", "d ->> 'why', d ->> 'amount'"), "trial 0")
        .await;
}

#[tokio::test]
async fn nothing_is_told_of_what_was_rolled_back_or_while_events_are_off() {
    let it = given().due("cust_1").swept().await;
    let undone = psql(&it, "update billd.subscription set state = 'paused'").await;
    undone.rollback().await.unwrap();
    it.run("update billd.control set events = false").await;
    it.run("update billd.subscription set state = 'paused'")
        .await;
    it.subscribe("cust_2").await;
    it.sweep().await;
    it.tally("2 paid").await;
    it.told("paid").await;
    it.run("update billd.control set events = true").await;
    it.run(&format!("select billd.resume({ONE})")).await;
    it.told("paid resumed").await;
}

#[tokio::test]
async fn a_fate_that_was_unknown_is_told_when_it_waits_for_a_person_and_when_it_is_known() {
    let it = given().due("cust_1").begun().later("1 hour").await;
    let open = take_over(&it).await.remove(0);
    let wait = Duration::from_mins(1);
    record(&it, answer(&open.claim, None, Decision::Park { wait })).await;
    it.told("parked").await;
    it.advance("1 hour").await;
    let open = take_over(&it).await.remove(0);
    record(&it, answer(&open.claim, None, Decision::Park { wait })).await;
    it.told("parked").await;
    it.advance("1 hour").await;
    let open = take_over(&it).await.remove(0);
    record(&it, paid(&open.claim)).await;
    it.shows(
        "select string_agg(kind, ' ' order by kind) from billd.event where kind <> 'created'",
        "paid parked proved",
    )
    .await;
    it.shows(&data("proved", "d ->> 'outcome'"), "paid").await;
}

#[tokio::test]
async fn a_fate_that_a_person_closes_or_that_is_found_after_sending_again_is_told_as_proved() {
    let it = given().due("cust_1").begun().later("1 hour").await;
    let open = take_over(&it).await.remove(0);
    record(&it, send_again(&open.claim)).await;
    record(&it, declined(&open.claim)).await;
    it.told("proved declined").await;
    let it = given().due("cust_1").begun().later("1 hour").await;
    take_over(&it).await;
    it.run("select billd.close_attempt((select merchant_uid from billd.charge_attempt), 'looked in the console')")
        .await;
    it.told("proved").await;
    // What did not leave is nobody's business.
    let it = given().due("cust_1").await;
    record(&it, not_sent(&claim_one(&it).await)).await;
    it.told("null").await;
}

/// Hazard: money is found to have moved by somebody else than the one who asked, and nobody is told; or both tell.
#[tokio::test]
async fn a_payment_that_comes_to_light_late_is_told_once() {
    let it = given().due("cust_1").await;
    let claim = claim_one(&it).await;
    record(&it, declined(&claim)).await;
    it.run("update billd.charge_attempt set state = 'paid', imp_uid = 'imp_late'")
        .await;
    it.sweep().await;
    it.told("declined paid").await;
    it.debts("1 paid").await;
    it.sweep().await;
    it.told("declined paid").await;
    // Under a stale fence the fact alone is written; the debt follows.
    let it = given().due("cust_1").await;
    let claim = claim_one(&it).await;
    it.run("update billd.charge_attempt set fence = fence + 1")
        .await;
    record(&it, paid(&claim)).await;
    it.told("null").await;
    it.sweep().await;
    it.told("paid").await;
}

async fn name(it: &House) -> String {
    it.text("select merchant_uid from billd.charge_attempt order by merchant_uid limit 1")
        .await
}

async fn refund(it: &House, amount: u32, key: &str) {
    let done = run(billd(&it.url, &it.sandbox.base_url()).args([
        "refund",
        &name(it).await,
        "--amount",
        &amount.to_string(),
        "--key",
        key,
        "--yes",
    ]));
    exits(&done, 0);
}

/// Law: what is told to have been given back is what was given back, once, whoever gave it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_refund_is_told_once_whoever_made_it() {
    let it = given().due("cust_1").swept().await;
    let told = "select string_agg(concat_ws(' ', e.data ->> 'amount', e.data ->> 'by', e.data ->> 'refunded_in_all'), ', ' order by e.id)
        from billd.event e where e.kind = 'refunded'";
    refund(&it, 1000, "one").await;
    it.shows(told, "1000 billd 1000").await;
    Stranger::at(&it.sandbox)
        .await
        .cancel(&name(&it).await, 500)
        .await;
    // As the auditor does, each time it sees it.
    let seen = [(name(&it).await, 1500)];
    for _ in 0..2 {
        it.store.note_given_back(&seen).await.unwrap();
    }
    it.shows(told, "1000 billd 1000, 500 elsewhere 1500").await;
    refund(&it, 400, "two").await;
    it.store
        .note_given_back(&[(name(&it).await, 1900)])
        .await
        .unwrap();
    it.shows(told, "1000 billd 1000, 500 elsewhere 1500, 400 billd 1900")
        .await;
    it.shows("select cancelled_amount from billd.charge_attempt", 1900)
        .await;
}

/// Hazard: while a refund's fate is open, somebody gives the rest back; the books say more than the refunds.
#[tokio::test]
async fn what_is_given_back_while_a_refund_is_open_is_told_as_what_it_turns_out_to_be() {
    for (outcome, expected) in [
        ("refunded", "600 elsewhere, 300 billd"),
        ("refused", "600 elsewhere, 300 elsewhere"),
    ] {
        let it = given().due("cust_1").swept().await;
        it.run("insert into billd.refund (merchant_uid, imp_uid, key, amount, currency, payment_amount, checksum, ask_at)
            select merchant_uid, imp_uid, 'k', 300, currency, amount, amount, now() from billd.charge_attempt")
            .await;
        it.run("update billd.charge_attempt set cancelled_amount = 900")
            .await;
        it.run(&format!(
            "update billd.refund set state = '{outcome}', finished_at = now(), ask_at = null"
        ))
        .await;
        it.shows(
            "select string_agg(concat_ws(' ', e.data ->> 'amount', e.data ->> 'by'), ', ' order by e.id)
             from billd.event e where e.kind = 'refunded'",
            expected,
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_off_charges_and_findings_are_told() {
    let it = given().await;
    let done = run(billd(&it.url, &it.sandbox.base_url()).args([
        "charge", "again", "cust_1", "--amount", "1000", "--name", "x", "--yes",
    ]));
    exits(&done, 0);
    it.told("paid").await;
    it.shows(
        &data(
            "paid",
            "d ->> 'amount', period is null, d ->> 'from' is null, merchant_uid is not null",
        ),
        "1000 t t t",
    )
    .await;
    let finding = "insert into billd.finding (kind, merchant_uid, amount_theirs, currency) values ('foreign_payment', 'm', 700, 'KRW')";
    it.run(finding).await;
    it.run("update billd.finding set state = 'explained'; update billd.finding set state = 'open'")
        .await;
    it.told("paid finding finding").await;
    it.shows(
        &data("finding", "d ->> 'finding', d ->> 'amount_theirs'"),
        "foreign_payment 700",
    )
    .await;
}

/// Hazard: a mail program is given a card or a customer's name with each event, and keeps it for ever.
#[tokio::test]
async fn an_event_holds_nothing_of_a_card_and_nobodys_name() {
    let it = given().due("decline-balance-once-1").await;
    it.run("update billd.subscription set buyer_name = 'secret', buyer_tel = 'secret', buyer_email = 'secret',
        buyer_addr = 'secret', buyer_postcode = 'secret', custom_data = 'secret', channel_key = 'secret'")
        .await;
    it.sweep().await;
    it.run(&format!("select billd.pause({ONE}, note => 'secret')"))
        .await;
    it.run(&format!(
        "select billd.resume({ONE}, 'now', note => 'secret')"
    ))
    .await;
    it.run(&format!(
        "select billd.change_card({ONE}, 'cust_secret', note => 'secret')"
    ))
    .await;
    it.sweep().await;
    it.run(&format!(
        "select billd.cancel({ONE}, 'now', note => 'secret')"
    ))
    .await;
    it.shows("select count(*) > 5 from billd.event", "true")
        .await;
    it.shows(
        "select count(*) from billd.event e where e::text ~ 'secret|decline-'",
        0,
    )
    .await;
}

/// The table of the kinds in the docs is that of the schema, and each event has the keys that it says.
#[tokio::test]
async fn each_kind_has_the_data_that_the_page_says() {
    let it = given().await;
    let page = include_str!("../../../docs/EVENTS.md");
    let rows = it
        .text("select string_agg(format('| `%s` | %s | %s |', kind, (
            select string_agg('`' || k || '`', ' ') from unnest(keys) k), meaning), E'\n') from billd_internal.event_kind")
        .await;
    for row in rows.lines() {
        assert!(page.contains(row), "not in docs/EVENTS.md: {row}");
    }
    // By the columns alone: what else there is, is told by its writer, and looked at in the other tests.
    let differ = it
        .text("with one as (
                select k.kind, k.keys, billd_internal.event_data(row(1, 1, now(), 9900, now(), now(), now(), null, null, 1, 1,
                    k.kind, 'KRW', 'm', null)::billd_internal.event_row) as d
                from billd_internal.event_kind k)
            select string_agg(o.kind || ' ' || x, ', ') from one o, jsonb_object_keys(o.d) x where x <> all (o.keys)")
        .await;
    assert_eq!(differ, "null");
}
