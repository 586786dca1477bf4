//! Rows whose next step has to be derived again: see [`crate::domain::recheck`].

use std::time::Duration;

use crate::causes::chain;
use crate::domain::calendar::Period;
use crate::domain::ids::SubscriptionId;
use crate::domain::recheck::{Resolution, Situation, recheck};
use crate::domain::state::{CycleState, SubscriptionState};
use crate::failpoint::crash_at;
use crate::store::rows::schedule;
use crate::store::session::{Pool, Tx};
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
    /// Looks again at up to `rows_max` subscriptions that ask for it, each in a transaction of its
    /// own: a row that can't be written keeps none of the others from their turn.
    pub async fn recheck(
        &self,
        rows_max: u32,
        catch_up: Duration,
    ) -> Result<Vec<Rechecked>, StoreError> {
        let waiting = sqlx::query_scalar!(
            "-- store::recheck, who asks for it
            select s.id
            from billd.subscription s
            where s.recheck
              and not billd_internal.has_open_attempt(s.id)
            order by s.id
            limit $1",
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

/// Locks one row, then reads what is known of it in a statement of its own: a fact that was
/// committed while the lock was waited for must be seen. `None` if somebody else has the row.
async fn recheck_one(
    pool: &Pool,
    subscription: SubscriptionId,
    catch_up: Duration,
) -> Result<Option<Rechecked>, sqlx::Error> {
    let mut tx = pool.begin().await?;
    let locked = sqlx::query_scalar!(
        "-- store::recheck, lock
        select id from billd.subscription where id = $1 and recheck for no key update skip locked",
        subscription.0,
    )
    .fetch_optional(&mut tx)
    .await?;
    if locked.is_none() {
        return Ok(None);
    }
    let row = sqlx::query!(
        r#"-- store::recheck, look
        select
            s.state,
            s.period as "period: jiff_sqlx::Date",
            s.due_at as "due_at: jiff_sqlx::Timestamp",
            s.paused_at as "paused_at: jiff_sqlx::Timestamp",
            s.resumed_at as "resumed_at: jiff_sqlx::Timestamp",
            s.anchor_at as "anchor_at: jiff_sqlx::Timestamp",
            s.interval_count,
            s.interval_unit,
            s.time_zone,
            c.state as "cycle_state?",
            exists (
                select from billd.attempts_of(s.id, s.period) a where a.state = 'paid'
            ) as "paid!",
            billd_internal.has_open_attempt(s.id) as "open!"
        from billd.subscription s
        left join billd.billing_cycle c on c.subscription_id = s.id and c.period = s.period
        where s.id = $1"#,
        subscription.0,
    )
    .fetch_one(&mut tx)
    .await?;
    if row.open {
        return Ok(None);
    }
    crash_at("recheck_locked");
    let situation = Situation {
        // The schema's check admits no other word; a row that has one all the same is left alone.
        state: SubscriptionState::parse(&row.state).unwrap_or(SubscriptionState::Paused),
        period: row.period.to_jiff(),
        due_at: row.due_at.to_jiff(),
        cycle: row.cycle_state.as_deref().and_then(CycleState::parse),
        paid: row.paid,
        paused_at: row.paused_at.map(jiff_sqlx::Timestamp::to_jiff),
        resumed_at: row.resumed_at.map(jiff_sqlx::Timestamp::to_jiff),
    };
    let anchor_at = row.anchor_at.to_jiff();
    let resolution = schedule(
        anchor_at,
        row.interval_count,
        &row.interval_unit,
        &row.time_zone,
    )
    .and_then(|schedule| recheck(&situation, &schedule).map_err(|error| error.to_string()));
    apply(&mut tx, subscription, &situation, &resolution, catch_up).await?;
    tx.commit().await?;
    Ok(Some(Rechecked {
        subscription,
        found: phrase(&resolution),
        broken: resolution.is_err(),
        moved: true,
    }))
}

fn phrase(resolution: &Result<Resolution, String>) -> String {
    match resolution {
        Ok(Resolution::Paid(next)) => format!("the debt is paid; next period {}", next.date),
        Ok(Resolution::MoveOn(next)) => format!("the debt is void; next period {}", next.date),
        Ok(Resolution::PassOver { missed, next }) => {
            format!(
                "{} periods passed over; next period {}",
                missed.len(),
                next.date
            )
        }
        Ok(Resolution::GiveUp) => "the debt is uncollectible".to_owned(),
        Ok(Resolution::Keep) => "goes on as planned".to_owned(),
        Err(fault) => format!("bad row: {fault}"),
    }
}

/// Writes a resolution down; the row is locked by the caller's transaction.
async fn apply(
    tx: &mut Tx,
    subscription: SubscriptionId,
    situation: &Situation,
    resolution: &Result<Resolution, String>,
    catch_up: Duration,
) -> Result<(), sqlx::Error> {
    match resolution {
        Ok(Resolution::Paid(next)) => {
            close_paid(tx, subscription, situation).await?;
            move_to(tx, subscription, next, true, catch_up).await
        }
        Ok(Resolution::MoveOn(next)) => move_to(tx, subscription, next, false, catch_up).await,
        Ok(Resolution::PassOver { missed, next }) => {
            void_missed(tx, subscription, missed).await?;
            move_to(tx, subscription, next, false, catch_up).await
        }
        Ok(Resolution::GiveUp) => {
            stop(
                tx,
                subscription,
                "the debt of this period was finally declined",
            )
            .await
        }
        Ok(Resolution::Keep) => keep(tx, subscription, situation.cycle.is_some()).await,
        Err(fault) => stop(tx, subscription, &format!("bad row; {fault}")).await,
    }
}

async fn close_paid(
    tx: &mut Tx,
    subscription: SubscriptionId,
    situation: &Situation,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "-- store::recheck, close as paid
        update billd.billing_cycle
        set state = 'paid', closed_at = billd.now(), reason = null
        where subscription_id = $1 and period = $2 and state <> 'paid'",
        subscription.0,
        jiff_sqlx::Date::from(situation.period) as _,
    )
    .execute(&mut *tx)
    .await
    .map(drop)
}

async fn move_to(
    tx: &mut Tx,
    subscription: SubscriptionId,
    next: &Period,
    paid: bool,
    catch_up: Duration,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "-- store::recheck, next period
        update billd.subscription
        set recheck = coalesce($3::timestamptz >= paused_at and $3::timestamptz < resumed_at, false),
            fence = billd_internal.next_fence(fence),
            open_attempt = null,
            attempts = 0,
            declines = 0,
            state = case when $4 and state = 'past_due' then 'active' else state end,
            state_reason = case when $4 and state = 'past_due' then null else state_reason end,
            period = $2,
            due_at = $3,
            next_charge_at = case
                when $3::timestamptz > billd.now() then $3::timestamptz
                else billd.now() + make_interval(secs => $5)
            end
        where id = $1",
        subscription.0,
        jiff_sqlx::Date::from(next.date) as _,
        jiff_sqlx::Timestamp::from(next.due_at) as _,
        paid,
        catch_up.as_secs_f64(),
    )
    .execute(&mut *tx)
    .await
    .map(drop)
}

