//! Does to a seed what its plan says.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::arena::{
    Bouncer, Clock, Database, GatewayProxy, Lane, OPERATOR, OldSnapshot, Proxy, Standby,
};
use crate::daemon_role;
use crate::fleet::Fleet;
use crate::merchant::Lived;
use crate::plan::{Injury, Plan, Which};
use embedded_postgres::StopMode;
use portone_sandbox::{self as sandbox, Fault, FaultKind, Latency, Route};

/// How long to wait for a daemon with calls in flight, and how often to look.
const BUSY_WITHIN: Duration = Duration::from_secs(4);
const BUSY_EVERY: Duration = Duration::from_millis(40);

/// Everything that can be injured.
pub(super) struct Scene {
    pub(super) plan: Plan,
    pub(super) program: PathBuf,
    /// Where logs go.
    pub(super) folder: PathBuf,
    pub(super) lane: Mutex<Lane>,
    pub(super) database: Database,
    pub(super) standby: Mutex<Option<Standby>>,
    pub(super) bouncer: Option<Bouncer>,
    pub(super) gateway: sandbox::Running,
    /// Between the daemons and the gateway, if a mutation wants it.
    pub(super) _gateway_proxy: Option<GatewayProxy>,
    pub(super) fleet: Fleet,
    /// One per daemon.
    pub(super) proxies: Vec<Proxy>,
    /// The way of a command into the database, past bouncers: its address outlasts a fail-over.
    pub(super) command_door: Proxy,
    /// One per daemon; a clock that is right is not there.
    pub(super) clocks: Vec<Option<Clock>>,
    /// Held to the end.
    pub(super) pinned: Mutex<Vec<OldSnapshot>>,
    /// What came of verbs and saves.
    pub(super) lived: Mutex<Lived>,
}

impl Scene {
    /// Sets what is in place before a daemon starts.
    pub(super) async fn prepare(&self) {
        for planned in &self.plan.injuries {
            if let Injury::Crash {
                daemon,
                point,
                visit,
            } = &planned.injury
                && !is_of_migrations(point)
            {
                self.fleet.set_failpoint(*daemon, point, *visit).await;
            }
            if let Injury::SwallowReply {
                daemon,
                statement,
                times,
            } = &planned.injury
            {
                let door = if is_of_a_command(statement) {
                    Some(&self.command_door)
                } else {
                    self.proxy(*daemon)
                };
                if let Some(door) = door {
                    door.swallow_reply(statement, *times);
                }
            }
        }
    }

    /// Does everything at its time; returns when the last of it is over and mended.
    pub(super) async fn injure(self: &Arc<Self>) -> anyhow::Result<()> {
        let started = Instant::now();
        let mut under_way = JoinSet::new();
        for planned in self.plan.injuries.clone() {
            let scene = Arc::clone(self);
            under_way.spawn(async move {
                let at = started.checked_add(millis(planned.at_ms));
                sleep_until(at.unwrap_or(started)).await;
                let injury = planned.injury;
                scene
                    .one(&injury)
                    .await
                    .with_context(|| format!("couldn't do: {injury:?}"))
            });
        }
        while let Some(done) = under_way.join_next().await {
            done??;
        }
        self.gateway.clear_faults();
        Ok(())
    }

