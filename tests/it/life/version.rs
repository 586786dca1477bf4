//! `row_version`: what ORMs go by to see that a row has moved on.

use super::book::Life;

const VERSION: &str = "select row_version from billd.subscription";

impl Life {
    async fn version(&self) -> i64 {
        self.house.book.text(VERSION).await.parse().unwrap()
    }

    /// A save as an ORM makes it: whether it has found its row.
    async fn save(&self, read: i64, change: &str) -> bool {
        let statement = format!(
            "update billd.subscription set {change}, row_version = {} where row_version = {read}",
            read + 1
        );
        self.house.book.run(&statement).await == 1
    }
}

#[tokio::test]
async fn every_write_of_billd_and_every_plain_update_raises_the_row_version() {
    let life = Life::begun("2026-03-10", "", "").await;
    let mut last = life.version().await;
    let mut raised = async |what: &str| {
        let now = life.version().await;
        assert!(now > last, "{what}: {last}, {now}");
        last = now;
    };
    life.run("update billd.subscription set buyer_name = '점심'")
        .await;
    raised("a plain update").await;
    let claimed = crate::words::claim_one(&life.house.book).await;
    raised("a claim").await;
    crate::words::record(&life.house.book, crate::words::paid(&claimed)).await;
    raised("a record").await;
    life.run("update billd.subscription set billing_day = 5")
        .await;
    raised("a re-plan").await;
    life.run("select billd_internal.replan(id, '1 hour') from billd.subscription")
        .await;
    raised("a re-plan of billd's own").await;
}

#[tokio::test]
async fn a_save_that_raises_the_version_it_has_read_by_one_goes_on_doing_so() {
    let life = Life::begun("2026-03-10", "", "").await;
    life.sweep().await;
    let read = life.version().await;
    let changes = [
        "buyer_name = '점심'",
        "billing_day = 5",
        "amount = 5000",
        "state = 'paused'",
        "state = 'active'",
    ];
    for (more, change) in (0_i64..).zip(changes) {
        assert!(life.save(read + more, change).await, "{change}");
    }
    assert_eq!(life.version().await, read + 5);
}

#[tokio::test]
async fn a_save_of_a_version_that_billd_has_raised_meanwhile_finds_nothing_or_is_refused() {
    let life = Life::begun("2026-03-10", "", "").await;
    let read = life.version().await;
    life.sweep().await;
    assert!(!life.save(read, "name = 'old'").await);
    for stale in [read, read + 1, read - 1] {
        let refused = life
            .refused(&format!("name = 'old', row_version = {stale}"))
            .await;
        assert!(refused.contains("has moved on"), "{refused}");
    }
}
