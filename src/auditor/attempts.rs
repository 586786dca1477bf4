//! Our payments that the gateway's books did not hold: each is asked about by its name.
//!
//! A list goes by the time of the last change, so a payment that was given back stands in a later
//! window, and a list may be behind. Only an answer about this very payment says that it is missing.

use std::sync::Arc;

use tokio::task::JoinSet;
use tracing::warn;

use crate::auditor::{AuditError, Auditor, whole_seconds, window_end, with_retries};
use crate::domain::attempt::Lookup;
use crate::domain::audit::{Comparison, Finding, FindingKind};
use crate::domain::ids::{CustomerUid, MerchantUid};
use crate::domain::money::{Currency, Money};
use crate::gateway::{Expected, Gateway, GatewayError};
use crate::store::{MissingPayment, Run, Stage};

/// Payments per step, and so questions under way at once: few beside those of the engine.
pub(super) const QUESTIONS_MAX: u32 = 8;

type Asked = (MissingPayment, Result<Lookup, GatewayError>);

impl<G: Gateway> Auditor<G> {
    /// Asks about the next few, or goes on to the next window.
    pub(super) async fn attempts(&self, run: &Run) -> Result<Run, AuditError> {
        let end = window_end(run);
        let unseen = self.store.missing_payments(run, end, QUESTIONS_MAX).await?;
        let mut next = run.clone();
        let Some(last) = unseen.last() else {
            next.walked_to = String::new();
            next.page = 1;
            if end < run.to {
                next.stage = Stage::Books;
                next.window_from = end;
            } else {
                next.stage = Stage::Schedules;
                next.window_from = whole_seconds(self.store.now().await?);
            }
            return self.step(next).await;
        };
        next.walked_to.clone_from(&last.merchant_uid);
        let asked = u64::try_from(unseen.len()).unwrap_or_default();
        next.attempts = run.attempts.saturating_add(asked);
        let mut comparison = Comparison::default();
        for (one, answer) in self.ask_each(unseen).await {
            add(&mut comparison, &one, answer?);
        }
        self.write(&next, &comparison).await?;
        Ok(next)
    }

    pub(super) async fn ask_each(&self, unseen: Vec<MissingPayment>) -> Vec<Asked> {
        let mut questions = JoinSet::new();
        for one in unseen {
            let gateway = Arc::clone(&self.gateway);
            questions.spawn(async move {
                let answer = match expected(&one) {
                    Some(expected) => with_retries(|| gateway.look_up(&expected)).await,
                    None => Ok(Lookup::NotFound),
                };
                (one, answer)
            });
        }
        questions.join_all().await
    }
}

/// What the request asked for; `None` if our own row makes no sense, which is a finding as well.
fn expected(one: &MissingPayment) -> Option<Expected> {
    let currency = Currency::parse(&one.own.currency).ok();
    let expected = currency.and_then(|currency| {
        Some(Expected {
            merchant_uid: MerchantUid::parse(one.merchant_uid.as_str()).ok()?,
            customer_uid: one
                .own
                .customer_uid
                .as_deref()
                .map(CustomerUid::parse)
                .transpose()
                .ok()?,
            money: Money::new(one.own.amount, currency).ok()?,
        })
    });
    if expected.is_none() {
        warn!(
            event = "audit_row",
            merchant_uid = one.merchant_uid,
            "{} can't be asked about: its row makes no sense",
            one.merchant_uid
        );
    }
    expected
}

fn add(comparison: &mut Comparison, one: &MissingPayment, answer: Lookup) {
    let finding = |kind, ours, theirs, note: &str| Finding {
        kind,
        merchant_uid: one.merchant_uid.clone(),
        imp_uid: one.own.imp_uid.as_ref().map(|uid| uid.as_str().to_owned()),
        subscription: one.own.subscription,
        amount_ours: Some(ours),
        amount_theirs: theirs,
        currency: Some(one.own.currency.clone()),
        note: Some(note.to_owned()),
    };
    let missing = |note: &str| {
        let ours = one.own.amount;
        finding(FindingKind::PaidHereNotThere, ours, None, note)
    };
    let ours = one.own.imp_uid.as_ref();
    match answer {
        // Several records can bear one name, and what became of another says nothing about ours.
        Lookup::Paid(payment) if ours.is_some_and(|ours| *ours != payment.imp_uid) => {
            let note = format!(
                "asked for by name: the gateway shows another payment, {}",
                payment.imp_uid.as_str()
            );
            comparison.findings.push(missing(&note));
        }
        Lookup::Paid(payment) => {
            comparison.seen.push(one.merchant_uid.clone());
            let (ours, theirs) = (one.own.cancelled_amount, payment.cancelled_amount);
            if one.own.is_cancelled_there(theirs) {
                let name = one.merchant_uid.clone();
                comparison.cancelled.push((name, theirs));
                let note = "written down here; nothing to do";
                let kind = FindingKind::CancelledThere;
                let finding = finding(kind, ours, Some(theirs), note);
                comparison.findings.push(finding);
            }
        }
        Lookup::NotFound => {
            let note = "asked for by name: the gateway knows no such payment";
            comparison.findings.push(missing(note));
        }
        Lookup::Failed { .. } => {
            let note = "asked for by name: the gateway says that it failed";
            comparison.findings.push(missing(note));
        }
        Lookup::Unclear(doubt) => {
            let note = format!("asked for by name: {}", doubt.detail);
            comparison.findings.push(missing(&note));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::attempt::Payment;
    use crate::domain::audit::{OwnEntry, OwnState};
    use crate::domain::ids::ImpUid;

    /// What is added when the gateway shows a payment of which 900 were given back.
    fn added(ours: Option<&str>, theirs: &str) -> Comparison {
        let one = MissingPayment {
            merchant_uid: "order1".to_owned(),
            own: OwnEntry {
                subscription: None,
                state: OwnState::Paid,
                amount: 9900,
                currency: "KRW".to_owned(),
                customer_uid: Some("cust_1".to_owned()),
                imp_uid: ours.map(|uid| ImpUid::parse(uid).unwrap()),
                cancelled_amount: 0,
                is_being_refunded: false,
            },
        };
        let payment = Payment::example(theirs, 900);
        let mut comparison = Comparison::default();
        add(&mut comparison, &one, Lookup::Paid(payment));
        comparison
    }

    #[test]
    fn what_was_given_back_is_followed_for_our_own_receipt_only() {
        for ours in [Some("imp_1"), None] {
            let same = added(ours, "imp_1");
            assert_eq!(same.cancelled, [("order1".to_owned(), 900)]);
            assert_eq!(same.findings[0].kind, FindingKind::CancelledThere);
        }
        let other = added(Some("imp_1"), "imp_2");
        assert_eq!(other.cancelled, []);
        assert_eq!(other.seen, Vec::<String>::new());
        assert_eq!(other.findings[0].kind, FindingKind::PaidHereNotThere);
        assert!(other.findings[0].note.as_ref().unwrap().contains("imp_2"));
    }
}
