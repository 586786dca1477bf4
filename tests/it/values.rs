//! What may stand in a row: dates, texts, currencies, zones. A slip is refused where it is written, and a row that has
//! one all the same holds up no other.

use billd::domain::attempt::{ChargeOutcome, NotSent};
use billd::domain::claim::{Answer, BadRow, Recorded};
use billd::domain::dunning::{Decision, GiveUpReason};
use billd::domain::money::Currency;
use billd::store::ClaimLimits;
use portone_sandbox::Latency;

use crate::guide::{CARD, ended};
use crate::process::{billd, exits, run, sandbox_with, stderr};
use crate::support::Book;
use crate::words::{LEASE, PACE, given, paid, record};

/// Writes past all triggers, as somebody who restores a table does.
async fn past_the_triggers(book: &Book, statement: &str) {
    book.run(&format!(
        "begin; set local session_replication_role = replica; {statement}; commit"
    ))
    .await;
}

/// A column, a value, and what is said of it.
const SLIPS: [(&str, &str, &str); 15] = [
    ("anchor_at", "'20270-01-31'", "anchor_at is 20270-01-31"),
    ("anchor_at", "'-infinity'", "anchor_at is -infinity"),
    ("trial_until", "'infinity'", "trial_until is infinity"),
    ("ends_at", "'20270-01-31'", "ends_at is 20270-01-31"),
    (
        "customer_uid",
        "' cust'",
        "customer_uid begins or ends with a blank",
    ),
    (
        "customer_uid",
        "U&'cust\\3000'",
        "customer_uid begins or ends with a blank",
    ),
    (
        "customer_uid",
        "e'cust\\r'",
        "customer_uid has a control character: a carriage return",
    ),
    (
        "external_id",
        "U&'a\\200b'",
        "external_id has a character that can't be seen",
    ),
    ("name", "e'a\\nb'", "name has a control character"),
    (
        "name",
        "U&'a\\feff'",
        "name has a character that can't be seen",
    ),
    ("name", "' '", "name is blank"),
    ("buyer_name", "e'\\t'", "buyer_name has a control character"),
    ("currency", "'ABC'", "ABC is no currency of ISO 4217"),
    (
        "time_zone",
        "'Asia/Seuol'",
        "this server knows no time zone Asia/Seuol",
    ),
    // PostgreSQL takes it for a zone of that name, nine hours west of Greenwich.
    (
        "time_zone",
        "'Asia/Seuol+9'",
        "this server knows no time zone Asia/Seuol+9",
    ),
];

#[tokio::test]
async fn a_slip_is_refused_by_an_insert_and_by_an_update_and_says_what_it_is() {
    let it = given().due("cust_1").await;
    for (column, value, why) in SLIPS {
        it.refuses(
            &format!("update billd.subscription set {column} = {value}"),
            why,
        )
        .await;
        let mut row = vec![("customer_uid", "'c'"), ("name", "'n'"), ("amount", "9900")];
        row.retain(|(other, _)| *other != column);
        row.push((column, value));
        let (columns, values): (Vec<_>, Vec<_>) = row.into_iter().unzip();
        let insert = format!(
            "insert into billd.subscription ({}) values ({})",
            columns.join(", "),
            values.join(", ")
        );
        it.refuses(&insert, why).await;
    }
    for (column, value) in [
        ("next_charge_at", "'infinity'"),
        ("paid_until", "'20270-01-31'"),
    ] {
        let insert = format!(
            "insert into billd.subscription (customer_uid, name, amount, {column}) values ('c', 'n', 9900, {value})"
        );
        it.refuses(&insert, "not between 2000-01-01 and 2099-12-31")
            .await;
    }
    for verb in [
        "extend(id, 'infinity')",
        "pause(id, '20270-01-31')",
        "change_card(id, 'c ')",
        "change_plan(id, name := e'a\\n')",
    ] {
        let fault = it
            .try_run(&format!("select billd.{verb} from billd.subscription"))
            .await;
        assert!(fault.is_err(), "{verb}");
    }
    it.run("insert into billd.subscription (customer_uid, name, amount, time_zone) values ('c', 'n', 9900, 'Etc/GMT+5')")
        .await;
}

