//! A subscription's life: what time is billed, whatever people do. Each test is named as its rule.

mod asked;
mod book;
mod calendar;
mod consent;
mod golden;
mod oracle;
mod oracle_walk;
mod order;
mod random;
mod service;
mod sums;
mod time;
mod verbs;
mod version;
mod walk;
mod writes;

/// How many random lives to live and with which dice, below a thousand: `BILLD_TEST_LIVES=100000:7` for more of them
/// than a run of all tests has time for.
#[expect(
    clippy::disallowed_methods,
    reason = "it is of the tests, and no setting of billd's"
)]
fn lives(unless_told: u32) -> (u32, u32) {
    let Ok(told) = std::env::var("BILLD_TEST_LIVES") else {
        return (unless_told, 700);
    };
    let Some((lives, dice)) = told.split_once(':') else {
        panic!("BILLD_TEST_LIVES is LIVES:DICE, and not {told}");
    };
    (lives.parse().unwrap(), dice.parse().unwrap())
}
