//! Webhooks out: each event once, in order, signed, whatever becomes of endpoints and daemons.

mod endpoints;
mod faults;
mod receiver;
mod receivers;
mod tools;

use std::process::Command;
use std::time::{Duration, Instant};

use portone_sandbox::{Latency, Running};

use crate::process::{Daemon, billd, sandbox_with};
use crate::support::Book;
use receiver::{Answers, Receiver};

/// As long as anything is waited for.
const LIMIT: Duration = Duration::from_mins(1);

/// A subscription that falls due in ten days: nothing of it is charged.
const NOT_DUE: &str = "insert into billd.subscription (external_id, customer_uid, name, amount, paid_until)
    select 'order-' || gen_random_uuid(), 'cust_' || n, '프리미엄 월간', 9900, billd.now() + interval '10 days' from generate_series(1, ";

/// A book, a gateway, and an endpoint called app.
struct Shop {
    book: Book,
    gateway: Running,
    receiver: Receiver,
    secret: String,
}

impl Shop {
    async fn new() -> Self {
        let book = Book::new().await;
        let receiver = Receiver::new().await;
        let secret = add(&book, "app", &receiver.url()).await;
        Self {
            gateway: sandbox_with(Latency::None).await,
            book,
            receiver,
            secret,
        }
    }

    fn command(&self) -> Command {
        let mut command = billd(&self.book.url, &self.gateway.base_url());
        command
            .env("BILLD__WEBHOOKS__ALLOWED_NETWORKS", "127.0.0.0/8")
            .env("BILLD__WEBHOOKS__TIMEOUT", "1s");
        command
    }

    fn daemon(&self) -> Daemon {
        Daemon::start(&mut self.command())
    }

    /// So many subscriptions, each of which tells of `created`.
    async fn created(&self, count: u32) {
        self.book.run(&format!("{NOT_DUE}{count}) n")).await;
    }

    /// Each subscription tells of `paused` and `resumed`, so many times.
    async fn paused_and_resumed(&self, times: u32) {
        for _ in 0..times {
            self.book
                .run("select count(f) from billd.subscription s cross join lateral billd.pause(s.id) f")
                .await;
            self.book
                .run("select count(f) from billd.subscription s cross join lateral billd.resume(s.id) f")
                .await;
        }
    }

    /// Deliveries by state.
    async fn comes_to(&self, states: &str) {
        self.book
            .comes_to(
                "select string_agg(n || ' ' || state, ', ' order by state)
                 from (select state, count(*) as n from billd.webhook_delivery group by state) x",
                states,
            )
            .await;
    }

    /// Time goes by whenever nothing can be done without it, until nothing waits for any endpoint.
    async fn comes_to_rest(&self) {
        let started = Instant::now();
        let left = "select coalesce(sum(waiting_at_most), 0) from billd.webhook";
        // Neither under way nor to be sent now.
        let is_waiting = "select not exists (select from billd.webhook_delivery d
            join billd.webhook_endpoint e on e.name = d.endpoint
            where d.state = 'pending' and (d.lease_until > billd.now()
                or d.next_at <= billd.now() and coalesce(e.probe_at <= billd.now(), true)
                    and not exists (select from billd.webhook_delivery b where b.endpoint = d.endpoint
                        and b.state = 'pending' and b.lane = d.lane and b.event_id < d.event_id)))";
        while self.book.text(left).await != "0" {
            if started.elapsed() > 3 * LIMIT {
                let endpoints = "select string_agg(w::text, ' ') from billd.webhook w";
                let waiting =
                    "select string_agg(d::text, ' ') from (select * from billd.webhook_delivery
                    where state = 'pending' order by event_id limit 5) d";
                panic!(
                    "something still waits: {} {}",
                    self.book.text(endpoints).await,
                    self.book.text(waiting).await
                );
            }
            if self.book.text(is_waiting).await == "true" {
                self.book.advance("10 minutes").await;
            }
            tokio::task::yield_now().await;
        }
    }
}

async fn add(book: &Book, name: &str, url: &str) -> String {
    book.text(&format!("select billd.add_webhook('{name}', '{url}')"))
        .await
}

/// How many events there are.
async fn events(book: &Book) -> usize {
    let count = book.text("select count(*) from billd.event").await;
    count.parse().unwrap()
}
