use uuid::Uuid;

use super::*;

fn entry(status: BookStatus, cancelled_amount: i64) -> BookEntry {
    BookEntry {
        merchant_uid: "order1".to_owned(),
        payment: Payment::example("imp_1", cancelled_amount),
        status,
        amount: Some(9900),
        currency: "KRW".to_owned(),
        customer_uid: Some("cust_1".to_owned()),
    }
}

fn own(state: OwnState) -> OwnEntry {
    OwnEntry {
        subscription: Some(subscription()),
        state,
        amount: 9900,
        currency: "KRW".to_owned(),
        customer_uid: Some("cust_1".to_owned()),
        imp_uid: (state == OwnState::Paid).then(|| ImpUid::parse("imp_1").unwrap()),
        cancelled_amount: 0,
        is_being_refunded: false,
    }
}

fn subscription() -> SubscriptionId {
    SubscriptionId(Uuid::from_u128(7))
}

fn check(entry: &BookEntry, own: Option<&OwnEntry>, act: Act, found: Option<FindingKind>) {
    let verdict = judge(entry, own, PartialMatch::default());
    assert_eq!((verdict.act, verdict.found), (act, found), "{entry:?}");
}

#[test]
fn what_both_books_hold_alike_is_no_finding() {
    let paid = entry(BookStatus::Paid, 0);
    check(&paid, Some(&own(OwnState::Paid)), Act::Nothing, None);
    assert!(judge(&paid, Some(&own(OwnState::Paid)), PartialMatch::default()).is_seen);
}

#[test]
fn a_record_without_money_says_nothing_about_anything() {
    for state in [OwnState::Open, OwnState::Paid, OwnState::Final] {
        let failed = entry(BookStatus::NoMoney, 0);
        let verdict = judge(&failed, Some(&own(state)), PartialMatch::default());
        assert_eq!((verdict.act, verdict.found), (Act::Nothing, None));
        assert!(
            !verdict.is_seen,
            "a failed record is no counterpart of a payment"
        );
    }
}

#[test]
fn an_open_attempt_is_asked_about_and_not_written_down_from_a_list() {
    let paid = entry(BookStatus::Paid, 0);
    check(&paid, Some(&own(OwnState::Open)), Act::AskNow, None);
}

#[test]
fn money_for_a_declined_attempt_is_written_down_and_found() {
    let found = Some(FindingKind::PaidThereNotHere);
    for (status, cancelled) in [(BookStatus::Paid, 0), (BookStatus::Cancelled, 9900)] {
        let record = entry(status, cancelled);
        check(&record, Some(&own(OwnState::Final)), Act::WritePaid, found);
    }
}

#[test]
fn another_sum_or_card_is_an_alarm_and_never_written_down_as_our_payment() {
    for state in [OwnState::Open, OwnState::Paid, OwnState::Final] {
        let mut dearer = entry(BookStatus::Paid, 0);
        dearer.amount = Some(99_000);
        let found = Some(FindingKind::AmountMismatch);
        check(&dearer, Some(&own(state)), Act::Nothing, found);
        dearer.amount = None;
        check(&dearer, Some(&own(state)), Act::Nothing, found);

        let mut elsewhere = entry(BookStatus::Paid, 0);
        elsewhere.customer_uid = Some("cust_2".to_owned());
        let found = Some(FindingKind::CustomerMismatch);
        check(&elsewhere, Some(&own(state)), Act::Nothing, found);
    }
}

#[test]
fn our_books_follow_what_was_given_back_and_only_once() {
    let part = entry(BookStatus::Paid, 900);
    let found = Some(FindingKind::CancelledThere);
    check(&part, Some(&own(OwnState::Paid)), Act::FollowCancel, found);
    let mut known = own(OwnState::Paid);
    known.cancelled_amount = 900;
    check(&part, Some(&known), Act::Nothing, None);
}

#[test]
fn a_second_receipt_under_one_name_is_paid_twice_until_it_is_given_back() {
    let mut second = entry(BookStatus::Paid, 0);
    second.payment.imp_uid = ImpUid::parse("imp_2").unwrap();
    let found = Some(FindingKind::PaidTwice);
    check(&second, Some(&own(OwnState::Paid)), Act::Nothing, found);
    second.status = BookStatus::Cancelled;
    second.payment.cancelled_amount = 9900;
    check(&second, Some(&own(OwnState::Paid)), Act::Nothing, None);
    assert!(judge(&second, Some(&own(OwnState::Paid)), PartialMatch::default()).is_refunded);
}

#[test]
fn an_unmatched_payment_matters_if_it_took_our_card_or_bears_our_name() {
    let paid = entry(BookStatus::Paid, 0);
    check(&paid, None, Act::Nothing, None);
    let by_card = PartialMatch {
        by_card: Some(subscription()),
        ..PartialMatch::default()
    };
    let found = judge(&paid, None, by_card).found;
    assert_eq!(found, Some(FindingKind::ForeignPayment));
    let by_name = PartialMatch {
        by_name: Some(subscription()),
        ..by_card
    };
    let found = judge(&paid, None, by_name).found;
    assert_eq!(found, Some(FindingKind::PaidThereNotHere));
    let given_back = entry(BookStatus::Cancelled, 9900);
    assert_eq!(judge(&given_back, None, by_card).found, None);
}

#[test]
fn a_name_such_as_billd_makes_is_a_finding_though_no_row_knows_of_it() {
    let by_shape = PartialMatch {
        is_named_like_ours: true,
        ..PartialMatch::default()
    };
    let mut comparison = Comparison::default();
    comparison.add(&entry(BookStatus::Paid, 0), None, by_shape);
    let finding = &comparison.findings[0];
    assert_eq!(finding.kind, FindingKind::PaidThereNotHere);
    let note = finding.note.as_deref().unwrap();
    assert!(note.contains("another billd's"), "{note}");
}

#[test]
fn only_names_such_as_billd_makes_count_as_ours() {
    let hex = "0123456789abcdef0123456789abcdef";
    for (name, expected) in [
        (format!("{hex}26113001"), true),
        (format!("hand{hex}"), true),
        (format!("{hex}26133001"), false),
        (format!("{hex}26113200"), false),
        (format!("{hex}26113000"), false),
        (format!("{hex}2611300"), false),
        (format!("{hex}+2611300"), false),
        (format!("{}26113001", hex.to_uppercase()), false),
        (format!("hand{hex}1"), false),
        (hex.to_owned(), false),
        ("order7".to_owned(), false),
        ("주문번호가나다라마바사아자차카타파하".to_owned(), false),
        (String::new(), false),
    ] {
        assert_eq!(is_named_like_ours(&name), expected, "{name}");
    }
}

#[test]
fn a_refund_of_ours_whose_fate_is_open_is_left_to_its_own_question() {
    let part = entry(BookStatus::Paid, 900);
    let mut refunded = own(OwnState::Paid);
    refunded.is_being_refunded = true;
    check(&part, Some(&refunded), Act::Nothing, None);
    assert!(judge(&part, Some(&refunded), PartialMatch::default()).is_seen);
}
