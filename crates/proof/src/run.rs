//! One seed, from an empty database to the verdict.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Connection as _};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::arena::{Bouncer, COMMAND, Clock, Database, GatewayProxy, Lane, Proxy, Spec, Standby};
use crate::checker::{Debt, check, doubles};
use crate::fleet::{Fleet, Record};
use crate::injure::Scene;
use crate::ledger::{Book, save_requests};
use crate::merchant::Lived;
use crate::mutation::Mutation;
use crate::plan::{Injury, Plan, Which};
use crate::rest::come_to_rest;
use crate::{daemon_role, rules};
use portone_sandbox::{self as sandbox, Decided, Latency, Request, Route, Switches};

/// What one seed came to.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// What does not agree; empty if all is well.
    pub(super) found: Vec<String>,
    /// How many processes were started.
    pub(super) daemons: u64,
    /// How daemons died.
    pub(super) deaths: Vec<String>,
    /// Charges that the gateway approved.
    pub(super) approvals: u64,
    /// Requests for money that reached the gateway.
    pub(super) requests: u64,
    /// Of those, how many were outside subscriptions.
    pub(super) one_offs: u64,
    /// Refunds that the gateway made.
    pub(super) refunds: u64,
    /// Questions that reached it.
    pub(super) look_ups: u64,
    /// Debts that were charged more than once because a look-up lied.
    pub(super) doubles_after_a_lie: u64,
    /// What came of verbs and saves.
    pub(super) lived: Lived,
}

/// What all seeds share.
#[derive(Debug, Clone)]
pub(super) struct Workshop {
    /// The program whose daemons are injured.
    pub(super) program: PathBuf,
    /// The bug that it is told to have.
    pub(super) mutation: Option<Mutation>,
}

/// Runs a seed on a lane. `Err` is a fault of the harness; the lane is gone then. Plan, ledgers and
/// logs are written into the folder.
pub(super) async fn run(
    mut lane: Lane,
    plan: Plan,
    workshop: Workshop,
    folder: PathBuf,
) -> anyhow::Result<(Lane, Outcome)> {
    fs::write(folder.join("plan.json"), serde_json::to_vec_pretty(&plan)?)?;
    let database = lane.fresh_database().await?;
    let mut book = lane.connect(&database).await?;
    let inserts: Vec<String> = plan.book.iter().map(rules::insert).collect();
    sqlx::raw_sql(AssertSqlSafe(inserts.join(";")))
        .execute(&mut book)
        .await
        .context("couldn't write the book")?;
    book.close().await?;

    let scene = Arc::new(set_up(lane, database, plan, workshop, folder.clone()).await?);
    let (rest, record) = course(&scene).await?;
    let scene = Arc::into_inner(scene).context("somebody still holds the scene")?;
    judge(scene, rest, record, folder).await
}

/// The gateway, as this seed has it.
async fn start_gateway(plan: &Plan) -> anyhow::Result<sandbox::Running> {
    sandbox::start(sandbox::Options {
        latency: match plan.latency_ms {
            0 => Latency::None,
            median => Latency::Spread {
                median: median.into(),
                p99: u64::from(median).saturating_mul(3),
            },
        },
        switches: Switches {
            refusals_recorded: plan.refusals_recorded,
            ..Switches::default()
        },
        seed: plan.seed,
        request_log: true,
        ..sandbox::Options::default()
    })
    .await
    .context("couldn't start the gateway")
}

/// A proxy before the gateway, if the bug is one of what is heard from it.
async fn twisting_proxy(
    gateway: &sandbox::Running,
    mutation: Option<Mutation>,
) -> anyhow::Result<Option<GatewayProxy>> {
    match mutation.and_then(Mutation::twist) {
        Some(twist) => Ok(Some(GatewayProxy::start(gateway.base_url(), twist).await?)),
        None => Ok(None),
    }
}

/// Puts everything in place; no daemon runs yet.
async fn set_up(
    lane: Lane,
    database: Database,
    plan: Plan,
    workshop: Workshop,
    folder: PathBuf,
) -> anyhow::Result<Scene> {
    let gateway = start_gateway(&plan).await?;
    let standby = if plan.loses_commits() {
        Some(Standby::follow(&lane).await?)
    } else {
        None
    };
    let bouncer = pooler(&plan, &lane, &database).await?;
    let upstream = bouncer
        .as_ref()
        .map_or_else(|| lane.socket(), Bouncer::socket);
    let alteration = workshop.mutation.and_then(Mutation::alteration);
    let gateway_proxy = twisting_proxy(&gateway, workshop.mutation).await?;
    let gateway_url = gateway_proxy
        .as_ref()
        .map_or_else(|| gateway.base_url(), GatewayProxy::base_url);
    let mut proxies = Vec::new();
    for _ in 0..plan.daemons {
        proxies.push(Proxy::start_altering(upstream.clone(), alteration).await?);
    }
    let mut specs = Vec::new();
    for (which, proxy) in (0..).zip(&proxies) {
        let name = daemon_role(which);
        specs.push(Spec {
            program: workshop.program.clone(),
            database_url: proxy.url(&name, database.name()),
            name,
            folder: folder.clone(),
            gateway_url: gateway_url.clone(),
            envs: settings_of(&plan, workshop.mutation, which),
            clock: clock_of(&plan, which, &folder)?,
        });
    }
    Ok(Scene {
        command_door: Proxy::start(lane.socket()).await?,
        plan,
        program: workshop.program,
        clocks: specs.iter().map(|spec| spec.clock.clone()).collect(),
        folder,
        fleet: Fleet::new(specs, Arc::clone(lane.guard())),
        lane: Mutex::new(lane),
        database,
        standby: Mutex::new(standby),
        bouncer,
        gateway,
        _gateway_proxy: gateway_proxy,
        proxies,
        pinned: Mutex::default(),
        lived: Mutex::default(),
    })
}

