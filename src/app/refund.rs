//! `billd refund`: gives money back, once.

use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::app::confirm::confirm;
use crate::app::exit::{Exit, Failure, not_done, parts_fit};
use crate::app::services::{self, Services, settings_for_work};
use crate::cli::{Output, Refund};
use crate::domain::ids::{ImpUid, MerchantUid, PaymentName};
use crate::domain::payment::BookPayment;
use crate::domain::refund::{
    RefundFault, RefundPlan, RefundRequest, RefundStatus, RefundWish, TaxPart, plan_refund,
    refundable,
};
use crate::engine::Refunded;
use crate::gateway::{Expected, Gateway};
use crate::settings::Source;
use crate::store::{BookRefund, RefundBegun, RefundState};
use crate::terminal;

/// What the command came to.
struct Report {
    merchant_uid: MerchantUid,
    imp_uid: ImpUid,
    status: RefundStatus,
    amount: i64,
    currency: String,
    key: String,
    repeated: bool,
    message: Option<String>,
}

/// A payment of ours.
struct Payment {
    merchant_uid: MerchantUid,
    imp_uid: ImpUid,
    book: BookPayment,
}

pub(super) async fn refund(source: &Source, refund: Refund) -> Result<Exit, Failure> {
    let name = PaymentName::parse(&refund.payment).map_err(|error| not_done(error.to_string()))?;
    if let Some(amount) = refund.amount {
        parts_fit(amount, refund.tax_free, refund.vat_amount)?;
    }
    let settings = settings_for_work(source)?;
    let services = services::open(&settings).await?;
    services.engine.gateway().prepare().await?;
    let report = Box::pin(give_back(&services, &name, &refund)).await;
    services.engine.drain(CancellationToken::new()).await;
    services.store.close().await;
    let report = report?;
    print(&report, refund.output);
    Ok(match report.status {
        RefundStatus::Refunded => Exit::Done,
        RefundStatus::Refused => Exit::Declined,
        RefundStatus::NotSent => Exit::Gateway,
        RefundStatus::Started | RefundStatus::Unknown => Exit::WorkLeft,
    })
}

async fn give_back(
    services: &Services<impl Gateway>,
    name: &PaymentName,
    refund: &Refund,
) -> Result<Report, Failure> {
    let payment = payment(services, name).await?;
    let wish = RefundWish {
        amount: refund.amount,
        tax_free: refund.tax_free,
        vat_amount: refund.vat_amount,
        note: refund.reason.clone(),
    };
    let key = refund.key.clone().unwrap_or_else(|| wish.key());
    // Before the balance is looked at: this very refund has changed it.
    let known = services.store.refund_of_key(&payment.imp_uid, &key).await?;
    if let Some(known) = known {
        return repeated(payment, refund, &known);
    }
    let expected = Expected {
        merchant_uid: payment.merchant_uid.clone(),
        customer_uid: payment.book.customer_uid.clone(),
        money: payment.book.money,
    };
    let found = services.engine.gateway().look_up(&expected).await?;
    let (merchant_uid, imp_uid) = (&payment.merchant_uid, &payment.imp_uid);
    let plan = plan_refund(merchant_uid, imp_uid, &payment.book, &found, wish)
        .map_err(|fault| complaint(&fault, name, merchant_uid))?;
    let request = match plan {
        RefundPlan::Send(request) => request,
        RefundPlan::NothingLeft => {
            let message = Some("all of it had been given back before".to_owned());
            let report = report(payment, &key, RefundStatus::Refunded, 0, true);
            return Ok(Report { message, ..report });
        }
    };
    let question = format!(
        "{} {} of {merchant_uid} ({imp_uid}), of which {} are left, will be given back.",
        request.amount, request.currency, request.checksum
    );
    confirm(&question, refund.yes)?;
    send(services, payment, refund, &key, &request).await
}

async fn send(
    services: &Services<impl Gateway>,
    payment: Payment,
    refund: &Refund,
    key: &str,
    request: &RefundRequest,
) -> Result<Report, Failure> {
    let customer_uid = payment.book.customer_uid.clone();
    let refunded = services.engine.refund(request, customer_uid, key).await?;
    match refunded {
        Refunded::Done {
            state,
            message,
            is_recorded,
        } => {
            if !is_recorded && !matches!(state, RefundState::Unknown { .. }) {
                terminal::note("this could not be written down; billd will look at the payment");
            }
            let report = report(payment, key, state.status(), request.amount, false);
            Ok(Report { message, ..report })
        }
        Refunded::NotBegun(RefundBegun::Known(known)) => repeated(payment, refund, &known),
        Refunded::NotBegun(RefundBegun::Open(open)) => Err(not_done(format!(
            "nothing was given back: it is not known yet what became of another refund of this \
             payment, {} named {:?}; `billd reconcile` finds out",
            open.amount, open.key
        ))),
        Refunded::NotBegun(RefundBegun::Begun(_)) => {
            Err(not_done("nothing was given back, though it was begun"))
        }
    }
}

