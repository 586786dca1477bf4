//! What a period costs, and how its sum comes about.

use super::book::Life;

/// The lines of each debt that has some, as `what sum`.
const LINES: &str = "
    select string_agg(x.lines, '; ' order by x.due_at)
    from (
        select c.due_at, (select string_agg(concat_ws(' ', l ->> 'what', l ->> 'sum'), ', ' order by n)
            from jsonb_array_elements(c.made_of) with ordinality e (l, n)) as lines
        from billd.billing_cycle c where c.made_of is not null
    ) x";

const ADD_UP: &str = "
    select count(*) from billd.billing_cycle c
    where c.amount <> (select sum((l ->> 'sum')::bigint) from jsonb_array_elements(c.made_of) l)";

#[tokio::test]
async fn discounts_items_and_credits_make_the_sum_in_that_order_and_an_open_debt_stays() {
    let life = Life::begun("2026-03-10", "", "").await;
    life.run("update billd.subscription set customer_uid = 'decline-balance-once-1'")
        .await;
    life.sweep().await;
    for (verb, arguments) in [
        ("give_credit", "3000"),
        ("add_item", "'delivery', 5000"),
        ("give_discount", "share => 0.2, periods => 2"),
        ("give_discount", "sum => 920, periods => 1"),
    ] {
        life.call("2026-03-10 11:00", verb, arguments).await;
    }
    for day in ["2026-03-11", "2026-04-10", "2026-05-10", "2026-06-10"] {
        life.day(day).await;
    }
    // The first debt was open already.
    assert_eq!(life.taken(), [9900, 9000, 7920, 9900]);
    let lines = "price 9900, discount -1980, discount -920, item 5000, credit -3000; price 9900, discount -1980";
    life.house.book.shows(LINES, lines).await;
    life.house.book.shows(ADD_UP, "0").await;
    let plain = "select adjusted from billd.subscription";
    life.house.book.shows(plain, "false").await;
}

#[tokio::test]
async fn a_debt_that_becomes_void_gives_back_what_it_used() {
    let life = Life::begun("2026-03-10", "", "").await;
    life.run("update billd.subscription set customer_uid = 'decline-stolen-1'")
        .await;
    life.call("2026-03-09", "give_discount", "sum => 900, periods => 1")
        .await;
    life.call("2026-03-09", "give_credit", "1000").await;
    life.day("2026-03-10").await;
    let left = "select string_agg(coalesce(periods_left, remaining)::text, ' ' order by id) from billd.adjustment";
    life.house.book.shows(left, "0 0").await;
    life.call("2026-03-11", "forgive", "").await;
    life.house.book.shows(left, "1 1000").await;
    assert_eq!(
        life.forecast(2).await,
        "charge 2026-04-10 2026-05-10 8000, charge 2026-05-10 2026-06-10 9900"
    );
}

#[tokio::test]
async fn a_credit_above_the_sum_waits_and_what_is_below_the_least_sum_is_free() {
    let life = Life::begun("2026-03-10", "", "").await;
    life.call("2026-03-09", "give_credit", "19750").await;
    for day in ["2026-03-10", "2026-04-10", "2026-05-10"] {
        life.day(day).await;
    }
    assert_eq!(life.taken(), [9900]);
    let lines = "price 9900, credit -9900; price 9900, credit -9850, least -50";
    life.house.book.shows(LINES, lines).await;
}

#[tokio::test]
async fn tax_parts_scale_with_the_sum_and_instalments_fall_away_under_50000() {
    let life = Life::begun("2026-03-10", "", "").await;
    life.run(
        "update billd.subscription set amount = 60000, tax_free = 10000, vat_amount = 4545, card_quota = 3",
    )
    .await;
    life.call("2026-03-09", "give_discount", "share => 0.5, periods => 1")
        .await;
    life.day("2026-03-10").await;
    let debt = "select concat_ws(' ', amount, tax_free, vat_amount, coalesce(card_quota, 0)) from billd.billing_cycle";
    life.house.book.shows(debt, "30000 5000 2272 0").await;
    let refused = life
        .call_refused("2026-03-11", "change_plan", "70000")
        .await;
    assert!(refused.contains("tax_free or vat_amount"), "{refused}");
}

#[tokio::test]
async fn another_price_keeps_what_is_exempt_exempt() {
    let life = Life::begun("2026-03-10", ", tax_free", ", 9900").await;
    life.sweep().await;
    life.call("2026-03-11", "change_plan", "12900").await;
    life.day("2026-04-10").await;
    let debt =
        "select amount || ' ' || tax_free from billd.billing_cycle order by period desc limit 1";
    life.house.book.shows(debt, "12900 12900").await;
}

#[tokio::test]
async fn a_sum_above_what_may_be_charged_at_once_is_held() {
    let life = Life::begun("2026-03-10", "", "").await;
    life.call("2026-03-09", "add_item", "'house', 1000000000")
        .await;
    life.day("2026-03-10").await;
    assert_eq!(life.taken(), [0_i64; 0]);
    let held = "select held from billd.subscription";
    life.house.book.shows(held, "sum").await;
}

#[tokio::test]
async fn the_currency_stays_while_a_credit_is_open() {
    let life = Life::paid("2026-03-10").await;
    life.call("2026-03-11", "give_credit", "1000").await;
    let refused = life.refused("currency = 'USD'").await;
    assert!(refused.contains("the currency can't change"), "{refused}");
}
