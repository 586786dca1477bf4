//! Reading by SQL: each event once, whatever else is open.

use crate::bouncer::PgBouncer;
use crate::events::{ask, next, tell};
use crate::programs::needs;
use crate::support::Book;
use crate::words::{given, psql, type_on};

/// A book with a consumer `app`.
async fn book() -> Book {
    let book = Book::new().await;
    book.consumer("app").await;
    book
}

/// Hazard: an event gets its number, another one gets a higher number and is committed first; whoever reads up to the
/// higher number never sees the lower one.
#[tokio::test]
async fn an_event_whose_transaction_ends_late_is_read_late_and_holds_up_no_other() {
    let book = book().await;
    let late = psql(&book, &tell("late")).await;
    book.run(&tell("b")).await;
    book.reads("app", "b").await;
    book.run(&tell("c")).await;
    book.reads("app", "c").await;
    late.commit().await.unwrap();
    book.run(&tell("d")).await;
    book.reads("app", "late d").await;
    book.reads("app", "").await;
}

/// Hazard: a snapshot ends at the last transaction that has ended. One with a higher number may be open, with an event
/// whose number is lower than some that can be seen: it is in no list of what was open.
#[tokio::test]
async fn an_open_transaction_above_the_snapshots_end_is_not_missed() {
    let book = book().await;
    for round in 0..20 {
        let mut first = psql(&book, "select pg_current_xact_id()").await;
        let second = psql(&book, &tell(&format!("second{round}"))).await;
        type_on(&mut first, &tell(&format!("first{round}")))
            .await
            .unwrap();
        first.commit().await.unwrap();
        book.reads("app", format!("first{round}")).await;
        book.run(&tell("more")).await;
        book.reads("app", "more").await;
        second.commit().await.unwrap();
        book.reads("app", format!("second{round}")).await;
    }
}

#[tokio::test]
async fn who_rolls_back_reads_again_and_who_commits_has_read_once() {
    let book = book().await;
    book.run(&tell("a")).await;
    book.run(&tell("b")).await;
    let mut reader = psql(&book, "select 1").await;
    assert_eq!(ask(&mut reader, &next("app", 100)).await, "a b");
    assert_eq!(ask(&mut reader, &next("app", 100)).await, "");
    reader.rollback().await.unwrap();
    let mut reader = psql(&book, "savepoint before").await;
    assert_eq!(ask(&mut reader, &next("app", 1)).await, "a");
    type_on(&mut reader, "rollback to savepoint before")
        .await
        .unwrap();
    assert_eq!(ask(&mut reader, &next("app", 1)).await, "a");
    reader.commit().await.unwrap();
    book.reads("app", "b").await;
    book.reads("app", "").await;
}

/// Hazard: a program reads, does its work with a verb that writes an event itself, and never reads that one.
#[tokio::test]
async fn what_a_reader_writes_itself_is_read_next_time() {
    for isolation in ["read committed", "repeatable read", "serializable"] {
        let book = book().await;
        book.run(&tell("a")).await;
        let begin = format!(
            "set transaction isolation level {isolation}; {}",
            tell("mine before")
        );
        let mut reader = psql(&book, &begin).await;
        assert_eq!(ask(&mut reader, &next("app", 100)).await, "a");
        type_on(&mut reader, &tell("mine after")).await.unwrap();
        assert_eq!(ask(&mut reader, &next("app", 100)).await, "");
        reader.commit().await.unwrap();
        book.run(&tell("z")).await;
        book.reads("app", "mine before mine after z").await;
        book.reads("app", "").await;
    }
}

/// Hazard: a reader whose snapshot is old says that it has read what was committed since.
#[tokio::test]
async fn a_reader_of_an_old_snapshot_leaves_the_rest_for_later() {
    for isolation in ["repeatable read", "serializable"] {
        let book = book().await;
        book.run(&tell("a")).await;
        let begin = format!("set transaction isolation level {isolation}; select 1");
        let mut reader = psql(&book, &begin).await;
        let open = psql(&book, &tell("late")).await;
        book.run(&tell("b")).await;
        assert_eq!(ask(&mut reader, &next("app", 100)).await, "a");
        reader.commit().await.unwrap();
        book.reads("app", "b").await;
        open.commit().await.unwrap();
        book.reads("app", "late").await;
    }
}

