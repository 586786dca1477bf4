//! What people do beside the daemons: in SQL, and by commands of the real binary.

use std::fs::File;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context;
use sqlx::Row as _;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::arena::{COMMAND, Ended, Watched};
use crate::commands::{OneOff, Refund, Typed};
use crate::failpoint;
use crate::injure::{Scene, is_of_migrations, lot, run};
use crate::plan::{Deed, Injury};
use crate::rules;

/// A command beside the daemons takes a moment; one that takes longer hangs. One that can't write down what
/// became of money goes on trying for half a minute.
const COMMAND_MAX: Duration = Duration::from_mins(1);

/// How long a person waits for something that can be given back, how long for one of the kind that was
/// meant, and how often it is looked for.
const PAID_WITHIN: Duration = Duration::from_secs(4);
const PREFERRED_WITHIN: Duration = Duration::from_secs(1);
const PAID_EVERY: Duration = Duration::from_millis(100);

/// A card that is approved.
const CARD: &[u8] = br#"{"card_number": "4242424242424242", "expiry": "2030-12", "birth": "900101",
    "pwd_2digit": "12"}"#;

/// A payment that can be given back.
struct Paid {
    merchant_uid: String,
    amount: i64,
}

/// A command that runs.
struct Running {
    child: Child,
    _watched: Watched,
}