/// Hazard: macOS decomposes Hangul, so 20 syllables are 60 characters and the name is refused as too long.
#[tokio::test]
async fn names_are_stored_composed_and_count_by_their_syllables() {
    let name = "스무글자로된구독상품의이름은길지않습니다";
    let it = given().await;
    it.run(&format!(
        "insert into billd.subscription (customer_uid, name, amount, buyer_name)
         values ('cust_1', normalize('{name}', NFD), 9900, normalize('홍길동홍길동', NFD))"
    ))
    .await;
    let stored = "select name || ' ' || buyer_name from billd.subscription";
    it.shows(stored, format!("{name} 홍길동홍길동")).await;
    it.run("update billd.subscription set name = 'x', buyer_name = null")
        .await;
    it.run(&format!(
        "update billd.subscription set name = normalize('{name}', NFD), buyer_name = normalize('홍길동홍길동', NFD)"
    ))
    .await;
    it.shows(stored, format!("{name} 홍길동홍길동")).await;
    it.run(&format!(
        "select billd.change_plan(id, name := normalize('{name}', NFD)) from billd.subscription"
    ))
    .await;
    it.shows("select change ->> 'name' from billd.planned_change", name)
        .await;
    let long = "update billd.subscription set name = normalize(repeat('가', 41), NFD)";
    it.refuses(long, "name_has_1_to_40_characters").await;
}

/// What stood in the book before goes on: only what is written is judged.
#[tokio::test]
async fn a_row_whose_texts_are_older_than_the_rules_is_charged_and_can_be_changed() {
    let it = given().due("cust_1").await;
    past_the_triggers(
        &it,
        "update billd.subscription set customer_uid = 'cust_1 '",
    )
    .await;
    it.run("update billd.subscription set amount = 12900").await;
    it.sweep().await;
    it.debts("1 paid").await;
}

/// Both lists say which sums are understood; where they differ a row is accepted and can't be charged.
#[tokio::test]
async fn the_schema_and_the_program_know_the_same_currencies() {
    let it = given().await;
    let known = it
        .text(
            "select string_agg(c, ' ' order by c) from (
                select chr(a) || chr(b) || chr(d) from generate_series(65, 90) a, generate_series(65, 90) b,
                    generate_series(65, 90) d) x (c)
             where billd_internal.is_currency(c)",
        )
        .await;
    let letters = || ('A'..='Z').map(String::from);
    let all = letters()
        .flat_map(|a| letters().map(move |b| format!("{a}{b}")))
        .flat_map(|ab| letters().map(move |c| format!("{ab}{c}")));
    let expected: Vec<_> = all.filter(|code| Currency::parse(code).is_ok()).collect();
    assert_eq!(known, expected.join(" "));
}

/// Hazard: one mistyped year; the claim commits, decoding fails for the whole batch, and all its neighbours are
/// `started` for ever.
#[tokio::test]
async fn a_date_that_no_calendar_has_is_a_fault_of_its_row_and_its_neighbours_are_charged() {
    for slip in [
        "next_charge_at = '-infinity'",
        "due_at = '-infinity', settled_until = '-infinity'",
    ] {
        let it = given().due_many(5).await;
        past_the_triggers(
            &it,
            &format!("update billd.subscription set {slip} where customer_uid = 'cust_3'"),
        )
        .await;
        let limits = ClaimLimits {
            rows_max: 10,
            lease: LEASE,
        };
        let claims = it.store.claim_due(limits).await.unwrap().claims;
        let (good, bad): (Vec<_>, Vec<_>) = claims.into_iter().partition(Result::is_ok);
        assert_eq!((good.len(), bad.len()), (4, 1), "{slip}");
        for BadRow { key, fault } in bad.into_iter().filter_map(Result::err) {
            assert!(fault.contains("can't be read"), "{fault}");
            let set_aside = Answer {
                key,
                outcome: Some(ChargeOutcome::NotSent(NotSent::Unbuildable(fault))),
                decision: Decision::GiveUp(GiveUpReason::BadRow),
                not_found: 0,
            };
            assert_eq!(record(&it, set_aside).await, Recorded::Moved);
        }
        for claim in good {
            record(&it, paid(&claim.unwrap())).await;
        }
        it.tally("1 not_sent, 4 paid").await;
        let told = "select split_part(state_reason, ';', 1) from billd.subscription where state = 'past_due'";
        it.shows(told, "bad_row").await;
    }
}

