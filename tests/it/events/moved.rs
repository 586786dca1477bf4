//! A book that is dumped and put back in another cluster, or whose stand-by takes its place, in mid-delivery.

use embedded_postgres::{Embedded, Options};

use crate::events::{next, tell};
use crate::home::copy;
use crate::programs::needs;
use crate::support::{Book, server};
use crate::tail::Pair;
use crate::words::{psql, type_on};

/// Hazard: in another cluster transactions are counted from the beginning, so what is written there seems to be older than all
/// that was read, and is never read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_book_that_is_put_back_elsewhere_goes_on_without_loss() {
    needs!(PG_DUMP);
    let home = Book::new().await;
    home.consumer("app").await;
    home.consumer("behind").await;
    home.run("select billd.add_consumer('idle', 'now')").await;
    for mark in ["a", "b", "c"] {
        home.run(&tell(mark)).await;
    }
    let open = psql(&home, &tell("open")).await;
    assert_eq!(home.text(&next("app", 2)).await, "a b");
    assert_eq!(home.text(&next("behind", 1)).await, "a");
    open.commit().await.unwrap();
    home.run(&tell("d")).await;

    let other = Embedded::start(Options::default_for_user()).await.unwrap();
    other.create_database("restored").await.unwrap();
    let elsewhere = Book::on(other.url("restored"));
    server()
        .await
        .create_database("restored_events")
        .await
        .unwrap();
    let beside = Book::on(server().await.url("restored_events"));
    for copied in [&elsewhere, &beside] {
        // Open from before the book was there, with a number of its own.
        let mut early = psql(copied, "select pg_current_xact_id()").await;
        copy(&home.url, &copied.url);
        assert_eq!(copied.text(&next("app", 1)).await, "c");
        copied.run(&tell("e")).await;
        type_on(&mut early, &tell("early")).await.unwrap();
        // Where transactions are counted anew, what was written before the first look comes with the next one.
        let read = [
            copied.text(&next("behind", 9)).await,
            copied.text(&next("behind", 9)).await,
        ];
        assert_eq!(read.join(" ").trim_end(), "b c open d e");
        early.commit().await.unwrap();
        copied.run(&tell("f")).await;
        for (consumer, rest) in [
            ("app", "open d e"),
            ("behind", ""),
            ("idle", "a b c open d e"),
        ] {
            let mut read = Vec::new();
            loop {
                let page = copied.text(&next(consumer, 3)).await;
                if page.is_empty() {
                    break;
                }
                read.push(page);
            }
            let read = read.join(" ");
            let either = [format!("{rest} early f"), format!("{rest} f early")];
            assert!(
                either.iter().any(|it| it.trim_start() == read),
                "{consumer}: {read}"
            );
        }
    }
    let skipped = "select max(id) > 1000000 from billd.event";
    elsewhere.shows(skipped, "true").await;
    home.shows(skipped, "false").await;
}

/// Hazard: a fail-over loses the last commits; a program has them, and others come under the same ids.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stand_by_that_takes_over_goes_on_without_loss_and_gives_no_id_twice() {
    let pair = Pair::new(&[]).await;
    pair.book.consumer("app").await;
    for mark in ["a", "b", "c"] {
        pair.book.run(&tell(mark)).await;
    }
    assert_eq!(pair.book.text(&next("app", 2)).await, "a b");
    pair.book
        .run("select billd_internal.note_server('1 second')")
        .await;
    pair.lose_tail().await;
    for _ in 0..40 {
        pair.book.run(&tell("lost")).await;
    }
    let lost = pair.book.text("select max(id) from billd.event").await;
    let (_lane, house) = pair.fail_over().await;
    house.run(&tell("d")).await;
    house
        .run("select billd_internal.note_server('1 second')")
        .await;
    house.run(&tell("e")).await;
    house.reads("app", "c d e").await;
    house.reads("app", "").await;
    house
        .shows(&format!("select max(id) > {lost} from billd.event"), "true")
        .await;
}