impl Scene {
    /// A person is refused, runs into a lock or loses the connection: then nothing was done.
    pub(super) async fn do_as_person(&self, deed: Deed, share: f64) -> anyhow::Result<()> {
        let rows = lot(share);
        let statements = match deed {
            Deed::Pause => vec![
                format!(
                    "update billd.subscription set state = 'paused' where state = 'active' and {rows}"
                ),
                "update billd.subscription set state = 'active' where state = 'paused'".to_owned(),
            ],
            Deed::Cancel => vec![format!(
                "update billd.subscription set state = 'cancelled' where {rows}"
            )],
            Deed::Reprice => vec![format!(
                "update billd.subscription set amount = amount + 100 where {rows}"
            )],
            Deed::Delete => vec![format!(
                "delete from billd.subscription s where {rows} and not exists (
                     select from billd.billing_cycle c where c.subscription_id = s.id)"
            )],
            Deed::Edit => vec![format!(
                "update billd.subscription set next_charge_at = billd.now(), name = '새 이름'
                 where state = 'active' and due_at <= billd.now() and open_attempt is null and {rows}"
            )],
            Deed::Sweep => return self.command("sweep").await,
            Deed::Reconcile => return self.command("reconcile").await,
            Deed::Migrate => return self.command("migrate").await,
        };
        for statement in statements {
            if let Ok(mut person) = self.person().await {
                run(&mut person, &statement).await.ok();
            }
            sleep(Duration::from_millis(400)).await;
        }
        Ok(())
    }

    /// Charges a card outside any subscription.
    pub(super) async fn charge_once(&self, one_off: &OneOff) -> anyhow::Result<()> {
        let mut arguments = vec!["charge".to_owned()];
        match &one_off.customer_uid {
            Some(customer_uid) => {
                arguments.extend(["again".to_owned(), customer_uid.clone(), "--yes".to_owned()]);
            }
            None => arguments.push("onetime".to_owned()),
        }
        let amount = one_off.amount.to_string();
        let named = [
            ("--amount", amount.as_str()),
            ("--name", "추가 결제"),
            ("--merchant-uid", &one_off.merchant_uid),
        ];
        arguments.extend(
            named
                .iter()
                .flat_map(|(option, value)| [*option, *value].map(str::to_owned)),
        );
        self.type_in(&arguments, "one_off", &one_off.typed).await
    }

    /// Gives back something that was paid, if anything is in time.
    pub(super) async fn give_back(&self, refund: &Refund) -> anyhow::Result<()> {
        let Some(paid) = self.something_paid(refund).await else {
            return Ok(());
        };
        let mut arguments = vec!["refund".to_owned(), paid.merchant_uid, "--yes".to_owned()];
        if let Some(percent) = refund.percent {
            let part = paid.amount.saturating_mul(percent.into()).div_euclid(100);
            arguments.extend(["--amount".to_owned(), part.max(1).to_string()]);
        }
        self.type_in(&arguments, "refund", &refund.typed).await
    }

    async fn something_paid(&self, refund: &Refund) -> Option<Paid> {
        let started = Instant::now();
        while started.elapsed() < PAID_WITHIN {
            let is_late = started.elapsed() > PREFERRED_WITHIN;
            // The database may be away.
            if let Ok(paid) = self.all_paid(refund.of_one_off, is_late).await
                && let Some(last) = paid.len().checked_sub(1)
            {
                return paid.into_iter().nth(usize::from(refund.nth).min(last));
            }
            sleep(PAID_EVERY).await;
        }
        None
    }

    async fn all_paid(&self, one_offs: bool, others_too: bool) -> anyhow::Result<Vec<Paid>> {
        let mut person = self.person().await?;
        let query = format!(
            "select merchant_uid, amount from billd.charge_attempt
             where state = 'paid' and ({others_too} or (subscription_id is null) = {one_offs})
             order by (subscription_id is null) = {one_offs} desc, customer_uid, period, merchant_uid"
        );
        let rows = sqlx::raw_sql(sqlx::AssertSqlSafe(query))
            .fetch_all(&mut person)
            .await?;
        rows.iter()
            .map(|row| {
                Ok(Paid {
                    merchant_uid: row.try_get("merchant_uid")?,
                    amount: row.try_get("amount")?,
                })
            })
            .collect()
    }

    /// Runs one and the same command as often as it is typed. Only the first dies.
    async fn type_in(&self, arguments: &[String], what: &str, typed: &Typed) -> anyhow::Result<()> {
        let mut under_way = Vec::new();
        for nth in 0..typed.times {
            let point = typed.point.as_deref().filter(|_| nth == 0);
            let mut command = self.start(arguments, point.map(|point| format!("{point}:1")))?;
            if let Some(mut stdin) = command.child.stdin.take() {
                // Who dies or is refused before it has read the card does not mind.
                stdin.write_all(CARD).await.ok();
            }
            under_way.push((command, point));
            if !typed.at_once {
                self.await_all(&mut under_way, what).await?;
            }
        }
        self.await_all(&mut under_way, what).await
    }

    async fn await_all(
        &self,
        under_way: &mut Vec<(Running, Option<&str>)>,
        what: &str,
    ) -> anyhow::Result<()> {
        for (command, point) in under_way.drain(..) {
            let status = command.ended(what).await?;
            if let (Ended::Signal(_), Some(point)) = (Ended::from(status), point) {
                self.fleet.note_command(format!("{what} at {point}")).await;
            }
        }
        Ok(())
    }

    /// A command beside the daemons. It may fail, since the database may be away; it may not hang.
    pub(super) async fn command(&self, name: &str) -> anyhow::Result<()> {
        let crash = self.plan.injuries.iter().find_map(|planned| {
            if let Injury::Crash { point, visit, .. } = &planned.injury
                && name == "migrate"
                && is_of_migrations(point)
            {
                return Some(format!("{point}:{visit}"));
            }
            None
        });
        let command = self.start(&[name.to_owned()], crash)?;
        command.ended(name).await?;
        Ok(())
    }

    /// Starts a command in a folder without settings files. What it says goes to a log of all commands.
    fn start(&self, arguments: &[String], crash: Option<String>) -> anyhow::Result<Running> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.join("commands.log"))
            .context("couldn't write the commands' log")?;
        let url = self.command_door.url(COMMAND, self.database.name());
        let child = Command::new(&self.program)
            .args(arguments)
            .current_dir(&self.folder)
            .env_clear()
            .env("DATABASE_URL", url)
            .env("BILLD__GATEWAY__BASE_URL", self.gateway.base_url())
            .envs(rules::settings(&self.plan, false))
            .envs(crash.map(|crash| (failpoint::VARIABLE, crash)))
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("couldn't start a command")?;
        let process = child.id().context("a command ended at once")?;
        Ok(Running {
            child,
            _watched: self.fleet.watch(process)?,
        })
    }
}

impl Running {
    async fn ended(mut self, what: &str) -> anyhow::Result<ExitStatus> {
        drop(self.child.stdin.take());
        let status = timeout(COMMAND_MAX, self.child.wait()).await;
        Ok(status.with_context(|| format!("billd {what} did not end in {COMMAND_MAX:?}"))??)
    }
}