#[tokio::test]
async fn a_row_with_a_date_that_no_book_has_is_held_and_named_until_it_is_right() {
    for (slip, mended) in [
        ("anchor_at = '20270-01-31'", "anchor_at = billd.now()"),
        ("ends_at = 'infinity'", "ends_at = null"),
    ] {
        let it = given().due_many(3).await;
        past_the_triggers(
            &it,
            &format!("update billd.subscription set {slip} where customer_uid = 'cust_2'"),
        )
        .await;
        it.store.find_out_of_order(PACE, true).await.unwrap();
        it.sweep().await;
        it.debts("2 paid").await;
        let told = "select kind || ': ' || split_part(reason, ' ', 1) from billd.attention";
        it.shows(told, format!("held: {}", slip.split(' ').next().unwrap()))
            .await;
        it.refuses(
            "select billd.release(id) from billd.subscription where held is not null",
            "not between",
        )
        .await;
        it.run(&format!(
            "update billd.subscription set {mended} where customer_uid = 'cust_2'"
        ))
        .await;
        it.sweep().await;
        it.debts("3 paid").await;
    }
}

/// What follows from the rest is derived again.
#[tokio::test]
async fn a_derived_date_that_no_book_has_is_derived_again() {
    for slip in [
        "next_charge_at = 'infinity'",
        "due_at = 'infinity'",
        "until_at = 'infinity'",
    ] {
        let it = given().due_many(3).await;
        past_the_triggers(
            &it,
            &format!("update billd.subscription set {slip} where customer_uid = 'cust_2'"),
        )
        .await;
        it.store.find_out_of_order(PACE, true).await.unwrap();
        it.sweep().await;
        it.debts("3 paid").await;
        it.shows(
            "select max(until_at) < billd.now() + interval '3 months' from billd.billing_cycle",
            true,
        )
        .await;
    }
}

#[tokio::test]
async fn the_command_line_refuses_texts_that_are_others_than_they_look_like() {
    let book = Book::new().await;
    let gateway = sandbox_with(Latency::Fixed(0)).await;
    for (arguments, why) in [
        (
            vec![
                "charge", "again", "cust_1 ", "--amount", "3000", "--name", "x", "--yes",
            ],
            "blank",
        ),
        (
            vec![
                "charge", "again", "cust_1\r", "--amount", "3000", "--name", "x", "--yes",
            ],
            "blank",
        ),
        (
            vec![
                "charge",
                "again",
                "cu\u{200b}st",
                "--amount",
                "3000",
                "--name",
                "x",
                "--yes",
            ],
            "can't be seen",
        ),
        (
            vec![
                "charge", "again", "cust_1", "--amount", "3000", "--name", "x\ny", "--yes",
            ],
            "control character",
        ),
        (vec!["billing-key", "issue", " cust_1"], "blank"),
    ] {
        let refused = run(billd(&book.url, &gateway.base_url()).args(&arguments));
        exits(&refused, 2);
        assert!(
            stderr(&refused).contains(why),
            "{arguments:?}: {}",
            stderr(&refused)
        );
    }
}

/// Hazard: a one-off charge takes the number of a period that lies ahead; when that falls due, its attempt can't be
/// written down, and the customer is not charged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_one_off_charge_can_not_take_the_number_of_a_future_attempt() {
    let it = given().due("cust_1").await;
    let number = it
        .text("select billd.merchant_uid(id, (period + interval '1 month')::date, 1) from billd.subscription")
        .await;
    it.refuses(
        &format!(
            "insert into billd.charge_attempt (merchant_uid, customer_uid, name, amount, currency, ask_at)
             values ('{number}', 'cust_1', 'x', 100, 'KRW', billd.now())"
        ),
        "is an attempt's of a subscription",
    )
    .await;
    let gateway = it.sandbox.base_url();
    for charge in [
        vec!["charge", "again", "cust_1", "--yes"],
        vec!["charge", "onetime"],
    ] {
        let mut command = billd(&it.url, &gateway);
        command
            .args(charge)
            .args(["--amount", "3000", "--name", "x", "--merchant-uid", &number]);
        let (code, refused) = ended(&mut command, CARD);
        assert_eq!(code, 9, "{}", stderr(&refused));
        assert!(
            stderr(&refused).contains("own numbers"),
            "{}",
            stderr(&refused)
        );
    }
    it.shows("select count(*) from billd.charge_attempt", 0)
        .await;
}
