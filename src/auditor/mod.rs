//! The auditor: holds the gateway's books against ours, page by page.
//!
//! PortOne V1 has no idempotency key, so this comparison is the last defence. It reads, writes down
//! what is proved, and notifies a person of the rest; it never asks for money and never gives any back.
//! One page is in memory at a time. What a page means and how far the run has come are one commit,
//! so a crash anywhere leaves a run that goes on at that page.

mod attempts;
mod given_back;
mod notify;
mod reservations;

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::causes::chain;
use crate::domain::audit::{BookEntry, BookStatus, Comparison, PartialMatch};
use crate::engine::Doorbell;
use crate::gateway::{Gateway, GatewayError, Window};
use crate::store::{Run, Stage, Store, StoreError};

/// Length of a window. PortOne takes 90 days; a day keeps the pages of one list few, so that
/// records which change their place in it while it is read are few too.
const WINDOW: SignedDuration = SignedDuration::from_hours(24);
/// Waits before a page, or a write, is tried again. Then the run stops, and can be taken up again.
const WAITS: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(20),
];

/// Why a run stopped before its end. It can be taken up where it stood.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The database did not do its part.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The gateway did not answer.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    /// Somebody else goes on with this run.
    #[error("the audit was taken over by another process")]
    TakenOver,
    /// It was told to stop.
    #[error("the audit was told to stop")]
    Stopped,
}

impl AuditError {
    /// Whether the next try would end at the same page. A gateway or a database that is away, or a
    /// refused key, stands in the way of every run alike, so giving one up would help none.
    fn is_about_the_run(&self) -> bool {
        match self {
            Self::Store(error) => error.is_about_rows(),
            Self::Gateway(GatewayError::Unreadable(_)) => true,
            Self::Gateway(GatewayError::Unreachable(_) | GatewayError::Refused(_))
            | Self::TakenOver
            | Self::Stopped => false,
        }
    }
}

/// The auditor.
pub struct Auditor<G> {
    store: Store,
    gateway: Arc<G>,
    /// Rung when an open attempt was made due to be asked about; a command on its own has no one
    /// to wake.
    doorbell: Option<Arc<Doorbell>>,
}

impl<G: Gateway> Auditor<G> {
    /// An auditor with a gateway client of its own, so that its long answers never take a
    /// connection from a charge.
    pub fn new(store: Store, gateway: G, doorbell: Option<Arc<Doorbell>>) -> Self {
        Self {
            store,
            gateway: Arc::new(gateway),
            doorbell,
        }
    }

    /// What a daemon does at its hour: ends what another daemon left, then compares the last days and looks at what
    /// was paid for periods that are about to end, unless another daemon does.
    pub async fn daily(&self, days: u16, stop: &CancellationToken) -> Result<(), AuditError> {
        while let Some(run) = self.store.take_audit(true).await? {
            match self.audit(run.clone(), stop, &|_run| {}).await {
                Ok(_ended) => {}
                Err(error) if error.is_about_the_run() => self.give_up(&run, &error).await?,
                Err(error) => return Err(error),
            }
        }
        let to = whole_seconds(self.store.now().await?);
        let back = SignedDuration::from_hours(24).saturating_mul(i32::from(days));
        let from = to.saturating_sub(back).unwrap_or(to);
        if let Some(run) = self.store.begin_audit(from, to, true).await? {
            self.audit(run, stop, &|_run| {}).await?;
            self.look_before_renewals(days, stop).await?;
        }
        Ok(())
    }

    /// Gives up a run that was cut short twice: one page that can't be compared must not keep every
    /// later day from being compared.
    async fn give_up(&self, run: &Run, error: &AuditError) -> Result<(), AuditError> {
        if self.store.fail_audit(run).await? {
            error!(
                event = "audit_given_up",
                error = chain(error),
                audit.id = run.id,
                "audit {} was given up: it was cut short again; compare its days with \
                 `billd audit --from … --to …`: {} to {}",
                run.id,
                run.from,
                run.to,
            );
        }
        Ok(())
    }

    /// Carries a run to its end, and notifies of what is new. `show` is called after every page.
    pub async fn audit(
        &self,
        run: Run,
        stop: &CancellationToken,
        show: &(dyn Fn(&Run) + Sync),
    ) -> Result<Run, AuditError> {
        info!(event = "audit_begun", audit.id = run.id, from = %run.from, to = %run.to, "audit {}: from {} to {}", run.id, run.from, run.to);
        let last = run.clone();
        let ended = self.compare(run, stop, show).await;
        // A person is notified of what was found before a stop or a fault all the same.
        let notified = notify::notify(&self.store).await;
        match ended {
            Ok(run) => {
                notified?;
                notify::ended(&run);
                Ok(run)
            }
            Err(error) => {
                self.store.release_audit(&last).await.ok();
                Err(error)
            }
        }
    }

