//! The task of one endpoint: claim, send, record.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::causes::chain;
use crate::delivery::sender::Sender;
use crate::metrics::{DeliveryLabels, Metrics};
use crate::store::{Attempted, Became, Delivery, Store, StoreError};

/// Between two looks while there is nothing to do.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long the first result waits for others: fewer, larger commits.
const RESULT_DELAY: Duration = Duration::from_millis(5);
/// How much of a lease is left for all but the request itself.
const LEASE_MARGIN: Duration = Duration::from_secs(15);
/// A claim that is older than this sends nothing: its lease might end under way.
const SEND_WITHIN: Duration = Duration::from_secs(5);
/// Most requests under way; an endpoint has its own bound below this.
const UNDER_WAY_MAX: u16 = 64;

pub(super) struct Worker {
    endpoint: String,
    store: Store,
    sender: Sender,
    metrics: Arc<Metrics>,
    under_way: JoinSet<Option<(Delivery, Attempted)>>,
    /// Ended, and not recorded yet.
    ended: Vec<(Delivery, Attempted)>,
    trouble: Trouble,
}

impl Worker {
    pub(super) fn new(
        endpoint: String,
        store: Store,
        sender: Sender,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            endpoint,
            store,
            sender,
            metrics,
            under_way: JoinSet::new(),
            ended: Vec::new(),
            trouble: Trouble::default(),
        }
    }

    /// Works until `stop`, and then until what is under way is recorded; or until `hurry`.
    pub(super) async fn run(mut self, stop: CancellationToken, hurry: CancellationToken) {
        loop {
            let is_recorded = self.record().await;
            if stop.is_cancelled() {
                // What can't be recorded is sent again later, under the same id.
                if self.under_way.is_empty() || !is_recorded {
                    return;
                }
            } else if is_recorded {
                self.claim().await;
            }
            tokio::select! {
                Some(sent) = self.under_way.join_next() => self.gather(sent).await,
                () = sleep(LOOK_EVERY) => {}
                () = stop.cancelled(), if !stop.is_cancelled() => {}
                () = hurry.cancelled() => return,
            }
        }
    }

    async fn gather(
        &mut self,
        first: Result<Option<(Delivery, Attempted)>, tokio::task::JoinError>,
    ) {
        sleep(RESULT_DELAY).await;
        self.ended.extend(first.ok().flatten());
        while let Some(sent) = self.under_way.try_join_next() {
            self.ended.extend(sent.ok().flatten());
        }
    }

    async fn claim(&mut self) {
        let under_way = u16::try_from(self.under_way.len()).unwrap_or(UNDER_WAY_MAX);
        let room = UNDER_WAY_MAX.saturating_sub(under_way);
        if room == 0 {
            return;
        }
        let lease = self.sender.timeout().saturating_add(LEASE_MARGIN);
        // From before the claim was sent: what counts is what the server counts from, or earlier.
        let claimed_at = Instant::now();
        let claimed = self.store.claim_webhooks(&self.endpoint, lease, room).await;
        match claimed {
            Ok(claimed) => {
                self.trouble.over();
                for delivery in claimed {
                    self.under_way
                        .spawn(send(self.sender.clone(), delivery, claimed_at));
                }
            }
            Err(error) => self.trouble.met(&self.endpoint, &error),
        }
    }

    /// Writes down what has ended. Returns whether all is written.
    async fn record(&mut self) -> bool {
        if self.ended.is_empty() {
            return true;
        }
        let results: Vec<Attempted> = self.ended.iter().map(|(_, sent)| sent.clone()).collect();
        let recorded = self.store.record_webhooks(&self.endpoint, &results).await;
        match recorded {
            Ok(became) => {
                let became: HashMap<(i64, i32), Became> = became
                    .into_iter()
                    .map(|(event, attempt, became)| ((event, attempt), became))
                    .collect();
                for (delivery, sent) in self.ended.drain(..) {
                    // None of an endpoint that was dropped meanwhile.
                    let key = (delivery.event_id, delivery.attempt_no);
                    if let Some(became) = became.get(&key) {
                        log(&self.endpoint, &delivery, &sent, *became);
                        self.metrics
                            .deliveries
                            .get_or_create(&labels(*became))
                            .inc();
                    }
                }
                true
            }
            Err(error) => {
                self.trouble.met(&self.endpoint, &error);
                false
            }
        }
    }
}

/// `None` if it is too late to send it.
async fn send(
    sender: Sender,
    delivery: Delivery,
    claimed_at: Instant,
) -> Option<(Delivery, Attempted)> {
    if claimed_at.elapsed() > SEND_WITHIN {
        return None;
    }
    let attempted = match &delivery.letter {
        Some(letter) => {
            let sent = sender.send(letter).await;
            Attempted {
                event_id: delivery.event_id,
                attempt_no: delivery.attempt_no,
                status: sent.status,
                latency_ms: u64::try_from(sent.took.as_millis()).unwrap_or(u64::MAX),
                error: sent.error,
                excerpt: sent.excerpt,
            }
        }
        None => Attempted {
            event_id: delivery.event_id,
            attempt_no: delivery.attempt_no,
            status: None,
            latency_ms: 0,
            error: Some("the event is not there any more".to_owned()),
            excerpt: None,
        },
    };
    Some((delivery, attempted))
}

fn labels(became: Became) -> DeliveryLabels {
    DeliveryLabels {
        result: became.as_str(),
    }
}

/// One line per attempt.
fn log(endpoint: &str, delivery: &Delivery, sent: &Attempted, became: Became) {
    let (event_id, kind) = (delivery.event_id, &delivery.kind);
    let why = sent.error.as_deref();
    info!(
        event = "delivery",
        endpoint,
        event.id = event_id,
        event.kind = %kind,
        lane = %delivery.lane,
        attempt.no = delivery.attempt_no,
        status = sent.status,
        duration_ms = sent.latency_ms,
        became = became.as_str(),
        "webhook evt_{event_id} ({kind}) to {endpoint}: {}{}",
        became.as_str(),
        why.map(|why| format!(", {why}")).unwrap_or_default(),
    );
    match became {
        Became::Dead => error!(
            event = "delivery_dead",
            endpoint,
            event.id = event_id,
            "webhook dead: evt_{event_id} ({kind}) could not be delivered to {endpoint} in three days: {}; `billd webhook \
             replay {endpoint}` sends it again",
            why.unwrap_or_default(),
        ),
        Became::Gone => error!(
            event = "endpoint_gone",
            endpoint,
            "webhook stopped: {endpoint} answered 410 Gone, and is sent nothing more; events wait; `billd webhook start \
             {endpoint}` sends again"
        ),
        Became::Delivered | Became::Retried | Became::Stale => {}
    }
}

/// What went wrong with the database, once until it is mended.
#[derive(Debug, Default)]
struct Trouble(bool);

impl Trouble {
    fn met(&mut self, endpoint: &str, error: &StoreError) {
        if !std::mem::replace(&mut self.0, true) {
            warn!(
                event = "delivery_waits",
                endpoint,
                "webhooks to {endpoint} wait: {}",
                chain(error)
            );
        }
    }

    fn over(&mut self) {
        self.0 = false;
    }
}
