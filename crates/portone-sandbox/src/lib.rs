//! A faithful, stateful PortOne V1 server that moves no money: for tests, for staging, for a demo.
//!
//! It answers as the real gateway does, remembers what it charged, and breaks on demand. It knows
//! nothing of the programs that call it, so that no mistake of theirs can hide in it. Its ledger is
//! the judge: whatever a caller believes, the ledger says which money moved, and how often.
//!
//! In a test: [`start`] it with [`Options`], point the client at [`Running::base_url`], and compare
//! with [`Running::ledger`]. As a program: `portone-sandbox --help`.

mod admin;
mod amount;
mod answer;
mod arguments;
mod behaviour;
mod book;
mod call;
mod cancel;
mod card;
mod charge;
mod clock;
mod count;
mod customers;
mod fault;
mod fields;
mod help;
mod journal;
mod key;
mod ledger;
mod look_up;
mod nightly_cancel;
mod options;
mod order;
mod payment;
mod requests;
mod rng;
mod route;
mod schedule;
mod serve;
#[cfg(test)]
mod tests;
mod tokens;
mod users;
mod webhook;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use self::arguments::Arguments;
pub use self::count::Summary;
pub use self::fault::{Fault, FaultKind, SetFault};
pub use self::help::HELP;
pub use self::ledger::LedgerEntry;
pub use self::options::{IMP_KEY, IMP_SECRET, Options, Switches};
pub use self::requests::{Decided, Ended, Request};
pub use self::rng::Latency;
pub use self::route::Route;

use self::book::Book;
use self::call::Call;
use self::clock::Clock;
use self::count::Counts;
use self::fault::{Before, Faults, Plan};
use self::journal::Event;
use self::requests::RequestLog;
use self::rng::Rng;
use self::tokens::Tokens;
use self::webhook::Webhooks;
use self::wire::{Exchange, Line};

/// How long open connections may take to end when the sandbox stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Reservations have a resolution of a second; this keeps them within it.
const SCHEDULE_INTERVAL: Duration = Duration::from_millis(250);

/// What all requests share. Every lock is held for one step and never across a wait.
#[derive(Debug)]
struct Sandbox {
    options: Options,
    clock: Clock,
    stop: CancellationToken,
    switches: Mutex<Switches>,
    tokens: Mutex<Tokens>,
    book: Mutex<Book>,
    faults: Mutex<Faults>,
    counts: Mutex<Counts>,
    rng: Mutex<Rng>,
    webhooks: Webhooks,
    requests: RequestLog,
}

/// A request that panicked must not take the sandbox with it: its state is whole between any two
/// steps.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sandbox {
    /// Reads the data file, if there is one. Needs a runtime for the webhooks.
    fn new(options: Options) -> io::Result<Self> {
        let clock = Clock::start();
        let book = match &options.data {
            None => Book::new(clock.now_us()),
            Some(path) => {
                let (book, moved_us) = Book::open(path, clock.now_us())?;
                clock.advance(Duration::from_micros(moved_us.unsigned_abs()));
                book
            }
        };
        let webhooks = Webhooks::new(
            Handle::current(),
            options.notice_url.clone(),
            options.webhooks_as_form,
        );
        Ok(Self {
            clock,
            stop: CancellationToken::new(),
            switches: Mutex::new(options.switches),
            tokens: Mutex::default(),
            book: Mutex::new(book),
            faults: Mutex::default(),
            counts: Mutex::default(),
            rng: Mutex::new(Rng::new(options.seed)),
            webhooks,
            requests: RequestLog::new(options.request_log),
            options,
        })
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        lock(&self.book)
    }

    fn tokens(&self) -> MutexGuard<'_, Tokens> {
        lock(&self.tokens)
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        lock(&self.faults)
    }

    fn switches(&self) -> Switches {
        *lock(&self.switches)
    }

    fn set_switches(&self, switches: Switches) {
        *lock(&self.switches) = switches;
    }

    fn admits(&self, call: &Call) -> bool {
        self.tokens()
            .admit(call.authorization.as_deref(), self.clock.now_us())
    }

    /// Counts the request, and decides what goes wrong with it and how long it takes.
    fn plan(&self, route: Route, call: &Call) -> (Plan, Duration) {
        let elapsed_us = self.clock.elapsed_us();
        let this_second = lock(&self.counts).request(route, elapsed_us);
        let latency = match self.options.latency {
            Latency::None => Duration::ZERO,
            latency @ (Latency::Fixed(_) | Latency::Spread { .. }) => {
                latency.draw(&mut lock(&self.rng))
            }
        };
        let limit = self.switches().again_per_second_limit;
        if route == Route::Again && limit.is_some_and(|limit| limit < this_second) {
            let plan = Plan {
                before: Some(Before::Status429),
                ..Plan::default()
            };
            return (plan, latency);
        }
        if self.faults().is_empty() {
            return (Plan::default(), latency);
        }
        let named = call.fields.owned("customer_uid");
        let named = named.or_else(|| call.part("customer_uid").map(Box::from));
        let customer_uid = named.or_else(|| {
            let book = self.book();
            let payment = match (call.part("merchant_uid"), call.part("imp_uid")) {
                (Some(merchant_uid), _) => book.of_merchant_uid(merchant_uid).next(),
                (None, Some(imp_uid)) => book.by_imp_uid(imp_uid),
                (None, None) => None,
            };
            payment?.order.customer_uid.clone()
        });
        let now_us = self.clock.now_us();
        let plan = self.faults().plan(route, customer_uid.as_deref(), now_us);
        (plan, latency.saturating_add(plan.delay))
    }

    fn summary(&self) -> Summary {
        let (tally, merchant_uids) = {
            let book = self.book();
            (book.tally, book.merchant_uids())
        };
        let (webhooks_delivered, webhooks_failed) = self.webhooks.counts();
        let counts = lock(&self.counts);
        Summary {
            requests: counts.requests.clone(),
            approvals: tally.approvals,
            declines: tally.declines,
            refused_duplicates: tally.refused_duplicates,
            refused_concurrent: tally.refused_concurrent,
            merchant_uids,
            merchant_uids_approved_twice: tally.merchant_uids_approved_twice,
            webhooks_delivered,
            webhooks_failed,
            again_per_second_max: counts.again_per_second_max,
        }
    }

    fn advance(&self, by: Duration) {
        self.clock.advance(by);
        let moved_us = self.clock.moved_us();
        self.book().note(&Event::Clock { moved_us });
        self.keep_time();
    }

    /// Does what the clock asks for.
    fn keep_time(&self) {
        schedule::run_due(self);
        nightly_cancel::run(self);
    }

    fn reset(&self) {
        self.clock.reset();
        *lock(&self.switches) = self.options.switches;
        *self.tokens() = Tokens::default();
        self.book().reset(self.clock.now_us());
        self.faults().clear();
        self.webhooks.reset();
        self.requests.clear();
        *lock(&self.counts) = Counts::default();
    }
}

