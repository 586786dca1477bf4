//! The dataless signal that says "look".

use tokio::sync::Notify;

/// Rung by the scheduler, a webhook or a person; heard by the engine.
///
/// A ring while nobody listens is kept, and ten of them are one: none is lost, none piles up.
#[derive(Debug, Default)]
pub struct Doorbell {
    charge: Notify,
    ask: Notify,
}

impl Doorbell {
    /// Says "look at what is due, and at what is open".
    pub fn ring(&self) {
        self.charge.notify_one();
        self.ask.notify_one();
    }

    pub(super) async fn charge_rung(&self) {
        self.charge.notified().await;
    }

    pub(super) async fn ask_rung(&self) {
        self.ask.notified().await;
    }
}
