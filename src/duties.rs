//! Tasks that last as long as their owner: each has a name, and one that ends early is not overlooked.

use std::collections::HashMap;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::timeout;

/// Tasks under way. They end with it.
#[derive(Debug, Default)]
pub struct Duties {
    tasks: JoinSet<()>,
    names: HashMap<Id, &'static str>,
}

impl Duties {
    /// Starts one.
    pub fn start(&mut self, name: &'static str, duty: impl Future<Output = ()> + Send + 'static) {
        let task = self.tasks.spawn(duty);
        self.names.insert(task.id(), name);
    }

    /// Waits until one has ended, in whatever way, and names it. Waits for ever if there is none.
    pub async fn one_ended(&mut self) -> &'static str {
        let id = match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => id,
            Some(Err(error)) => JoinError::id(&error),
            None => return std::future::pending().await,
        };
        self.names.remove(&id).unwrap_or_default()
    }

    /// Waits until all have ended.
    pub async fn ended(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }

    /// Waits for all of them, for so long at most; then they are cut off.
    pub async fn end(mut self, within: Duration) {
        timeout(within, self.ended()).await.ok();
        self.tasks.shutdown().await;
    }
}

/// Says that a part of the daemon is gone, and what it does is not done any more.
pub fn log_death(duty: &str) {
    tracing::error!(
        event = "duty_ended",
        duty,
        "a part has ended: {duty}; billd stops, because nothing may be charged without it"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hazard: a task panics, nobody looks at its handle, and the daemon goes on without it.
    #[tokio::test]
    async fn a_duty_that_ends_or_panics_is_named() {
        let mut duties = Duties::default();
        duties.start("waits", std::future::pending());
        duties.start("panics", async { panic!("a test's own") });
        assert_eq!(duties.one_ended().await, "panics");
        duties.start("ends", async {});
        assert_eq!(duties.one_ended().await, "ends");
        duties.end(Duration::ZERO).await;
    }
}