/// A sandbox that serves. Dropped without [`Running::stop`], it ends with its runtime.
#[derive(Debug)]
pub struct Running {
    sandbox: Arc<Sandbox>,
    addr: SocketAddr,
    server: JoinHandle<io::Result<()>>,
}

/// Starts a sandbox; it listens when this returns.
pub async fn start(options: Options) -> io::Result<Running> {
    let listener = TcpListener::bind(options.listen).await?;
    let addr = listener.local_addr()?;
    let sandbox = Arc::new(Sandbox::new(options)?);
    let service = serve::router(Arc::clone(&sandbox)).into_make_service_with_connect_info::<Line>();
    let stopped = sandbox.stop.clone().cancelled_owned();
    let server = axum::serve(Exchange(listener), service).with_graceful_shutdown(stopped);
    tokio::spawn(keep_time(Arc::clone(&sandbox)));
    Ok(Running {
        sandbox,
        addr,
        server: tokio::spawn(server.into_future()),
    })
}

/// Carries out reservations and keeps the evenings until the sandbox stops.
async fn keep_time(sandbox: Arc<Sandbox>) {
    loop {
        tokio::select! {
            () = sandbox.stop.cancelled() => return,
            () = tokio::time::sleep(SCHEDULE_INTERVAL) => sandbox.keep_time(),
        }
    }
}

impl Running {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What a client puts before every path.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The approvals after a sequence number; 0 is all of them.
    pub fn ledger_after(&self, sequence: u64) -> Vec<LedgerEntry> {
        self.sandbox.book().ledger(sequence, usize::MAX)
    }

    /// Every approval, in the order in which money moved.
    pub fn ledger(&self) -> Vec<LedgerEntry> {
        self.ledger_after(0)
    }

    /// Every charge, look-up and cancellation that was asked for; empty unless
    /// [`Options::request_log`] was set.
    pub fn requests(&self) -> Vec<Request> {
        self.sandbox.requests.all()
    }

    /// What happened so far.
    pub fn summary(&self) -> Summary {
        self.sandbox.summary()
    }

    /// Sets one more fault.
    pub fn fault(&self, fault: Fault) {
        let now_us = self.now_us();
        self.sandbox.faults().set(fault, now_us);
    }

    /// The faults that are set, and how often each has struck.
    pub fn faults(&self) -> Vec<SetFault> {
        self.sandbox.faults().list()
    }

    /// Clears all faults.
    pub fn clear_faults(&self) {
        self.sandbox.faults().clear();
    }

    /// Refuses every access token that was handed out.
    pub fn expire_tokens(&self) {
        self.sandbox.tokens().expire();
    }

    /// Changes what is not known of PortOne V1.
    pub fn set_switches(&self, switches: Switches) {
        self.sandbox.set_switches(switches);
    }

    /// Moves the sandbox's clock forward.
    pub fn advance(&self, by: Duration) {
        self.sandbox.advance(by);
    }

    /// Unix microseconds of the sandbox's clock.
    pub fn now_us(&self) -> i64 {
        self.sandbox.clock.now_us()
    }

    /// Forgets everything, faults and clock moves too.
    pub fn reset(&self) {
        self.sandbox.reset();
    }

    /// Serves until the listener fails, which it does not by itself.
    pub async fn wait(&mut self) -> io::Result<()> {
        (&mut self.server).await.map_err(io::Error::other)?
    }

    /// Stops listening, cuts what is silent, and lets the other answers end.
    pub async fn stop(self) {
        self.sandbox.stop.cancel();
        let server = self.server.abort_handle();
        if tokio::time::timeout(STOP_TIMEOUT, self.server)
            .await
            .is_err()
        {
            server.abort();
        }
        // A charge that still waits may hold the book; its file must not wait with it.
        self.sandbox.book().close();
    }
}
