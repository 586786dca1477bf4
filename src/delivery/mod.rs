//! Webhooks out: events are sent to endpoints of the merchant's, signed, in order per subscription.
//!
//! Each endpoint has a task of its own here, with its own bound on requests, so one that is dead or slow holds up no
//! other. What is to be sent, in which order, what was tried and what follows are rows; they change in short
//! transactions over connections of their own (`store::delivery`). Nothing here is kept that a crash could take along:
//! what was under way is sent again when its lease has ended, under the same id.

mod addresses;
mod sender;
mod worker;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::metrics::{EndpointLabels, Metrics};
use crate::store::{EndpointRow, Store};

pub use addresses::Refused;
pub use sender::{Sender, Sent};

/// How soon an endpoint that was added is served, and one that was dropped is not.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How many looks lie between two at how the endpoints are doing, which costs more.
const HEALTH_EVERY: u32 = 5;

/// Serves all endpoints, until `stop`. What is under way then is waited for, unless `hurry`.
pub async fn keep(
    store: Store,
    sender: Sender,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    hurry: CancellationToken,
) {
    let mut workers: HashMap<String, (JoinHandle<()>, CancellationToken)> = HashMap::new();
    let mut health = HashMap::new();
    let mut looks: u32 = 0;
    while !stop.is_cancelled() {
        // A database that is away is told of by the engine.
        if let Ok(names) = store.webhook_names().await {
            for (name, (_, ended)) in &workers {
                if !names.contains(name) {
                    ended.cancel();
                }
            }
            workers.retain(|_, (task, _)| !task.is_finished());
            for name in names {
                workers.entry(name.clone()).or_insert_with(|| {
                    let ended = stop.child_token();
                    let worker = worker::Worker::new(
                        name,
                        store.clone(),
                        sender.clone(),
                        Arc::clone(&metrics),
                    );
                    let task = tokio::spawn(worker.run(ended.clone(), hurry.clone()));
                    (task, ended)
                });
            }
        }
        if looks.is_multiple_of(HEALTH_EVERY)
            && let Ok(endpoints) = store.webhooks().await
        {
            show(&metrics, &endpoints, &mut health);
        }
        looks = looks.wrapping_add(1);
        tokio::select! {
            () = sleep(LOOK_EVERY) => {}
            () = stop.cancelled() => {}
        }
    }
    for (task, _) in workers.into_values() {
        drop(task.await);
    }
}

/// Figures of each endpoint, and a line when one begins to fail or works again.
fn show(metrics: &Metrics, endpoints: &[EndpointRow], health: &mut HashMap<String, String>) {
    for (name, _) in health.extract_if(|name, _| endpoints.iter().all(|row| row.name != *name)) {
        metrics.forget_endpoint(&EndpointLabels { endpoint: name });
    }
    for row in endpoints {
        let labels = EndpointLabels {
            endpoint: row.name.clone(),
        };
        metrics
            .delivery_lag
            .get_or_create(&labels)
            .set(row.lag_seconds.unwrap_or_default());
        metrics.dead_letters.get_or_create(&labels).set(row.dead);
        let is_well = row.is_well();
        metrics
            .endpoint_up
            .get_or_create(&labels)
            .set(is_well.into());
        let before = health.insert(row.name.clone(), row.health.clone());
        if before.as_deref().unwrap_or(EndpointRow::WELL) == row.health {
            continue;
        }
        let (name, why) = (&row.name, row.why.as_deref().unwrap_or_default());
        if is_well {
            info!(
                event = "endpoint_well",
                endpoint = name,
                "webhook endpoint {name} works again"
            );
        } else {
            warn!(
                event = "endpoint_failing",
                endpoint = name,
                "webhook endpoint {name} is {}: {why}",
                row.health
            );
        }
    }
}
