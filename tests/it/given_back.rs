//! Money that somebody gives back at the console, long after it was paid.

use billd::auditor::Auditor;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::audit::world::{Daemon, Stranger};
use crate::support::{House, portone};
use crate::words::given;

const BACK: &str = "select cancelled_amount from billd.charge_attempt";

/// A payment of two weeks ago, of which this much was just given back by somebody else; and its number.
async fn given_back_after_two_weeks(amount: u32) -> (House, String) {
    let it = given().due("cust_1").swept().await;
    it.advance("14 days").await;
    let name = it
        .text("select merchant_uid from billd.charge_attempt")
        .await;
    Stranger::at(&it.sandbox).await.cancel(&name, amount).await;
    (it, name)
}

/// Hazard: the webhook of a cancellation is ignored because its payment is paid, and the next audit looks at the last
/// three days only: the customer is billed on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_of_a_cancelled_payment_is_looked_at_at_once() {
    let (it, name) = given_back_after_two_weeks(9_900).await;
    let daemon = Daemon::start(&it, &[]).await;
    let body = json!({"merchant_uid": name, "imp_uid": "imp_forged", "status": "cancelled"});
    let url = format!("http://{}/webhooks/portone", daemon.address);
    let answer = reqwest::Client::new().post(url).json(&body).send().await;
    assert_eq!(answer.unwrap().status().as_u16(), 200);
    it.comes_to(BACK, "9900").await;
}

/// Hazard: a webhook is believed, and what nobody gave back is written down as given back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_webhook_of_a_cancellation_changes_nothing() {
    let (it, name) = given_back_after_two_weeks(1).await;
    let daemon = Daemon::start(&it, &[]).await;
    let body = json!({"merchant_uid": name, "status": "cancelled", "cancel_amount": 9900});
    let url = format!("http://{}/webhooks/portone", daemon.address);
    reqwest::Client::new()
        .post(url)
        .json(&body)
        .send()
        .await
        .unwrap();
    it.comes_to(BACK, "1").await;
}

#[tokio::test]
async fn what_was_paid_is_looked_at_once_more_before_the_next_period_is_asked_for() {
    let (it, _name) = given_back_after_two_weeks(3_000).await;
    let auditor = Auditor::new(it.store.clone(), portone(&it.sandbox.base_url(), 8), None);
    let stop = CancellationToken::new();
    auditor.daily(3, &stop).await.unwrap();
    it.shows(BACK, 0).await;
    let until_tomorrow = "update billd.control set clock_shift = clock_shift
        + (select next_charge_at - billd.now() - interval '1 day' from billd.subscription)";
    it.run(until_tomorrow).await;
    auditor.daily(3, &stop).await.unwrap();
    it.shows(BACK, 3_000).await;
}
