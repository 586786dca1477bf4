//! A sandbox with a data file forgets nothing.

use std::io::Write;
use std::time::Duration;

use serde_json::json;

use super::super::{Options, start};
use super::{Bench, order};

fn options(data: &std::path::Path) -> Options {
    Options {
        data: Some(data.to_owned()),
        ..Options::default()
    }
}

/// A path nobody else uses, cleaned up at the end.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let file = format!("billd-sandbox-{}-{name}.jsonl", std::process::id());
        Self(std::env::temp_dir().join(file))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}

#[tokio::test]
async fn after_a_restart_everything_is_as_it_was() {
    let file = Scratch::new("restart");
    let bench = Bench::with(options(&file.0)).await;
    bench.again("m1", "decline-balance-once").await;
    bench.again("m1", "decline-balance-once").await;
    bench
        .post("/payments/cancel", &json!({"merchant_uid": "m1"}))
        .await;
    let card = json!({"card_number": "4000-0000-0000-1226", "expiry": "2099-12"});
    bench.post("/subscribe/customers/c1", &card).await;
    let at = bench.running.now_us().div_euclid(1_000_000) + 3_600;
    let schedules = json!([{"merchant_uid": "m2", "schedule_at": at, "amount": 100, "name": "n"}]);
    let body = json!({"customer_uid": "c2", "schedules": schedules});
    bench.post("/subscribe/payments/schedule", &body).await;
    bench.running.advance(Duration::from_mins(10));
    let (ledger, now_us) = (bench.running.ledger(), bench.running.now_us());
    bench.running.stop().await;

    let bench = Bench::with(options(&file.0)).await;
    assert_eq!(bench.running.ledger(), ledger);
    assert!(bench.running.now_us() >= now_us);
    assert_eq!(
        bench.get("/payments/find/m1").await.1["response"]["status"],
        "cancelled"
    );
    assert_eq!(bench.again("m1", "c9").await.1["code"], 1);
    assert_eq!(
        bench.again("m3", "decline-balance-once").await.1["response"]["status"],
        "paid"
    );
    assert_eq!(
        bench.again("m4", "c1").await.1["response"]["status"],
        "failed"
    );
    bench.running.advance(Duration::from_hours(1));
    let uids: Vec<_> = bench
        .running
        .ledger()
        .into_iter()
        .map(|e| e.merchant_uid)
        .collect();
    assert_eq!(uids, ["m1", "m3", "m2"]);
    assert_eq!(bench.running.summary().merchant_uids_approved_twice, 0);
}

#[tokio::test]
async fn a_line_cut_by_a_crash_is_dropped_and_a_broken_one_is_refused() {
    let file = Scratch::new("torn");
    let bench = Bench::with(options(&file.0)).await;
    bench.again("m1", "c1").await;
    let second = start(options(&file.0)).await;
    assert!(second.is_err(), "two sandboxes on one file");
    bench.running.stop().await;
    let append = |text: &str| {
        let file = std::fs::OpenOptions::new().append(true).open(&file.0);
        file.unwrap().write_all(text.as_bytes()).unwrap();
    };
    append("{\"payment\":{\"numb");
    let bench = Bench::with(options(&file.0)).await;
    assert_eq!(bench.running.ledger().len(), 1);
    bench.send(&order("m2", "c1")).await.unwrap();
    bench.running.stop().await;
    append("{\"payment\":{\"numb\n");
    let broken = start(options(&file.0)).await.unwrap_err();
    assert!(broken.to_string().starts_with("line 4:"), "{broken}");
}
