//! The words that the tests of a life are written in.

use crate::support::House;

/// A book with one agreement, whose clock is set by hand. All times are read in its zone.
pub(super) struct Life {
    pub(super) house: House,
}

impl Life {
    /// An agreement of 9,900 a month in Seoul, inserted on a day at ten, and what else is said of it.
    pub(super) async fn begun(day: &str, columns: &str, values: &str) -> Self {
        let life = Self {
            house: House::new().await,
        };
        life.at(day).await;
        life.run(&format!(
            "insert into billd.subscription (customer_uid, name, amount {columns})
             values ('card-1', '프리미엄 월간', 9900 {values})"
        ))
        .await;
        life
    }

    /// Monthly, paid from a day on; nothing else.
    pub(super) async fn paid(day: &str) -> Self {
        let life = Self::begun(day, "", "").await;
        life.sweep().await;
        life
    }

    /// The clock shows this day in Seoul, at ten unless it says when.
    pub(super) async fn at(&self, day: &str) {
        let time = if day.contains(':') {
            day.to_owned()
        } else {
            format!("{day} 10:00")
        };
        self.run(&format!(
            "update billd.control
             set clock_shift = timestamp '{time}' at time zone 'Asia/Seoul' - statement_timestamp()
                 + interval '1 millisecond'"
        ))
        .await;
    }

    /// On a day somebody writes this to the agreement.
    pub(super) async fn set(&self, day: &str, change: &str) {
        self.at(day).await;
        self.run(&format!("update billd.subscription set {change}"))
            .await;
    }

    /// The same, and it is refused: what the database says.
    pub(super) async fn refused(&self, change: &str) -> String {
        let statement = format!("update billd.subscription set {change}");
        self.house.book.try_run(&statement).await.unwrap_err()
    }

    /// On a day somebody calls a verb, with these arguments behind the subscription.
    pub(super) async fn call(&self, day: &str, verb: &str, arguments: &str) {
        self.at(day).await;
        self.run(&verb_call(verb, arguments)).await;
    }

    /// The same, and it is refused: what the database says.
    pub(super) async fn call_refused(&self, day: &str, verb: &str, arguments: &str) -> String {
        self.at(day).await;
        let statement = verb_call(verb, arguments);
        self.house.book.try_run(&statement).await.unwrap_err()
    }

    /// What will follow, in so many rows, as `kind from until amount`, with the reason why nothing is asked for.
    pub(super) async fn forecast(&self, rows: u32) -> String {
        self.rows_of(&format!(
            "billd.forecast((select id from billd.subscription), {rows})"
        ))
        .await
    }

    /// What a verb says would follow; nothing is done.
    pub(super) async fn preview(&self, day: &str, verb: &str, arguments: &str) -> String {
        self.at(day).await;
        let comma = if arguments.is_empty() { "" } else { ", " };
        self.rows_of(&format!(
            "billd.{verb}((select id from billd.subscription){comma}{arguments}, dry_run => true)"
        ))
        .await
    }

    async fn rows_of(&self, function: &str) -> String {
        self.house
            .book
            .text(&format!(
                "select coalesce(string_agg(concat_ws(' ', f.kind, {}, {}, f.amount,
                     case when f.kind in ('hold', 'owes') then f.remark end), ', ' order by f.n), '')
                 from {function} with ordinality
                     f (kind, period, from_at, until_at, ask_at, amount, currency, made_of, remark, n)",
                day_of("f.from_at"),
                day_of("f.until_at")
            ))
            .await
    }

    pub(super) async fn run(&self, statement: &str) {
        self.house.book.run(statement).await;
    }

    /// Sweeps until nothing is due at this hour; a backlog keeps its pace of an hour.
    pub(super) async fn sweep(&self) {
        self.house.sweep().await;
    }

    /// Sweeps on this day, and every hour of it until the backlog is gone.
    pub(super) async fn day(&self, day: &str) {
        self.at(day).await;
        for _ in 0..8 {
            self.sweep().await;
            self.house.book.advance("61 minutes").await;
        }
    }

    /// What was paid, as `from until amount`, in the order of time; days, or minutes where it is not ten.
    pub(super) async fn paid_for(&self) -> String {
        self.debts("state = 'paid'").await
    }

    pub(super) async fn debts(&self, which: &str) -> String {
        self.house
            .book
            .text(&format!(
                "select coalesce(string_agg(concat_ws(' ', {}, {}, amount), ', ' order by due_at), '')
                 from billd.billing_cycle where {which}",
                day_of("due_at"),
                day_of("until_at")
            ))
            .await
    }

    /// When the current period begins and ends.
    pub(super) async fn next(&self) -> String {
        self.house
            .book
            .text(
                "select concat_ws(' ', state,
                    replace(to_char(date_trunc('minute', due_at at time zone 'Asia/Seoul'), 'YYYY-MM-DD HH24:MI'), ' 10:00', ''),
                    replace(to_char(date_trunc('minute', until_at at time zone 'Asia/Seoul'), 'YYYY-MM-DD HH24:MI'), ' 10:00', ''))
                 from billd.subscription",
            )
            .await
    }

    /// What the gateway took, in all.
    pub(super) fn taken(&self) -> Vec<i64> {
        self.house
            .sandbox
            .ledger()
            .iter()
            .map(|entry| entry.amount)
            .collect()
    }
}

fn verb_call(verb: &str, arguments: &str) -> String {
    let comma = if arguments.is_empty() { "" } else { ", " };
    format!(
        "select count(*) from billd.{verb}((select id from billd.subscription){comma}{arguments})"
    )
}

/// A day in Seoul, with the minute where it is not ten.
fn day_of(column: &str) -> String {
    format!(
        "replace(to_char(date_trunc('minute', {column} at time zone 'Asia/Seoul'), 'YYYY-MM-DD HH24:MI'), ' 10:00', '')"
    )
}