    async fn compare(
        &self,
        mut run: Run,
        stop: &CancellationToken,
        show: &(dyn Fn(&Run) + Sync),
    ) -> Result<Run, AuditError> {
        let until = self.reservations_until().await?;
        loop {
            if stop.is_cancelled() {
                return Err(AuditError::Stopped);
            }
            let work = async {
                match run.stage {
                    Stage::Books => self.books(&run).await.map(Some),
                    Stage::Attempts => self.attempts(&run).await.map(Some),
                    Stage::Schedules => self.reservations(&run, until).await,
                }
            };
            let next = tokio::select! {
                next = work => next?,
                () = stop.cancelled() => return Err(AuditError::Stopped),
            };
            let Some(next) = next else { return Ok(run) };
            run = next;
            show(&run);
        }
    }

    /// One page of the gateway's payments.
    async fn books(&self, run: &Run) -> Result<Run, AuditError> {
        let window = Window {
            from: run.window_from,
            to: before(window_end(run)),
        };
        let page = with_retries(|| self.gateway.payments(window, run.page)).await?;
        if page.unreadable > 0 {
            warn!(
                event = "audit_unreadable",
                audit.id = run.id,
                unreadable = page.unreadable,
                "{} records of the gateway's books can't be read; window from {}, page {}",
                page.unreadable,
                run.window_from,
                run.page,
            );
        }
        let comparison = self.compare_page(&page.entries).await?;
        let read = page.entries.len().saturating_add(page.unreadable);
        let mut next = run.clone();
        next.payments = run
            .payments
            .saturating_add(u64::try_from(read).unwrap_or_default());
        if page.has_next {
            next.page = run.page.saturating_add(1);
        } else {
            next.stage = Stage::Attempts;
            next.page = 1;
            next.walked_to = String::new();
        }
        self.write(&next, &comparison).await?;
        Ok(next)
    }

    async fn compare_page(&self, entries: &[BookEntry]) -> Result<Comparison, AuditError> {
        let mut comparison = Comparison::default();
        let with_money: Vec<&BookEntry> = entries
            .iter()
            .filter(|entry| entry.status != BookStatus::NoMoney)
            .collect();
        let names: Vec<String> = with_money
            .iter()
            .map(|entry| entry.merchant_uid.clone())
            .collect();
        let own = self.store.own_entries(&names).await?;
        let unmatched: Vec<&BookEntry> = with_money
            .iter()
            .copied()
            .filter(|entry| !own.contains_key(&entry.merchant_uid))
            .collect();
        let asked: Vec<_> = unmatched
            .iter()
            .map(|entry| (entry.customer_uid.clone(), entry.merchant_uid.clone()))
            .collect();
        let matches = self.store.partial_matches(&asked).await?;
        for (entry, partial) in unmatched.into_iter().zip(matches) {
            comparison.add(entry, None, partial);
        }
        for entry in with_money {
            if let Some(own) = own.get(&entry.merchant_uid) {
                comparison.add(entry, Some(own), PartialMatch::default());
            }
        }
        Ok(comparison)
    }

    /// Writes a page down. A database that is away for a moment does not end a run.
    async fn write(&self, run: &Run, comparison: &Comparison) -> Result<(), AuditError> {
        let mut waits = WAITS.iter();
        loop {
            match self.store.write_comparison(run, comparison).await {
                Ok(true) => break,
                Ok(false) => return Err(AuditError::TakenOver),
                Err(error) if error.is_passing() => match waits.next() {
                    Some(wait) => sleep(*wait).await,
                    None => return Err(error.into()),
                },
                Err(error) => return Err(error.into()),
            }
        }
        if let Some(doorbell) = self
            .doorbell
            .as_ref()
            .filter(|_| !comparison.ask_now.is_empty())
        {
            doorbell.ring();
        }
        Ok(())
    }

    async fn step(&self, next: Run) -> Result<Run, AuditError> {
        if self.store.move_audit(&next).await? {
            Ok(next)
        } else {
            Err(AuditError::TakenOver)
        }
    }
}

/// Asks again after a while. A refused key is not asked about twice: it does not mend itself.
async fn with_retries<T, F: Future<Output = Result<T, GatewayError>>>(
    ask: impl Fn() -> F,
) -> Result<T, GatewayError> {
    for wait in WAITS {
        match ask().await {
            Err(error @ (GatewayError::Unreachable(_) | GatewayError::Unreadable(_))) => {
                warn!(
                    event = "audit_waits",
                    error = chain(&error),
                    "the gateway's books can't be read now; trying again"
                );
                sleep(wait).await;
            }
            answer => return answer,
        }
    }
    ask().await
}

/// The instant behind the window that is being compared.
fn window_end(run: &Run) -> Timestamp {
    let end = run.window_from.saturating_add(WINDOW).unwrap_or(run.to);
    end.min(run.to)
}

/// The gateway counts both ends of a window in, in whole seconds.
fn before(end: Timestamp) -> Timestamp {
    end.saturating_sub(SignedDuration::from_secs(1))
        .unwrap_or(end)
}

/// The second that an instant lies in.
fn whole_seconds(instant: Timestamp) -> Timestamp {
    Timestamp::from_second(instant.as_second()).unwrap_or(instant)
}