#[tokio::test]
async fn two_programs_of_one_name_take_turns() {
    let book = book().await;
    for mark in ["a", "b", "c"] {
        book.run(&tell(mark)).await;
    }
    let mut first = psql(&book, "select 1").await;
    assert_eq!(ask(&mut first, &next("app", 2)).await, "a b");
    let mut second = psql(&book, "set local lock_timeout = '50ms'").await;
    let refused = type_on(&mut second, &next("app", 2)).await.unwrap_err();
    assert!(refused.contains("lock timeout"), "{refused}");
    second.rollback().await.unwrap();
    let query = next("app", 2);
    let (waiting, ()) = tokio::join!(book.text(&query), async {
        first.commit().await.unwrap();
    });
    assert_eq!(waiting, "c");
}

#[tokio::test]
async fn a_consumer_begins_at_the_start_now_or_behind_an_event_and_is_given_its_kinds() {
    let book = book().await;
    let open = psql(&book, &tell("open")).await;
    book.run(&tell("a")).await;
    book.run("select billd.add_consumer('now', 'now'), billd.add_consumer('from', (
        select max(id)::text from billd.event)), billd.add_consumer('cards', kinds => '{card_changed}')")
        .await;
    for consumer in ["now", "from", "cards"] {
        book.reads(consumer, "").await;
    }
    book.run(&tell("b")).await;
    book.run("select billd_internal.tell('card_changed', null, merchant_uid => 'card')")
        .await;
    open.commit().await.unwrap();
    // What was open is not the past.
    book.reads("now", "open b card").await;
    book.reads("from", "b card").await;
    book.reads("cards", "card").await;
    book.reads("app", "open a b card").await;
    for (statement, words) in [
        (
            "select * from billd.read_events('nobody')",
            "there is no consumer nobody",
        ),
        (
            "select * from billd.read_events('app', 0)",
            "n is 1 to 100000",
        ),
        (
            "select billd.add_consumer('app')",
            "there is a consumer app already",
        ),
        (
            "select billd.add_consumer('x', 'soon')",
            "start, now, or the id",
        ),
        (
            "select billd.add_consumer('x', kinds => '{paid,payed}')",
            "no events of kind payed",
        ),
        (
            "select billd.drop_consumer('nobody')",
            "there is no consumer nobody",
        ),
    ] {
        book.refuses(statement, words).await;
    }
    book.run("select billd.drop_consumer('app')").await;
    book.refuses("select * from billd.read_events('app')", "no consumer")
        .await;
}

#[tokio::test]
async fn pages_of_any_size_give_each_event_once_in_order() {
    let book = book().await;
    for n in [1, 2, 3, 7] {
        let open = psql(&book, &tell("x")).await;
        let marks: Vec<String> = (0..12).map(|mark| format!("m{mark:02}")).collect();
        for mark in &marks {
            book.run(&tell(mark)).await;
        }
        let mut read = Vec::new();
        read.push(book.text(&next("app", n)).await);
        open.commit().await.unwrap();
        while let Some(page) = Some(book.text(&next("app", n)).await).filter(|it| !it.is_empty()) {
            assert!(page.split(' ').count() <= usize::try_from(n).unwrap());
            read.push(page);
        }
        assert_eq!(read.join(" "), marks.join(" ") + " x");
    }
}

/// Hazard: each look of an idle program writes a row, and a transaction number is used up.
#[tokio::test]
async fn who_finds_nothing_writes_nothing() {
    let book = book().await;
    book.run(&tell("a")).await;
    book.reads("app", "a").await;
    let mut reader = psql(&book, "set transaction read only").await;
    assert_eq!(ask(&mut reader, &next("app", 100)).await, "");
    let number = "select pg_current_xact_id_if_assigned()";
    assert_eq!(ask(&mut reader, number).await, "null");
}

