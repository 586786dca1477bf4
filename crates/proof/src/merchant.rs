//! Calls verbs and saves whole rows, as people and their programs do beside the daemons.

use std::time::Duration;

use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use tokio::time::sleep;

use crate::injure::{Scene, lot, run};
use crate::wishes::{Save, Wish};

/// What billd refuses, and not the server.
const REFUSED: [&str; 2] = ["23514", "P0002"];

/// What came of verbs and saves.
#[derive(Debug, Clone, Default)]
pub(super) struct Lived {
    pub(super) verbs: u64,
    pub(super) verbs_refused: u64,
    pub(super) saves: u64,
    pub(super) saves_refused: u64,
    /// A stale row that was saved, or a fresh one that was refused.
    pub(super) found: Vec<String>,
}

/// How a row was saved.
enum Saved {
    Done,
    Refused(String),
    /// The server was away, or the row was locked for too long.
    Lost,
}

impl Scene {
    /// Calls a verb for each row of a share of the book. What is refused, or meets a server that is away, was not done.
    pub(super) async fn wish(&self, wish: &Wish) {
        let Some((mut person, ids)) = self.merchant(wish.share, "id::text").await else {
            return;
        };
        for id in ids {
            let call = format!(
                "select count(*) from billd.subscription s, lateral {} f where s.id = '{id}'",
                wish.verb.call()
            );
            let is_done = run(&mut person, &call).await.is_ok();
            let mut lived = self.lived.lock().await;
            lived.verbs = lived.verbs.saturating_add(is_done.into());
            lived.verbs_refused = lived.verbs_refused.saturating_add((!is_done).into());
        }
    }

    /// Reads whole rows, and writes them back after a while.
    pub(super) async fn save(&self, save: &Save) {
        let Some((mut person, rows)) = self.merchant(save.share, "to_jsonb(s)::text").await else {
            return;
        };
        sleep(Duration::from_millis(save.after_ms.into())).await;
        for row in rows {
            // Whoever is thrown out comes again.
            if let Ok((is_fresh, saved)) = save_row(&mut person, save, &row).await {
                self.note_save(is_fresh, saved, &row).await;
            } else if let Ok(again) = self.person().await {
                person = again;
            }
        }
    }

    async fn note_save(&self, is_fresh: bool, saved: Saved, row: &str) {
        let mut lived = self.lived.lock().await;
        match saved {
            Saved::Done if is_fresh => lived.saves = lived.saves.saturating_add(1),
            Saved::Refused(_) if !is_fresh => {
                lived.saves_refused = lived.saves_refused.saturating_add(1);
            }
            Saved::Lost => {}
            Saved::Done => lived.found.push(format!(
                "saves_are_fresh: a row that had moved on was saved: {row}"
            )),
            Saved::Refused(why) => lived.found.push(format!(
                "saves_are_fresh: a row as it is was refused ({why}): {row}"
            )),
        }
    }

    /// A connection, and what is read of a share of the book; nothing if the server is away.
    async fn merchant(&self, share: f64, what: &str) -> Option<(PgConnection, Vec<String>)> {
        let mut person = self.person().await.ok()?;
        run(&mut person, "set lock_timeout = '2s'").await.ok()?;
        let query = format!(
            "select {what} from billd.subscription s where {} order by id",
            lot(share)
        );
        let rows = sqlx::raw_sql(AssertSqlSafe(query))
            .fetch_all(&mut person)
            .await
            .ok()?;
        let read = rows.iter().map(|row| row.try_get(0));
        Some((person, read.collect::<Result<_, _>>().ok()?))
    }
}

/// Writes one row back. Whether it is still as it was read, and what came of it.
async fn save_row(
    person: &mut PgConnection,
    save: &Save,
    row: &str,
) -> anyhow::Result<(bool, Saved)> {
    let row = format!("'{}'::jsonb", row.replace('\'', "''"));
    run(person, "begin").await?;
    let look = format!(
        "select to_jsonb(s) = {row} from billd.subscription s where s.id = ({row} ->> 'id')::uuid for update"
    );
    let found = sqlx::raw_sql(AssertSqlSafe(look))
        .fetch_optional(&mut *person)
        .await;
    let Ok(Some(found)) = found else {
        run(person, "rollback").await?;
        return Ok((false, Saved::Lost));
    };
    let is_fresh = found.try_get(0)?;
    let statement = update_of(person, save, &row).await?;
    let saved = match sqlx::raw_sql(AssertSqlSafe(statement))
        .execute(&mut *person)
        .await
    {
        // Who compares the version himself finds no row, and reads it again.
        Ok(done) if done.rows_affected() == 0 => {
            Saved::Refused("the version is another".to_owned())
        }
        Ok(_) => Saved::Done,
        Err(sqlx::Error::Database(error))
            if error.code().is_some_and(|code| REFUSED.contains(&&*code)) =>
        {
            Saved::Refused(error.message().to_owned())
        }
        Err(_) => Saved::Lost,
    };
    let end = match saved {
        Saved::Done => "commit",
        Saved::Refused(_) | Saved::Lost => "rollback",
    };
    let saved = match run(person, end).await {
        Ok(()) => saved,
        Err(_) => Saved::Lost,
    };
    Ok((is_fresh, saved))
}

/// The update of a whole row, as an ORM writes it.
async fn update_of(person: &mut PgConnection, save: &Save, row: &str) -> anyhow::Result<String> {
    let name = if save.renames {
        "'저장된 이름'"
    } else {
        "null"
    };
    let guard = if save.versioned {
        format!(" and s.row_version = ({row} ->> 'row_version')::bigint")
    } else {
        String::new()
    };
    let query = format!(
        "select format('update billd.subscription s set (%1$s) = (select %1$s from jsonb_populate_record(
             null::billd.subscription, %2$L::jsonb)) where s.id = %3$L',
             (select string_agg(quote_ident(c.attname), ', ' order by c.attnum) from pg_attribute c
              where c.attrelid = 'billd.subscription'::regclass and c.attnum > 0 and not c.attisdropped),
             {row} || jsonb_build_object('row_version', ({row} ->> 'row_version')::bigint + {raised},
                 'name', coalesce({name}, {row} ->> 'name')), {row} ->> 'id')",
        raised = i32::from(save.versioned),
    );
    let update: String = sqlx::raw_sql(AssertSqlSafe(query))
        .fetch_one(person)
        .await?
        .try_get(0)?;
    Ok(update + &guard)
}