/// Finds the payment in our book; what is not there is not ours to give back.
async fn payment(
    services: &Services<impl Gateway>,
    name: &PaymentName,
) -> Result<Payment, Failure> {
    let elsewhere = "is not in the book: billd gives back what it charged. Give other payments back \
                     in the PortOne console";
    let merchant_uid = match name {
        PaymentName::Merchant(merchant_uid) => merchant_uid.clone(),
        PaymentName::Imp(imp_uid) => {
            let record = services.engine.gateway().payment(imp_uid).await?;
            let record =
                record.ok_or_else(|| not_done(format!("PortOne knows no payment {imp_uid}")))?;
            MerchantUid::parse(record.merchant_uid)
                .map_err(|_not_ours| not_done(format!("{imp_uid} {elsewhere}")))?
        }
    };
    let book = services.store.payment(&merchant_uid).await?;
    let book = book.ok_or_else(|| not_done(format!("{merchant_uid} {elsewhere}")))?;
    let imp_uid =
        refundable(&book, name).map_err(|fault| complaint(&fault, name, &merchant_uid))?;
    Ok(Payment {
        imp_uid: imp_uid.clone(),
        merchant_uid,
        book,
    })
}

/// What stands against it, with what to do.
fn complaint(fault: &RefundFault, name: &PaymentName, merchant_uid: &MerchantUid) -> Failure {
    not_done(match fault {
        RefundFault::Open => format!(
            "nothing was given back: it is not known yet whether {merchant_uid} was paid; \
             `billd reconcile` asks"
        ),
        RefundFault::NotPaid(state) => format!(
            "there is nothing to give back: {merchant_uid} is {}",
            state.as_str()
        ),
        RefundFault::AnotherPayment { booked } => {
            let named = match name {
                PaymentName::Imp(imp_uid) => imp_uid.as_str(),
                PaymentName::Merchant(merchant_uid) => merchant_uid.as_str(),
            };
            format!(
                "{named} is another payment under {merchant_uid} than the one in the book, {booked}; \
                 look at both with `billd payment show {merchant_uid}`"
            )
        }
        RefundFault::NotShown => format!(
            "nothing was given back: PortOne does not show {merchant_uid} as the book does; look at \
             both with `billd payment show {merchant_uid}`"
        ),
        RefundFault::LookUpBehind { shown, booked } => format!(
            "nothing was given back: PortOne's look-up is behind, it shows {shown} given back of \
             {merchant_uid} where the book has {booked}; try again later"
        ),
        RefundFault::TooMuch {
            balance,
            amount,
            currency,
        } => format!(
            "nothing was given back: {balance} {currency} are left of {merchant_uid}, not {amount}"
        ),
        RefundFault::PartMissing {
            part,
            whole,
            amount,
        } => {
            let option = option(*part);
            format!(
                "the payment had a part of {whole} for {option}; say with {option} how much of \
                 {amount} it is"
            )
        }
        RefundFault::PartNotLeft {
            part,
            given,
            least,
            most,
        } => format!(
            "nothing was given back: by what is left of each part of {merchant_uid}, {} can be {least} to {most}, \
             not {given}",
            option(*part)
        ),
    })
}

fn option(part: TaxPart) -> &'static str {
    match part {
        TaxPart::TaxFree => "--tax-free",
        TaxPart::VatAmount => "--vat-amount",
    }
}

/// The same command once more: nothing is sent.
fn repeated(payment: Payment, refund: &Refund, known: &BookRefund) -> Result<Report, Failure> {
    if refund.amount.is_some_and(|amount| amount != known.amount) {
        return Err(not_done(format!(
            "nothing was given back: the refund named {:?} is one of {}; take another --key",
            known.key, known.amount
        )));
    }
    let status = match known.state {
        RefundStatus::Refunded => RefundStatus::Refunded,
        RefundStatus::Started
        | RefundStatus::Refused
        | RefundStatus::NotSent
        | RefundStatus::Unknown => RefundStatus::Unknown,
    };
    Ok(report(payment, &known.key, status, known.amount, true))
}

fn report(
    payment: Payment,
    key: &str,
    status: RefundStatus,
    amount: i64,
    repeated: bool,
) -> Report {
    Report {
        merchant_uid: payment.merchant_uid,
        imp_uid: payment.imp_uid,
        status,
        amount,
        currency: payment.book.money.currency().to_string(),
        key: key.to_owned(),
        repeated,
        message: None,
    }
}

fn print(report: &Report, output: Output) {
    let message = report.message.as_deref();
    if output.json {
        let json = json!({
            "merchant_uid": report.merchant_uid.as_str(),
            "imp_uid": report.imp_uid.as_str(),
            "state": report.status.as_str(),
            "amount": report.amount,
            "currency": report.currency,
            "key": report.key,
            "repeated": report.repeated,
            "message": message,
        });
        terminal::line(&json.to_string());
        return;
    }
    let what = format!(
        "{} {} of {}",
        report.amount, report.currency, report.merchant_uid
    );
    let message = message.unwrap_or_default();
    terminal::line(&match (report.status, report.repeated) {
        (RefundStatus::Refunded, true) if report.amount == 0 => message.to_owned(),
        (RefundStatus::Refunded, true) => format!(
            "{what} had been given back before; to give the same sum back once more, name it with --key"
        ),
        (RefundStatus::Refunded, false) => format!("gave back {what}"),
        (RefundStatus::Refused, _) => {
            format!("refused, nothing was given back of {what}: {message}")
        }
        (RefundStatus::NotSent, _) => {
            format!("not sent, nothing was given back of {what}: {message}")
        }
        (RefundStatus::Started | RefundStatus::Unknown, _) => format!(
            "nobody can tell yet whether {what} were given back: {message}\n\
             the payment is looked at by the daemon, or now by `billd reconcile`"
        ),
    });
}