    async fn one(&self, injury: &Injury) -> anyhow::Result<()> {
        match injury {
            // In place already.
            Injury::Crash { .. } | Injury::SwallowReply { .. } => {}
            Injury::Kill { daemon, away_ms } => {
                self.fleet.kill(*daemon, millis(*away_ms)).await?;
            }
            Injury::Freeze { daemon, for_ms } => {
                let busy = self.who_is_charging().await;
                let daemon = busy.unwrap_or(*daemon);
                self.fleet.freeze(daemon, millis(*for_ms)).await?;
            }
            Injury::Terminate { daemon } => self.fleet.terminate(*daemon).await?,
            Injury::Gateway {
                kind,
                for_ms,
                share,
                by_ms,
            } => {
                self.lie(*kind, *share, *by_ms);
                sleep(millis(*for_ms)).await;
            }
            Injury::Cut { daemon } => self.through(*daemon, Proxy::cut_all),
            Injury::TerminateBackends { daemon } => {
                let role = daemon_role(*daemon);
                self.lane.lock().await.terminate_backends(&role).await?;
            }
            Injury::Restart => {
                self.lane.lock().await.restart(StopMode::Immediate).await?;
            }
            Injury::HalfOpen { daemon, for_ms } => {
                self.half_open(*daemon, millis(*for_ms)).await;
            }
            Injury::Refuse { daemon, for_ms } => self.refuse(*daemon, millis(*for_ms)).await,
            Injury::Exhaust { for_ms } => self.exhaust(millis(*for_ms)).await?,
            Injury::LockRows { for_ms, share } => {
                self.lock_rows(millis(*for_ms), *share).await?;
            }
            Injury::PinSnapshot => self.pin_snapshot().await,
            Injury::PoisonRow { for_ms } => self.poison(millis(*for_ms)).await?,
            Injury::FailOver { lost_ms } => self.fail_over(millis(*lost_ms)).await?,
            Injury::Clock {
                daemon,
                off_s,
                step_s,
            } => {
                let clock = self.clocks.get(usize::from(*daemon));
                if let Some(Some(clock)) = clock {
                    clock.step_to(i64::from(off_s.saturating_add(*step_s)))?;
                }
            }
            Injury::Person { deed, share } => self.do_as_person(*deed, *share).await?,
            Injury::OneOff(one_off) => self.charge_once(one_off).await?,
            Injury::Refund(refund) => self.give_back(refund).await?,
            Injury::Wish(wish) => self.wish(wish).await,
            Injury::Save(save) => self.save(save).await,
        }
        Ok(())
    }

    async fn half_open(&self, daemon: Which, time: Duration) {
        self.through(daemon, Proxy::hold);
        sleep(time).await;
        self.through(daemon, Proxy::release);
    }

    async fn refuse(&self, daemon: Which, time: Duration) {
        self.through(daemon, |proxy| proxy.refuse(true));
        self.through(daemon, Proxy::cut_all);
        sleep(time).await;
        self.through(daemon, |proxy| proxy.refuse(false));
    }

    async fn pin_snapshot(&self) {
        let lane = self.lane.lock().await;
        // A server that is full has no place for him.
        let pin = lane.pin_old_snapshot(&self.database).await.ok();
        self.pinned.lock().await.extend(pin);
    }

    fn through(&self, daemon: Which, act: impl Fn(&Proxy)) {
        self.proxy(daemon).into_iter().for_each(act);
    }

    /// Who has begun attempts that are under way; waits for a while until somebody has.
    async fn who_is_charging(&self) -> Option<Which> {
        let until = Instant::now().checked_add(BUSY_WITHIN)?;
        while Instant::now() < until {
            let role = self.newest_claimant().await.ok().flatten();
            let which = (0..self.plan.daemons).find(|which| role == Some(daemon_role(*which)));
            if which.is_some() {
                return which;
            }
            sleep(BUSY_EVERY).await;
        }
        None
    }