async fn pooler(plan: &Plan, lane: &Lane, database: &Database) -> anyhow::Result<Option<Bouncer>> {
    if plan.pooler {
        return Bouncer::start(lane, database).await.map(Some);
    }
    Ok(None)
}

/// What a daemon is told. With a mutation it may be something else than the judge believes.
fn settings_of(plan: &Plan, mutation: Option<Mutation>, which: Which) -> Vec<(String, String)> {
    let mut settings = rules::settings(plan, plan.pooler);
    let host = if plan.same_host_name { 0 } else { which };
    settings.push(("HOSTNAME".to_owned(), format!("proof-{host}")));
    let others = mutation.map_or(&[][..], Mutation::settings);
    settings.extend(
        others
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    );
    settings
}

fn clock_of(plan: &Plan, which: Which, folder: &Path) -> anyhow::Result<Option<Clock>> {
    let off = plan.injuries.iter().find_map(|planned| {
        if let Injury::Clock { daemon, off_s, .. } = &planned.injury {
            (*daemon == which).then_some(*off_s)
        } else {
            None
        }
    });
    off.map(|off_s| Clock::new(folder, &daemon_role(which), off_s.into()))
        .transpose()
}

type Rested = Result<(), String>;
type Stopped = Result<Record, String>;

/// Daemons start, are injured, come to rest, and are stopped.
async fn course(scene: &Arc<Scene>) -> anyhow::Result<(Rested, Stopped)> {
    scene.prepare().await;
    scene.fleet.start().await?;
    let over = CancellationToken::new();
    let minding = tokio::spawn(scene.fleet.clone().mind(over.clone()));
    scene.injure().await?;
    let mut eyes = {
        let lane = scene.lane.lock().await;
        lane.connect(&scene.database).await?
    };
    let rested = come_to_rest(
        &mut eyes,
        &scene.gateway,
        scene.plan.reprices_what_is_lost(),
    )
    .await?;
    eyes.close().await?;
    over.cancel();
    minding.await??;
    Ok((rested, scene.fleet.stop().await?))
}

/// Holds the two ledgers against each other.
async fn judge(
    scene: Scene,
    rested: Rested,
    stopped: Stopped,
    folder: PathBuf,
) -> anyhow::Result<(Lane, Outcome)> {
    let plan = &scene.plan;
    let mut outcome = Outcome::default();
    outcome.found.extend(rested.err());
    let record = stopped.unwrap_or_else(|trouble| {
        outcome.found.push(trouble);
        Record::default()
    });
    outcome.lived = scene.lived.lock().await.clone();
    outcome.found.extend(outcome.lived.found.clone());
    if plan.looks_lie() {
        scene.command("audit").await?;
        // What the audit has found is derived again by whoever comes next.
        scene.command("reconcile").await?;
    }
    let lane = scene.lane.into_inner();
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .connect_lazy(&lane.url(&scene.database))?;
    let book = Book::read(&pool).await?;
    pool.close().await;
    let requests = scene.gateway.requests();
    scene.gateway.stop().await;

    let roles = (0..plan.daemons)
        .map(daemon_role)
        .chain([COMMAND.to_owned()])
        .collect();
    let terms = rules::terms(plan, roles, record.deaths);
    fs::write(
        folder.join("terms.json"),
        serde_json::to_vec_pretty(&terms)?,
    )?;
    book.save(&folder)?;
    save_requests(&requests, &folder)?;
    outcome.found.extend(
        check(&terms, &requests, &book)
            .iter()
            .map(ToString::to_string),
    );
    outcome.daemons = record.started;
    outcome.deaths = record.ways;
    outcome.count(&requests);
    if plan.looks_lie() {
        let doubles = doubles(&terms, &requests, &book).len();
        outcome.doubles_after_a_lie = u64::try_from(doubles).unwrap_or(u64::MAX);
    }
    Ok((lane, outcome))
}

impl Outcome {
    fn count(&mut self, requests: &[Request]) {
        for request in requests {
            let again = u64::from(matches!(request.route, Route::Again | Route::Onetime));
            let is_one_off = again > 0 && Debt::of(&request.merchant_uid).is_none();
            let is_refund = matches!(request.decided, Some(Decided::Cancelled { .. }));
            self.one_offs = self.one_offs.saturating_add(is_one_off.into());
            self.refunds = self.refunds.saturating_add(is_refund.into());
            let look_up = u64::from(request.route == Route::FindAll);
            self.requests = self.requests.saturating_add(again);
            self.look_ups = self.look_ups.saturating_add(look_up);
            if matches!(request.decided, Some(Decided::Approved { .. })) {
                self.approvals = self.approvals.saturating_add(1);
            }
        }
    }
}