async fn void_missed(
    tx: &mut Tx,
    subscription: SubscriptionId,
    missed: &[Period],
) -> Result<(), sqlx::Error> {
    let periods: Vec<jiff_sqlx::Date> = missed.iter().map(|period| period.date.into()).collect();
    let due_at: Vec<jiff_sqlx::Timestamp> =
        missed.iter().map(|period| period.due_at.into()).collect();
    sqlx::query!(
        "-- store::recheck, passed over
        insert into billd.billing_cycle
            (subscription_id, period, due_at, state, amount, currency, opened_at, closed_at, reason)
        select s.id, m.period, m.due_at, 'void', s.amount, s.currency, billd.now(), billd.now(),
               'fell due while the subscription was paused or cancelled'
        from billd.subscription s, unnest($2::date[], $3::timestamptz[]) as m (period, due_at)
        where s.id = $1
        on conflict do nothing",
        subscription.0,
        &periods as _,
        &due_at as _,
    )
    .execute(&mut *tx)
    .await
    .map(drop)
}

async fn stop(tx: &mut Tx, subscription: SubscriptionId, reason: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "-- store::recheck, give up
        update billd.subscription
        set recheck = false,
            fence = billd_internal.next_fence(fence),
            open_attempt = null,
            state = case when state = 'active' then 'past_due' else state end,
            state_reason = $2,
            next_charge_at = null
        where id = $1",
        subscription.0,
        reason,
    )
    .execute(&mut *tx)
    .await
    .map(drop)
}

/// Brings counters and cycle in line with the attempts there are, so that the next one gets a new
/// number and finds its debt due. Where there is no debt yet, nothing counts.
async fn keep(
    tx: &mut Tx,
    subscription: SubscriptionId,
    has_debt: bool,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "-- store::recheck, due again
        update billd.billing_cycle c
        set state = 'due'
        from billd.subscription s
        where s.id = $1 and c.subscription_id = s.id and c.period = s.period
          and c.state = 'unresolved'",
        subscription.0,
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "-- store::recheck, go on
        update billd.subscription s
        set recheck = false,
            fence = billd_internal.next_fence(s.fence),
            open_attempt = null,
            attempts = case when $2 then greatest(s.attempts, (
                select coalesce(max(a.attempt_no), 0)
                from billd.attempts_of(s.id, s.period) a)) else 0 end,
            declines = case when $2 then s.declines else 0 end,
            next_charge_at = case
                when s.state = 'active' then coalesce(s.next_charge_at, billd.now())
                else s.next_charge_at
            end
        where s.id = $1",
        subscription.0,
        has_debt,
    )
    .execute(&mut *tx)
    .await
    .map(drop)
}
