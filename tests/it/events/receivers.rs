//! The receivers of docs/EVENTS.md, as they stand in the page: killed at any time, each has each event once.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use embedded_postgres::{Embedded, Listen, Options};
use fastrand::Rng;
use tempfile::TempDir;

use crate::events::tell;
use crate::programs::{JDBC, NODE_PG, PSYCOPG, needs};
use crate::support::Book;
use crate::words::psql;

/// A block of the page: its language, and the words that it begins with.
fn block(begins: &str) -> String {
    let page = include_str!("../../../docs/EVENTS.md");
    let (_, rest) = page.split_once(&format!("```{begins}")).unwrap();
    let (rest, _) = rest.split_once("```").unwrap();
    let (_, first) = begins.split_once('\n').unwrap();
    format!("{first}{rest}")
}

/// A receiver as a file, and how it is run.
struct Receiver {
    folder: TempDir,
    command: fn(&Receiver, &Book) -> Command,
}

impl Receiver {
    fn of(language: &str, file: &str, command: fn(&Self, &Book) -> Command) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(file), block(language)).unwrap();
        Self { folder, command }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn start(&self, book: &Book) -> Running {
        let mut command = (self.command)(self, book);
        command.env("DATABASE_URL", &book.url).stdin(Stdio::null());
        Running(command.spawn().unwrap())
    }
}

/// It dies with its owner, at once.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// While events are written, some of them late, the receiver is killed and started again.
async fn each_is_received_once(receiver: &Receiver, consumer: &str, book: Book) {
    book.subscribe_many(5, "cust_").await;
    book.run(&block("sql\ncreate table received")).await;
    book.consumer(consumer).await;
    let mut rng = Rng::with_seed(7);
    for round in 0..5 {
        let running = receiver.start(&book);
        let open = psql(&book, &tell("open")).await;
        for _ in 0..40 {
            book.run("update billd.subscription set amount = amount + 1")
                .await;
        }
        // Somewhere on its way, or before it has begun.
        tokio::time::sleep(Duration::from_millis(rng.u64(50..900))).await;
        drop(running);
        if round % 2 == 0 {
            open.commit().await.unwrap();
        } else {
            open.rollback().await.unwrap();
        }
    }
    let _running = receiver.start(&book);
    let left = "select count(*) from billd.event e where e.id not in (select id from received)";
    book.comes_to(left, "0").await;
    let twice = "select count(*) - count(distinct id) from received";
    book.shows(twice, 0).await;
    // Each row of its own, in the order in which they were written down.
    book.shows(
        "select count(*) from (
            select id < lag(id) over (partition by subscription_id order by ctid) as is_back
            from received where subscription_id is not null) x where is_back",
        0,
    )
    .await;
    book.shows(
        "select count(*) from received r join billd.event e using (id) where (r.kind, r.data) <> (e.kind, e.data)",
        0,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_receiver_in_python_has_each_event_once() {
    needs!(PSYCOPG);
    let receiver = Receiver::of("python\n", "receiver.py", |it, _| {
        let mut command = Command::new((PSYCOPG.find)().unwrap());
        command.arg(it.file("receiver.py"));
        command
    });
    each_is_received_once(&receiver, "python", Book::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_receiver_in_node_has_each_event_once() {
    needs!(NODE_PG);
    let receiver = Receiver::of("js\n", "receiver.js", |it, _| {
        let mut command = Command::new("node");
        command
            .arg(it.file("receiver.js"))
            .env("NODE_PATH", (NODE_PG.find)().unwrap());
        command
    });
    each_is_received_once(&receiver, "node", Book::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_receiver_in_java_has_each_event_once() {
    needs!(JDBC);
    let receiver = Receiver::of("java\n", "Receiver.java", |it, book| {
        let address = book
            .url
            .replace("postgres://postgres@", "jdbc:postgresql://");
        let mut command = Command::new("java");
        command
            .arg("-cp")
            .arg((JDBC.find)().unwrap())
            .arg(it.file("Receiver.java"))
            .env("JDBC_URL", format!("{address}&user=postgres"));
        command
    });
    // JDBC knows no sockets of files.
    let options = Options {
        listen: Listen::Tcp,
        ..Options::default_for_user()
    };
    let server = Embedded::start(options).await.unwrap();
    server.create_database("java").await.unwrap();
    let book = Book::on(server.url("java"));
    book.store.migrate().await.unwrap();
    each_is_received_once(&receiver, "java", book).await;
}
