//! Events: what is told, how it is read, and what becomes of a reader's place.

mod cli;
mod moved;
mod notices;
mod random;
mod read;
mod receivers;
mod told;

use std::fmt::Display;
use std::panic::Location;

use sqlx::{Acquire, AssertSqlSafe, Postgres, Row, Transaction};

use crate::support::Book;

/// A session of somebody's, in its transaction.
pub(crate) type Session = Transaction<'static, Postgres>;

/// The only value of a query in a session's transaction; null is "null".
pub(crate) async fn ask(session: &mut Session, query: &str) -> String {
    let connection = session.acquire().await.unwrap();
    let query = AssertSqlSafe(format!("select ({query})::text"));
    let row = sqlx::raw_sql(query).fetch_one(connection).await.unwrap();
    row.get::<Option<String>, _>(0)
        .unwrap_or_else(|| "null".to_owned())
}

/// The marks of the next events of a consumer: the `merchant_uid` under which [`tell`] writes one.
pub(crate) fn next(consumer: &str, n: u32) -> String {
    format!(
        "select coalesce(string_agg(merchant_uid, ' '), '') from billd.read_events('{consumer}', {n})"
    )
}

/// Writes an event with a mark.
pub(crate) fn tell(mark: &str) -> String {
    format!("select billd_internal.tell('proved', null, merchant_uid => '{mark}')")
}

impl Book {
    /// Fails unless these kinds of events were told, in this order.
    #[track_caller]
    pub(crate) fn told(&self, expected: &str) -> impl Future<Output = ()> {
        self.shows(
            "select string_agg(kind, ' ' order by id) from billd.event where kind <> 'created'",
            expected,
        )
    }

    /// Fails unless a consumer's next events, up to 100, have these marks.
    #[track_caller]
    pub(crate) fn reads<'a>(
        &'a self,
        consumer: &'a str,
        expected: impl Display,
    ) -> impl Future<Output = ()> {
        let (expected, at) = (expected.to_string(), Location::caller());
        async move { assert_eq!(self.text(&next(consumer, 100)).await, expected, "at {at}") }
    }

    pub(crate) async fn consumer(&self, name: &str) {
        self.run(&format!("select billd.add_consumer('{name}')"))
            .await;
    }
}