/// Hazard: a pooler gives each transaction another session; a place that a session keeps is lost.
#[tokio::test]
async fn reading_works_through_a_pooler() {
    needs!(PGBOUNCER);
    let book = book().await;
    let pooler = PgBouncer::before(&book.url);
    let sql = pooler.sql(&book.url);
    for mark in ["a", "b", "c"] {
        book.run(&tell(mark)).await;
        assert_eq!(crate::support::text(&sql, &next("app", 9)).await, mark);
    }
    sql.close().await;
}

/// Hazard: events stay away, and nobody knows that a session was left open in a window of somebody's.
#[tokio::test]
async fn a_transaction_that_was_left_open_is_named_and_so_is_a_consumer_that_reads_no_more() {
    let it = given().due("cust_1").await;
    it.consumer("app").await;
    let mut open = psql(&it, "select billd.pause(id) from billd.subscription").await;
    let pid = ask(&mut open, "select pg_backend_pid()").await;
    let told =
        "select string_agg(concat_ws(' ', kind, reason), '; ' order by kind) from billd.attention
        where kind in ('left_open', 'consumer')";
    it.shows(told, "null").await;
    it.advance("2 minutes").await;
    let said = it.text(told).await;
    assert!(said.contains(&format!("process {pid} ")), "{said}");
    open.commit().await.unwrap();
    it.shows(told, "null").await;
    it.advance("25 hours").await;
    it.shows(
        told,
        "consumer consumer app has not read an event of that time",
    )
    .await;
    it.run("select * from billd.read_events('app')").await;
    it.shows(told, "null").await;
}

#[tokio::test]
async fn the_lag_of_a_consumer_is_shown() {
    let book = book().await;
    let lag = "select concat_ws(' ', next_id is not null, unread_at_most) from billd.consumer_lag";
    book.shows(lag, "f 0").await;
    let open = psql(&book, &tell("open")).await;
    book.run(&tell("a")).await;
    book.run(&tell("b")).await;
    book.shows(lag, "t 2").await;
    book.text(&next("app", 1)).await;
    book.shows(lag, "t 1").await;
    book.text(&next("app", 9)).await;
    book.shows(lag, "f 0").await;
    open.commit().await.unwrap();
    book.shows(lag, "t 3").await;
}

/// Hazard: what is cleared away was not read yet by everybody.
#[tokio::test]
async fn events_are_forgotten_with_the_history_and_never_before_all_have_read_them() {
    let it = given().due("cust_1").swept().await;
    it.consumer("app").await;
    it.consumer("slow").await;
    it.run("select * from billd.read_events('app')").await;
    it.advance("14 months").await;
    let forget = "call billd.forget_before((billd.now() - interval '1 year')::date)";
    it.run(forget).await;
    it.told("paid").await;
    it.run("select * from billd.read_events('slow', 1)").await;
    it.run(forget).await;
    let kinds = "select string_agg(kind, ' ') from billd.event";
    it.shows(kinds, "paid").await;
    it.run("select * from billd.read_events('slow')").await;
    it.run(forget).await;
    it.shows(kinds, "null").await;
    for statement in [
        "update billd_internal.event_row set kind = 'x'",
        "delete from billd_internal.event_row",
        "truncate billd_internal.event_row",
    ] {
        it.run(&tell("a")).await;
        it.refuses(statement, "events are only added to").await;
    }
}

/// Hazard: the bell rings for each event, and each commit waits for the bell, though nobody listens.
#[tokio::test]
async fn the_bell_rings_once_per_commit_and_for_those_who_want_it() {
    let book = Book::new().await;
    let mut listener = sqlx::postgres::PgListener::connect(&book.url)
        .await
        .unwrap();
    listener.listen_all(["billd_event", "end"]).await.unwrap();
    book.run("select billd.add_consumer('quiet', bell => false)")
        .await;
    book.run(&tell("a")).await;
    book.consumer("loud").await;
    book.run(&format!("{}; {}", tell("b"), tell("c"))).await;
    book.run("notify \"end\"").await;
    let mut heard = Vec::new();
    while heard.last().is_none_or(|last| last != "end") {
        heard.push(listener.recv().await.unwrap().channel().to_owned());
    }
    assert_eq!(heard, ["billd_event", "end"]);
}
