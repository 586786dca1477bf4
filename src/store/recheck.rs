//! Rows whose next step has to be derived again, because they ask for it or a planned change acts
//! now. The rule itself is SQL: `billd_internal.replan`.

use std::time::Duration;

use crate::causes::chain;
use crate::domain::ids::SubscriptionId;
use crate::failpoint::crash_at;
use crate::store::session::Pool;
use crate::store::{Store, StoreError};

/// One subscription that was looked at again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rechecked {
    /// Which.
    pub subscription: SubscriptionId,
    /// What was found, in one phrase for the log.
    pub found: String,
    /// Whether the row is broken and waits for a person.
    pub broken: bool,
    /// Whether anything was written; if not, it will ask again.
    pub moved: bool,
}

impl Store {
    /// Looks again at up to `rows_max` subscriptions that ask for it or whose planned change acts
    /// now, each in a transaction of its own: a row that can't be written keeps none of the others from their turn.
    pub async fn recheck(
        &self,
        rows_max: u32,
        catch_up: Duration,
    ) -> Result<Vec<Rechecked>, StoreError> {
        let waiting = sqlx::query_scalar!(
            r#"-- store::recheck, who asks for it
            select s.id as "id!"
            from (
                select id from billd.subscription where recheck
                union
                select id from billd.subscription where next_change_at <= billd.now()
            ) w
            join billd.subscription s on s.id = w.id
            where not billd_internal.has_open_attempt(s.id)
            order by s.id
            limit $1
            -- Rows that somebody has locked must not take the place of others.
            for no key update of s skip locked"#,
            i64::from(rows_max),
        )
        .fetch_all(&self.pool);
        let mut rechecked = Vec::new();
        for id in self.within(waiting).await? {
            let subscription = SubscriptionId(id);
            match self
                .within(recheck_one(&self.pool, subscription, catch_up))
                .await
            {
                Ok(Some(one)) => rechecked.push(one),
                // Somebody has locked it, or its debt; it will ask again.
                Ok(None) | Err(StoreError::Busy(_)) => {}
                Err(error) if error.is_passing() => return Err(error),
                Err(error) => rechecked.push(Rechecked {
                    subscription,
                    found: chain(&error),
                    broken: true,
                    moved: false,
                }),
            }
        }
        Ok(rechecked)
    }
}

impl Store {
    /// Sets rows that no legal path makes aside for a second look; returns how many. Debts that nobody
    /// asks for are looked for only if asked to: that reads all debts. Writes the pace down, too, that
    /// triggers go by.
    pub async fn find_out_of_order(
        &self,
        catch_up: Duration,
        debts_too: bool,
    ) -> Result<u64, StoreError> {
        let statement = sqlx::query_scalar!(
            r#"-- store::find_out_of_order
            select billd_internal.find_out_of_order(make_interval(secs => $1), $2) as "found!""#,
            catch_up.as_secs_f64(),
            debts_too,
        )
        .fetch_one(&self.pool);
        let found = self.within(statement).await?;
        Ok(u64::try_from(found).unwrap_or_default())
    }

    /// What rows are out of order, by why, among those that would wait for ever.
    pub async fn out_of_order(&self) -> Result<Vec<String>, StoreError> {
        let statement = sqlx::query_scalar!(
            r#"-- store::out_of_order
            select concat_ws(': ', m.id, r.why) as "row!"
            from (select distinct w.id from billd_internal.row_that_may_wait w) m
            cross join lateral billd_internal.why_out_of_order(m.id) r (why)
            order by 1
            limit 20"#,
        )
        .fetch_all(&self.pool);
        self.within(statement).await
    }
}

/// Locks one row, then plans it in a statement of its own: a fact that was committed while the lock
/// was waited for must be seen. `None` if somebody else has the row, or an attempt of it is open.
async fn recheck_one(
    pool: &Pool,
    subscription: SubscriptionId,
    catch_up: Duration,
) -> Result<Option<Rechecked>, sqlx::Error> {
    let mut tx = pool.begin().await?;
    let locked = sqlx::query_scalar!(
        "-- store::recheck, lock
        select id from billd.subscription where id = $1 and (recheck or next_change_at <= billd.now())
        for no key update skip locked",
        subscription.0,
    )
    .fetch_optional(&mut tx)
    .await?;
    if locked.is_none() {
        return Ok(None);
    }
    crash_at("recheck_locked");
    let planned = sqlx::query!(
        "-- store::recheck, plan
        select said, is_broken from billd_internal.replan($1, make_interval(secs => $2))",
        subscription.0,
        catch_up.as_secs_f64(),
    )
    .fetch_one(&mut tx)
    .await?;
    tx.commit().await?;
    Ok(planned.said.map(|found| Rechecked {
        subscription,
        found,
        broken: planned.is_broken.unwrap_or_default(),
        moved: true,
    }))
}
