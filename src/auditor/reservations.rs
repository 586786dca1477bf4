//! Reservations at the gateway: charges that it is going to make by itself on cards of ours.
//!
//! Its scheduler and billd, side by side on one card, charge the same debt twice.

use jiff::{SignedDuration, Timestamp};

use crate::auditor::{AuditError, Auditor, before, whole_seconds, with_retries};
use crate::domain::audit::{Comparison, Finding, FindingKind};
use crate::gateway::{Gateway, Reservation, Window};
use crate::store::Run;

/// Length of a window: PortOne answers for three months, and the shortest three have 89 days.
const WINDOW: SignedDuration = SignedDuration::from_hours(24 * 89);
/// How far ahead is looked: past every yearly reservation.
const AHEAD: SignedDuration = SignedDuration::from_hours(24 * 400);

impl<G: Gateway> Auditor<G> {
    /// Up to when reservations are looked for.
    pub(super) async fn reservations_until(&self) -> Result<Timestamp, AuditError> {
        let now = whole_seconds(self.store.now().await?);
        Ok(now.saturating_add(AHEAD).unwrap_or(now))
    }

    /// One page of reservations; `None` when the run has come to its end.
    pub(super) async fn reservations(
        &self,
        run: &Run,
        until: Timestamp,
    ) -> Result<Option<Run>, AuditError> {
        if run.window_from >= until {
            let is_done = self.store.finish_audit(run).await?;
            return if is_done {
                Ok(None)
            } else {
                Err(AuditError::TakenOver)
            };
        }
        let end = run.window_from.saturating_add(WINDOW).unwrap_or(until);
        let window = Window {
            from: run.window_from,
            to: end,
        };
        let page = with_retries(|| self.gateway.reservations(window, run.page)).await?;
        let comparison = self.match_cards(&page.reservations).await?;
        let read = u64::try_from(page.reservations.len()).unwrap_or_default();
        let mut next = run.clone();
        next.schedules = run.schedules.saturating_add(read);
        if page.has_next {
            next.page = run.page.saturating_add(1);
        } else {
            next.page = 1;
            // The last second is asked for twice, for nobody says on which side the end belongs.
            next.window_from = before(end);
        }
        self.write(&next, &comparison).await?;
        Ok(Some(next))
    }

    async fn match_cards(&self, list: &[Reservation]) -> Result<Comparison, AuditError> {
        let asked: Vec<_> = list
            .iter()
            .map(|one| (Some(one.customer_uid.clone()), one.merchant_uid.clone()))
            .collect();
        let matches = self.store.partial_matches(&asked).await?;
        let mut comparison = Comparison::default();
        for (one, partial) in list.iter().zip(matches) {
            let Some(subscription) = partial.by_card else {
                continue;
            };
            let at = one.at.map(|at| format!(" at {at}")).unwrap_or_default();
            comparison.findings.push(Finding {
                kind: FindingKind::ForeignSchedule,
                merchant_uid: one.merchant_uid.clone(),
                imp_uid: None,
                subscription: Some(subscription),
                amount_ours: None,
                amount_theirs: one.amount,
                currency: Some(one.currency.clone()),
                note: Some(format!(
                    "the gateway will charge this card by itself{at}; unschedule it"
                )),
            });
        }
        Ok(comparison)
    }
}
