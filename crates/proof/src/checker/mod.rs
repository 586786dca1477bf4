//! The judge: two ledgers in, what does not agree out.
//!
//! Pure, and a stranger to the program that it judges: it takes names apart, walks calendars and
//! counts rungs by itself, so that no mistake of the daemon can excuse itself here. It sees the
//! system at rest only, and judges the way there by the journal.
//!
//! Two clocks of record meet here: the gateway's log and PostgreSQL's, both the wall clock of one
//! machine. A journal entry bears the instant of its trigger, before the commit, and that of the
//! commit, just before it takes effect. Wherever only one order of the two is certain, the judge
//! accuses on that one alone.

mod asked;
mod calendar;
mod debts;
mod fence;
mod money;
mod moves;
mod name;
mod order;
mod refunds;
mod rescue;
mod service;
mod terms;
#[cfg(test)]
mod tests;
mod told;
mod view;
mod violation;

pub use self::money::Double;
pub use self::terms::{Death, Terms};
pub use self::violation::{Property, Violation};

pub(crate) use self::name::Debt;
use self::view::View;
use crate::ledger::Book;
use portone_sandbox::Request;

/// One property, and what it has to say.
type Rule = fn(&View<'_>, &mut Vec<Violation>);

/// In the order of [`Property`], but for those about refunds.
const RULES: [Rule; 22] = [
    money::charged_once,
    order::intent_first,
    debts::nothing_vanishes,
    money::books_agree,
    money::one_name_one_sum,
    order::nothing_after_the_end,
    fence::fenced_writes,
    order::rate_cap,
    moves::one_period_at_a_time,
    debts::nothing_open_at_rest,
    rescue::rescue_means_ask,
    rescue::no_question_too_early,
    rescue::heirs_ask_in_time,
    refunds::intent_first,
    refunds::balances_agree,
    refunds::refunded_once,
    service::time_billed_once,
    service::nothing_out_of_service,
    asked::asked_is_owed,
    asked::look_before_asking,
    told::payments_told_once,
    told::refunds_told_once,
];

/// Everything that does not agree, in the order of the properties.
pub fn check(terms: &Terms, gateway: &[Request], book: &Book) -> Vec<Violation> {
    let view = View::new(terms, gateway, book);
    let mut found = Vec::new();
    for rule in RULES {
        rule(&view, &mut found);
    }
    found
}

/// Every debt for which the gateway kept money more than once, the excused ones too: to be counted
/// apart where look-ups lie.
pub fn doubles(terms: &Terms, gateway: &[Request], book: &Book) -> Vec<Double> {
    money::doubles(&View::new(terms, gateway, book))
}
