//! The end: what became of everybody, the comparison of both sides, and what to try next.

use anyhow::{Context, ensure};
use sqlx::Row;
use tokio::time::Instant;

use crate::demo::audit::Audit;
use crate::demo::page::{Ink, Side, gap, grouped, heading, paint, table, text};
use crate::demo::seconds;
use crate::demo::stage::Stage;

/// What an operator asks first, each with what it is good for.
const QUERIES: [(&str, &str); 3] = [
    (
        "How does everybody stand?",
        "select buyer_name, state, next_charge_at, last_result, last_reason from billd.subscription;",
    ),
    (
        "What happened to one customer?",
        "select period, attempt_no, state, code, message from billd.charge_attempt
         where subscription_id = (select id from billd.subscription where buyer_name = '강시우')
         order by period, attempt_no;",
    ),
    (
        "What waits for a person?",
        "select kind, reason, message, what_to_do from billd.attention order by since;",
    ),
];

/// Shows what became of everybody, and compares both sides. Fails if they aren't the same.
pub(super) async fn judge(stage: &mut Stage, started: Instant) -> anyhow::Result<()> {
    heading("What became of them");
    let rows: Vec<Vec<String>> = stage
        .book
        .outcomes()
        .await?
        .iter()
        .map(|row| {
            let count = |column: usize| row.try_get::<i64, _>(column).map(grouped);
            Ok(vec![
                row.try_get(0)?,
                row.try_get(1)?,
                count(2)?,
                format!("{} KRW", count(3)?),
                count(4)?,
                row.try_get(5)?,
            ])
        })
        .collect::<anyhow::Result<_>>()?;
    let columns = [
        ("who", Side::Left),
        ("state", Side::Left),
        ("payments", Side::Right),
        ("in all", Side::Right),
        ("declines", Side::Right),
        ("next charge", Side::Left),
    ];
    table(&columns, &rows);
    text("… and the 12 of the crash, with one payment each.");

    compare(stage).await?;
    gap();
    text(&format!(
        "Two months and a crash in {}. Three questions to ask the tables next:",
        seconds(started.elapsed())
    ));
    for (question, query) in QUERIES {
        let rows = match stage.book.rows(query).await?.len() {
            1 => "1 row".to_owned(),
            rows => format!("{rows} rows"),
        };
        gap();
        text(&paint(Ink::Dim, &format!("-- {question} ({rows} here)")));
        let lines: Vec<&str> = query.lines().map(str::trim).collect();
        text(&lines.join("\n"));
    }
    gap();
    Ok(())
}

async fn compare(stage: &Stage) -> anyhow::Result<()> {
    heading("The comparison: the gateway's ledger, and billd's tables");
    let skipped = usize::try_from(stage.book.skipped().await?)?;
    let audit = Audit::of(
        &stage.gateway.ledger(),
        &stage.book.attempts().await?,
        skipped,
    );
    let count = |number: usize| number.to_string();
    let money = |amount: i64| format!("{} KRW", grouped(amount));
    let row = |what: &str, number: String, sum: String| vec![what.to_owned(), number, sum];
    let rows = [
        row(
            "money moved, says the sandbox's ledger",
            count(audit.approvals),
            money(audit.approved),
        ),
        row(
            "paid, says billd.charge_attempt",
            count(audit.payments),
            money(audit.paid),
        ),
        row(
            "  in the ledger only",
            count(audit.unknown_to_billd),
            String::new(),
        ),
        row(
            "  in the tables only",
            count(audit.unknown_to_gateway),
            String::new(),
        ),
        row(
            "periods charged more than once",
            count(audit.double),
            String::new(),
        ),
        row(
            "periods that fell due and were passed over",
            count(audit.skipped),
            String::new(),
        ),
        row(
            "attempts whose fate is still open",
            count(audit.open),
            String::new(),
        ),
    ];
    let columns = [("", Side::Left), ("", Side::Right), ("", Side::Right)];
    table(&columns, &rows);
    gap();
    let sign = if audit.holds() { "=" } else { "≠" };
    let words = format!(
        "sandbox ledger {sign} billd's tables: {} charges, {} double, {} lost",
        audit.approvals,
        audit.double,
        audit.lost(),
    );
    let ink = if audit.holds() { Ink::Green } else { Ink::Red };
    text(&paint(ink, &words));
    ensure!(
        audit.holds(),
        "the comparison does not hold; this is a bug in billd, please report it with the lines above"
    );
    Ok(())
}

/// Says how to look around, while everything stays up.
pub(super) fn invite(stage: &Stage) -> anyhow::Result<()> {
    let url = stage.url();
    let address = stage.log.address().context("the daemon serves nothing")?;
    let gateway = stage.gateway.base_url();
    heading("All stays up until Ctrl-C");
    let rows = [
        ("the tables", format!("psql '{url}'")),
        ("the daemon", format!("curl http://{address}/metrics")),
        ("the gateway", format!("curl {gateway}/sandbox/ledger")),
    ];
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|(what, how)| vec![what.to_owned(), how])
        .collect();
    table(&[("", Side::Left), ("", Side::Left)], &rows);
    gap();
    text("In psql, try these, and watch here what the daemon makes of them:");
    gap();
    text(
        "insert into billd.subscription (customer_uid, name, amount) values ('cust_1', '프리미엄 월간', 9900);\n\
         update billd.control set clock_shift = clock_shift + interval '1 month';",
    );
    gap();
    Ok(())
}
