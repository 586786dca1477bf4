//! The two limits: the same calls without a database, and the same statements without a call.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use billd::domain::attempt::{ChargeOutcome, ChargeRequest, ChargeTerms, Instrument, Payment};
use billd::domain::claim::{Answer, Claim};
use billd::domain::dunning::Decision;
use billd::domain::ids::{CustomerUid, ImpUid, MerchantUid};
use billd::domain::money::{Currency, Money};
use billd::engine::Cursor;
use billd::gateway::Gateway;
use billd::gateway::portone_v1::{Endpoint, PortOne};
use billd::store::{ClaimLimits, Claimed, Store};
use portone_sandbox::{IMP_KEY, IMP_SECRET};
use secrecy::SecretString;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::figure::{micros_each, per_second};
use crate::machine;
use crate::process::Sandbox;
use crate::scenarios::Scale;
use crate::world::{Book, World};

/// As the daemon's own.
pub(super) const BATCH: u32 = 500;
const LEASE: Duration = Duration::from_secs(90);
const CATCH_UP: Duration = Duration::from_hours(1);

/// Where the sandbox's receipts are, as long as the real ones.
const RECEIPT: &str =
    "https://iniweb.inicis.com/mall/cr/cm/mCmReceipt_head.jsp?noTid=INIAPICARDINIBillTst";

/// What one limit allows, and what it costs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    pub(super) per_second: f64,
    /// Processor time of this process, which does what the daemon would.
    pub(super) ours_us: f64,
    /// Processor time of the other side: the gateway's, or PostgreSQL's.
    pub(super) theirs_us: f64,
}

/// Counts what is done while it is watched.
async fn watch(
    done: &AtomicU64,
    scale: Scale,
    theirs: impl Fn() -> anyhow::Result<Duration>,
) -> anyhow::Result<Limit> {
    let look = || -> anyhow::Result<(Instant, u64, Duration, Duration)> {
        let ours = machine::processor_time(std::process::id())?;
        Ok((
            Instant::now(),
            done.load(Ordering::Relaxed),
            ours,
            theirs()?,
        ))
    };
    sleep(scale.warm).await;
    let before = look()?;
    sleep(scale.window).await;
    let after = look()?;
    let count = after.1.saturating_sub(before.1);
    Ok(Limit {
        per_second: per_second(count, after.0.saturating_duration_since(before.0)),
        ours_us: micros_each(after.2.saturating_sub(before.2), count),
        theirs_us: micros_each(after.3.saturating_sub(before.3), count),
    })
}

/// The daemon's client and the gateway, with nothing behind them.
pub(super) async fn calls(sandbox: &Sandbox, scale: Scale) -> anyhow::Result<Limit> {
    let portone = Arc::new(PortOne::new(Endpoint {
        base_url: sandbox.url().to_owned(),
        imp_key: SecretString::from(IMP_KEY),
        imp_secret: SecretString::from(IMP_SECRET),
        timeout: Duration::from_mins(1),
        connect_timeout: Duration::from_secs(5),
        connections_max: usize::from(scale.concurrency),
        proxy: None,
    })?);
    portone.prepare().await?;
    let done = Arc::new(AtomicU64::new(0));
    let number = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let mut callers = JoinSet::new();
    for _ in 0..scale.concurrency {
        let (portone, done) = (Arc::clone(&portone), Arc::clone(&done));
        let (number, stop) = (Arc::clone(&number), Arc::clone(&stop));
        callers.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let request = request(number.fetch_add(1, Ordering::Relaxed))?;
                match portone.charge(&request).await {
                    ChargeOutcome::Paid(_) => done.fetch_add(1, Ordering::Relaxed),
                    outcome @ (ChargeOutcome::Declined(_)
                    | ChargeOutcome::NotSent(_)
                    | ChargeOutcome::Unknown(_)) => bail!("a call ended with {outcome:?}"),
                };
            }
            Ok(())
        });
    }
    let limit = watch(&done, scale, || machine::processor_time(sandbox.pid())).await;
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = callers.join_next().await {
        ended??;
    }
    limit
}

/// What the daemon would send for a row of the book.
fn request(number: u64) -> anyhow::Result<ChargeRequest> {
    Ok(ChargeRequest {
        merchant_uid: MerchantUid::parse(format!("{number:040}"))?,
        instrument: Instrument::BillingKey(CustomerUid::parse(format!("cust_{number}"))?),
        money: Money::new(9900, Currency::KRW)?,
        name: "프리미엄 월간".to_owned(),
        terms: ChargeTerms {
            buyer_name: Some("홍길동".to_owned()),
            buyer_email: Some(format!("buyer{number}@example.com")),
            buyer_tel: Some("010-1234-5678".to_owned()),
            extra: "{}".to_owned(),
            ..ChargeTerms::default()
        },
    })
}

/// The daemon's statements, with nothing before or after them.
pub(super) async fn statements(world: &World, book: &Book, scale: Scale) -> anyhow::Result<Limit> {
    let done = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let cursor = Arc::new(Cursor::default());
    let mut workers = JoinSet::new();
    // As in the daemon, a claim and a record are under way at once.
    for _ in 0..2 {
        let cursor = Arc::clone(&cursor);
        let (store, done, stop) = (book.store.clone(), Arc::clone(&done), Arc::clone(&stop));
        workers.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let claims = claim(&store, &cursor).await?;
                let count = u64::try_from(claims.len())?;
                anyhow::ensure!(count > 0, "the book ran out of what is due");
                record_paid(&store, claims).await?;
                done.fetch_add(count, Ordering::Relaxed);
            }
            anyhow::Ok(())
        });
    }
    let postmaster = world.postmaster();
    let limit = watch(&done, scale, || {
        machine::processor_time_of_family(postmaster)
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = workers.join_next().await {
        ended??;
    }
    limit
}

/// Claims a batch, as the daemon does: from where the last claim ended, and now and then from the start.
/// Nothing comes back if nothing is due.
pub(super) async fn claim(store: &Store, cursor: &Cursor) -> anyhow::Result<Vec<Claim>> {
    let limits = ClaimLimits {
        rows_max: BATCH,
        lease: LEASE,
    };
    loop {
        let after = cursor.next();
        let Claimed {
            claims, reached, ..
        } = store.claim_due_after(after, limits, &[]).await?;
        cursor.advance(after, reached);
        if claims.is_empty() && after.is_some() {
            continue;
        }
        return claims
            .into_iter()
            .map(|claim| claim.map_err(|bad| anyhow::Error::msg(bad.fault)))
            .collect();
    }
}

/// Records a batch as paid, with what the gateway would have said.
pub(super) async fn record_paid(store: &Store, claims: Vec<Claim>) -> anyhow::Result<()> {
    let answers = claims
        .into_iter()
        .map(|claim| {
            let name = claim.key.merchant_uid.as_str();
            let tail = name.get(20..).context("a merchant_uid is too short")?;
            let payment = Payment {
                imp_uid: ImpUid::parse(format!("imp_{tail}"))?,
                pg_provider: Some("html5_inicis".to_owned()),
                pg_tid: Some(format!("INIAPICARDINIBillTst{tail}")),
                receipt_url: Some(format!("{RECEIPT}{tail}")),
                cancelled_amount: 0,
            };
            Ok(Answer {
                key: claim.key,
                outcome: Some(ChargeOutcome::Paid(payment)),
                decision: Decision::Advance,
                not_found: 0,
            })
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    store.record(&answers, CATCH_UP, LEASE).await?;
    Ok(())
}
