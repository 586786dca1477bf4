//! The end: what became of everybody, the comparison of both sides, and what to try next.

use anyhow::{Context, ensure};
use tokio::time::Instant;

use crate::demo::audit::{Attempt, Audit};
use crate::demo::book::SKIPPED;
use crate::demo::page::{
    DIM, GREEN, RED, gap, grouped, heading, paint, remark, seconds, table, text,
};
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

/// What the book is like in the end.
const OUTCOMES: &str = "
    select s.buyer_name, s.state, count(a.*) filter (where a.state = 'paid'),
           to_char(coalesce(sum(a.amount) filter (where a.state = 'paid'), 0), 'FM999,999,990')
               || ' KRW',
           count(a.*) filter (where a.state = 'declined'),
           coalesce(to_char(s.next_charge_at at time zone s.time_zone, 'FMDD FMMonth YYYY'), '–')
    from billd.subscription s
    left join billd.charge_attempt a on a.subscription_id = s.id
    where s.customer_uid not like 'rush-%'
    group by s.id order by s.buyer_name";

const ATTEMPTS: &str = "
    select merchant_uid, customer_uid, amount, state, subscription_id || ' ' || period
    from billd.charge_attempt";

/// Shows what became of everybody, and compares both sides. Fails if they aren't the same.
pub(super) async fn judge(stage: &mut Stage, started: Instant) -> anyhow::Result<()> {
    heading("What became of them");
    let titles = [
        "who",
        "state",
        ">payments",
        ">in all",
        ">declines",
        "next charge",
    ];
    table(&titles, &stage.book.rows(OUTCOMES).await?);
    text("… and the 12 of the crash, with one payment each.");

    compare(stage).await?;
    let took = seconds(started.elapsed());
    remark(&format!(
        "Two months and a crash in {took}. Three questions to ask the tables next:"
    ));
    for (question, query) in QUERIES {
        let rows = match stage.book.rows(query).await?.len() {
            1 => "1 row".to_owned(),
            rows => format!("{rows} rows"),
        };
        remark(&paint(DIM, &format!("-- {question} ({rows} here)")));
        let lines: Vec<&str> = query.lines().map(str::trim).collect();
        text(&lines.join("\n"));
    }
    gap();
    Ok(())
}

async fn compare(stage: &Stage) -> anyhow::Result<()> {
    heading("The comparison: the gateway's ledger, and billd's tables");
    let skipped = usize::try_from(stage.book.number(SKIPPED).await?)?;
    let attempts = stage.book.rows(ATTEMPTS).await?.into_iter().map(attempt);
    let attempts = attempts.collect::<anyhow::Result<Vec<_>>>()?;
    let audit = Audit::of(&stage.gateway.ledger(), &attempts, skipped);
    let money = |amount: i64| format!("{} KRW", grouped(amount));
    let (approvals, approved) = audit.approvals;
    let (payments, paid) = audit.payments;
    let row = |what: &str, count: usize, sum| vec![what.to_owned(), count.to_string(), sum];
    let fault = |what, count| row(what, count, String::new());
    let rows = [
        row(
            "money moved, says the sandbox's ledger",
            approvals,
            money(approved),
        ),
        row("paid, says billd.charge_attempt", payments, money(paid)),
        fault("  in the ledger only", audit.unknown_to_billd),
        fault("  in the tables only", audit.unknown_to_gateway),
        fault("periods charged more than once", audit.double),
        fault("periods that fell due and were passed over", audit.skipped),
        fault("attempts whose fate is still open", audit.open),
    ];
    table(&["", ">", ">"], &rows);
    let sign = if audit.holds() { "=" } else { "≠" };
    let words = format!(
        "sandbox ledger {sign} billd's tables: {approvals} charges, {} double, {} lost",
        audit.double,
        audit.lost(),
    );
    remark(&paint(if audit.holds() { GREEN } else { RED }, &words));
    ensure!(
        audit.holds(),
        "the comparison does not hold; this is a bug in billd, please report it with the lines above"
    );
    Ok(())
}

fn attempt(row: Vec<String>) -> anyhow::Result<Attempt> {
    let row: Option<[String; 5]> = row.try_into().ok();
    let [merchant_uid, customer_uid, amount, state, debt] = row.context("a column is missing")?;
    let amount = amount.parse()?;
    Ok(Attempt {
        merchant_uid,
        customer_uid,
        amount,
        state,
        debt,
    })
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
    let rows = rows.map(|(what, how)| vec![what.to_owned(), how]);
    table(&["", ""], &rows);
    remark("In psql, try these, and watch here what the daemon makes of them:");
    gap();
    text(
        "insert into billd.subscription (customer_uid, name, amount) values ('cust_1', '프리미엄 월간', 9900);\n\
         update billd.control set clock_shift = clock_shift + interval '1 month';",
    );
    gap();
    Ok(())
}