    async fn newest_claimant(&self) -> anyhow::Result<Option<String>> {
        let mut eyes = {
            let lane = self.lane.lock().await;
            lane.connect(&self.database).await?
        };
        let row = sqlx::raw_sql(
            "select j.who from proof.journal j
             join billd.charge_attempt a on a.merchant_uid = j.new ->> 'merchant_uid'
             where j.table_name = 'charge_attempt' and j.old is null and a.state = 'started'
               and a.subscription_id is not null
             order by j.id desc limit 1",
        )
        .fetch_optional(&mut eyes)
        .await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    async fn exhaust(&self, pause: Duration) -> anyhow::Result<()> {
        let crowd = {
            let lane = self.lane.lock().await;
            lane.exhaust_connections(&self.database).await?
        };
        sleep(pause).await;
        drop(crowd);
        Ok(())
    }

    /// Somebody looks at rows in a transaction and goes to lunch.
    async fn lock_rows(&self, pause: Duration, share: f64) -> anyhow::Result<()> {
        // The server may be full, away, or on its way down: then there is nobody who locks.
        let Ok(mut person) = self.person().await else {
            return Ok(());
        };
        let rows = lot(share);
        let lock = format!("begin; select from billd.subscription where {rows} for update");
        run(&mut person, &lock).await.ok();
        sleep(pause).await;
        run(&mut person, "rollback").await.ok();
        Ok(())
    }

    async fn poison(&self, pause: Duration) -> anyhow::Result<()> {
        self.as_superuser(
            "insert into proof.poison select id from billd.subscription order by id limit 1",
        )
        .await?;
        sleep(pause).await;
        self.as_superuser("delete from proof.poison").await
    }

    fn proxy(&self, daemon: Which) -> Option<&Proxy> {
        self.proxies.get(usize::from(daemon))
    }

    /// What the primary commits for a while is lost with it.
    async fn fail_over(&self, lost: Duration) -> anyhow::Result<()> {
        let standby = self.standby.lock().await.take();
        let standby = standby.context("there is no standby")?;
        let mut lane = self.lane.lock().await;
        standby.catch_up(&lane).await?;
        standby.lose_tail();
        sleep(lost).await;
        standby.fail_over(&mut lane).await?;
        match &self.bouncer {
            Some(bouncer) => bouncer.follow(&lane)?,
            None => self
                .proxies
                .iter()
                .for_each(|proxy| proxy.point_at(lane.socket())),
        }
        self.command_door.point_at(lane.socket());
        self.command_door.cut_all();
        self.proxies.iter().for_each(Proxy::cut_all);
        Ok(())
    }

    fn lie(&self, kind: FaultKind, share: f64, by_ms: u32) {
        let route = match kind {
            FaultKind::LookupLag | FaultKind::LookupNotFound | FaultKind::LookupFailed => {
                Some(Route::FindAll)
            }
            // Down is down for everything.
            FaultKind::Maintenance | FaultKind::Status401 | FaultKind::Status429 => None,
            FaultKind::LatencyMs
            | FaultKind::DropBefore
            | FaultKind::DropAfter
            | FaultKind::Error500Before
            | FaultKind::Error500After
            | FaultKind::SilenceBefore
            | FaultKind::SilenceAfter
            | FaultKind::CutBody
            | FaultKind::Garbage
            | FaultKind::Html
            | FaultKind::Empty => Some(Route::Again),
        };
        let mut fault = Fault::new(kind, Route::Again).for_share(share, self.plan.seed);
        fault.route = route;
        if kind == FaultKind::LatencyMs {
            fault.latency_ms = Some(Latency::Fixed(by_ms.into()));
        }
        if kind == FaultKind::LookupLag {
            fault.lag_s = by_ms.checked_div(1_000);
        }
        // What befalls charges befalls those with the card itself, and refunds.
        let routes = match fault.route {
            Some(Route::Again) => vec![Route::Again, Route::Onetime, Route::Cancel],
            Some(route) => vec![route],
            None => return self.gateway.fault(fault),
        };
        for route in routes {
            fault.route = Some(route);
            self.gateway.fault(fault.clone());
        }
    }

    pub(super) async fn person(&self) -> anyhow::Result<PgConnection> {
        let lane = self.lane.lock().await;
        lane.connect_as(OPERATOR, &self.database).await
    }

    async fn as_superuser(&self, statement: &str) -> anyhow::Result<()> {
        let lane = self.lane.lock().await;
        let mut superuser = lane.connect(&self.database).await?;
        drop(lane);
        run(&mut superuser, statement).await
    }
}

pub(super) async fn run(connection: &mut PgConnection, statement: &str) -> anyhow::Result<()> {
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
        .execute(connection)
        .await?;
    Ok(())
}

/// Whether a point lies on the way of `billd migrate`, and not of a daemon.
pub(super) fn is_of_migrations(point: &str) -> bool {
    point.starts_with("migrate")
}

/// Whether a statement is one that a command sends, and no daemon.
fn is_of_a_command(statement: &str) -> bool {
    [
        "store::begin_one_off",
        "store::begin_refund",
        "store::record_refund",
    ]
    .contains(&statement)
}

/// A share of the book, always the same rows for the same share.
pub(super) fn lot(share: f64) -> String {
    format!("abs(hashtext(customer_uid) % 100) < {share} * 100")
}

fn millis(ms: u32) -> Duration {
    Duration::from_millis(ms.into())
}
