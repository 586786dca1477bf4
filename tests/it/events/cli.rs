//! `billd event`.

use crate::process::{billd, exits, run, stdout};
use crate::words::given;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_see_what_was_told_and_how_far_it_was_read() {
    let it = given().due("cust_1").due("decline-stolen-1").swept().await;
    it.consumer("app").await;
    let event = |arguments: &[&str]| {
        let shown = run(billd(&it.url, &it.sandbox.base_url())
            .arg("event")
            .args(arguments));
        exits(&shown, 0);
        stdout(&shown)
    };
    let all = event(&["list"]);
    assert_eq!(all.lines().count(), 5, "{all}");
    let lost = event(&["list", "--kind", "past_due", "--json"]);
    let lost: serde_json::Value = serde_json::from_str(&lost).unwrap();
    assert_eq!(lost["data"]["why"], "hard_decline");
    assert!(event(&["consumers"]).contains("unread_at_most 5"));
    it.run("select * from billd.read_events('app')").await;
    let read: serde_json::Value = serde_json::from_str(&event(&["consumers", "--json"])).unwrap();
    assert_eq!(read["unread_at_most"], 0);
}
