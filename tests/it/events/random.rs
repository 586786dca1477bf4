//! Writers, readers and open transactions in random order: each consumer has each event once, and those of a
//! subscription in the order of their commits.

use std::collections::BTreeMap;

use fastrand::Rng;

use crate::events::{Session, ask, next, tell};
use crate::support::Book;
use crate::words::{psql, type_on};

/// One that writes: its transaction, the rows it has locked, and what it wrote.
struct Writer {
    session: Session,
    wrote: Vec<(usize, String)>,
}

struct World {
    book: Book,
    rng: Rng,
    rows: usize,
    writers: Vec<Option<Writer>>,
    /// Per row, what was committed, in order.
    committed: BTreeMap<usize, Vec<String>>,
    /// Per consumer, what it has committed to have read.
    read: Vec<Vec<String>>,
    marks: usize,
}

impl World {
    async fn new(seed: u64, rows: usize) -> Self {
        let book = Book::new().await;
        book.subscribe_many(u32::try_from(rows).unwrap(), "cust_")
            .await;
        for consumer in 0..3 {
            book.run(&format!("select billd.add_consumer('c{consumer}', 'now')"))
                .await;
        }
        Self {
            book,
            rng: Rng::with_seed(seed),
            rows,
            writers: (0..6).map(|_| None).collect(),
            committed: BTreeMap::new(),
            read: vec![Vec::new(); 3],
            marks: 0,
        }
    }

    async fn step(&mut self) {
        if self.rng.u8(..100) < 35 {
            return self.read_some().await;
        }
        let which = self.rng.usize(..self.writers.len());
        let Some(writer) = self.writers.get_mut(which) else {
            return;
        };
        match (writer.take(), self.rng.u8(..100)) {
            (None, chance) => {
                // Some have their number long before they write.
                let first = if chance < 50 {
                    "select 1"
                } else {
                    "select pg_current_xact_id()"
                };
                let session = psql(&self.book, first).await;
                *writer = Some(Writer {
                    session,
                    wrote: Vec::new(),
                });
            }
            (Some(open), 0..=24) => {
                open.session.commit().await.unwrap();
                for (row, mark) in open.wrote {
                    self.committed.entry(row).or_default().push(mark);
                }
            }
            (Some(open), 25..=34) => open.session.rollback().await.unwrap(),
            (Some(mut open), _) => {
                let row = self.rng.usize(1..=self.rows);
                self.marks += 1;
                let mark = format!("r{row}m{}", self.marks);
                let free = format!(
                    "select count(*) from (select from billd.subscription where customer_uid = 'cust_{row}'
                     for no key update skip locked) x"
                );
                if ask(&mut open.session, &free).await == "1" {
                    let undone = self.rng.u8(..10) == 0;
                    let statement = if undone {
                        format!("savepoint s; {}; rollback to s", tell(&mark))
                    } else {
                        tell(&mark)
                    };
                    type_on(&mut open.session, &statement).await.unwrap();
                    if !undone {
                        open.wrote.push((row, mark));
                    }
                }
                *writer = Some(open);
            }
        }
    }

    async fn read_some(&mut self) {
        let which = self.rng.usize(..self.read.len());
        let isolation = *self
            .rng
            .choice(&["read committed", "repeatable read"])
            .unwrap();
        let begin = format!("set transaction isolation level {isolation}");
        let mut reader = psql(&self.book, &begin).await;
        let n = *self.rng.choice(&[1, 2, 5, 100]).unwrap();
        let page = ask(&mut reader, &next(&format!("c{which}"), n)).await;
        if self.rng.u8(..4) == 0 {
            return reader.rollback().await.unwrap();
        }
        reader.commit().await.unwrap();
        if let Some(read) = self.read.get_mut(which) {
            read.extend(page.split_whitespace().map(str::to_owned));
        }
    }

    async fn ends(mut self) {
        for writer in &mut self.writers {
            if let Some(open) = writer.take() {
                open.session.commit().await.unwrap();
                for (row, mark) in open.wrote {
                    self.committed.entry(row).or_default().push(mark);
                }
            }
        }
        for (which, mut read) in self.read.into_iter().enumerate() {
            loop {
                let page = self.book.text(&next(&format!("c{which}"), 7)).await;
                if page.is_empty() {
                    break;
                }
                read.extend(page.split_whitespace().map(str::to_owned));
            }
            for (row, marks) in &self.committed {
                let prefix = format!("r{row}m");
                let of_row: Vec<String> = read
                    .iter()
                    .filter(|mark| mark.starts_with(&prefix))
                    .cloned()
                    .collect();
                assert_eq!(&of_row, marks, "consumer {which}, row {row}");
            }
            let all: usize = self.committed.values().map(Vec::len).sum();
            assert_eq!(read.len(), all, "consumer {which}");
        }
    }
}

/// Hazard: an order of commits that nobody thought of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_transactions_interleave_each_consumer_has_each_event_once_in_order() {
    for seed in 0..12 {
        let mut world = World::new(seed, 4).await;
        for _ in 0..160 {
            world.step().await;
        }
        world.ends().await;
    }
}
