//! `billd refund`: gives money back, once.

use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::app::by_hand::name::PaymentName;
use crate::app::by_hand::not_done;
use crate::app::{Exit, Failure, House, open_house, settings_for_work};
use crate::cli::Output;
use crate::cli::by_hand::Refund;
use crate::domain::attempt::Lookup;
use crate::domain::ids::{CustomerUid, ImpUid, MerchantUid};
use crate::domain::money::{Currency, Money};
use crate::domain::refund::RefundRequest;
use crate::engine::Refunded;
use crate::gateway::{Expected, Gateway};
use crate::settings::Source;
use crate::store::{BookPayment, BookRefund, RefundBegun, RefundState};
use crate::terminal;

/// What the command came to.
struct Told {
    merchant_uid: MerchantUid,
    imp_uid: ImpUid,
    state: String,
    amount: i64,
    currency: String,
    key: String,
    repeated: bool,
    message: Option<String>,
}

/// A payment of ours, as the book and the gateway have it.
struct Payment {
    merchant_uid: MerchantUid,
    imp_uid: ImpUid,
    customer_uid: Option<CustomerUid>,
    money: Money,
    book: BookPayment,
}

pub(in crate::app) async fn refund(source: &Source, refund: Refund) -> Result<Exit, Failure> {
    let name = PaymentName::parse(&refund.payment).map_err(|error| not_done(error.to_string()))?;
    let settings = settings_for_work(source)?;
    let house = open_house(&settings).await?;
    house.engine.gateway().prepare().await?;
    let told = Box::pin(give_back(&house, &name, &refund)).await;
    house.engine.drain(CancellationToken::new()).await;
    house.store.close().await;
    let told = told?;
    print(&told, refund.output);
    Ok(match told.state.as_str() {
        "refunded" => Exit::Done,
        "refused" => Exit::Declined,
        "not_sent" => Exit::Gateway,
        _ => Exit::WorkLeft,
    })
}

async fn give_back(
    house: &House<impl Gateway>,
    name: &PaymentName,
    refund: &Refund,
) -> Result<Told, Failure> {
    let payment = payment(house, name).await?;
    let key = refund.key.clone().unwrap_or_else(|| match refund.amount {
        Some(amount) => amount.to_string(),
        None => "full".to_owned(),
    });
    // Before the balance is looked at: this very refund has changed it.
    let known = house.store.refund_of_key(&payment.imp_uid, &key).await?;
    if let Some(known) = known {
        return repeated(payment, refund, known);
    }
    let request = match request(house, &payment, refund).await? {
        Ok(request) => request,
        Err(nothing_left) => {
            return Ok(Told {
                message: Some(nothing_left),
                ..told(payment, &key, "refunded".to_owned(), 0, true)
            });
        }
    };
    terminal::note(&format!(
        "giving back {} {} of {}",
        request.amount, request.currency, request.merchant_uid
    ));
    let customer_uid = payment.customer_uid.clone();
    let refunded = house
        .engine
        .refund_by_hand(&request, customer_uid, &key)
        .await?;
    match refunded {
        Refunded::Done {
            state,
            message,
            is_recorded,
        } => {
            if !is_recorded && !matches!(state, RefundState::Unknown { .. }) {
                terminal::note("this could not be written down; billd will look at the payment");
            }
            let state = state.as_str().to_owned();
            Ok(Told {
                message,
                ..told(payment, &key, state, request.amount, false)
            })
        }
        Refunded::NotBegun(RefundBegun::Known(known)) => repeated(payment, refund, known),
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
async fn payment(house: &House<impl Gateway>, name: &PaymentName) -> Result<Payment, Failure> {
    let elsewhere = "is not in the book: billd gives back what it charged. Give other payments back \
                     in the PortOne console";
    let merchant_uid = match name {
        PaymentName::Merchant(merchant_uid) => merchant_uid.clone(),
        PaymentName::Imp(imp_uid) => {
            let record = house.engine.gateway().payment(imp_uid).await?;
            let record =
                record.ok_or_else(|| not_done(format!("PortOne knows no payment {imp_uid}")))?;
            MerchantUid::parse(record.merchant_uid)
                .map_err(|_not_ours| not_done(format!("{imp_uid} {elsewhere}")))?
        }
    };
    let book = house.store.payment(&merchant_uid).await?;
    let book = book.ok_or_else(|| not_done(format!("{merchant_uid} {elsewhere}")))?;
    let imp_uid = match (book.state.as_str(), &book.imp_uid) {
        ("paid", Some(imp_uid)) => {
            ImpUid::parse(imp_uid.as_str()).map_err(|error| not_done(error.to_string()))?
        }
        ("started" | "unknown", _) => {
            return Err(not_done(format!(
                "nothing was given back: it is not known yet whether {merchant_uid} was paid; \
                 `billd reconcile` asks"
            )));
        }
        (state, _) => {
            return Err(not_done(format!(
                "there is nothing to give back: {merchant_uid} is {state}"
            )));
        }
    };
    if let PaymentName::Imp(named) = name
        && *named != imp_uid
    {
        return Err(not_done(format!(
            "{named} is another payment under {merchant_uid} than the one in the book, {imp_uid}; \
             look at both with `billd payment show {merchant_uid}`"
        )));
    }
    let currency = Currency::parse(&book.currency).map_err(|error| not_done(error.to_string()))?;
    let customer_uid = book.customer_uid.clone().map(CustomerUid::parse);
    Ok(Payment {
        merchant_uid,
        imp_uid,
        customer_uid: customer_uid
            .transpose()
            .map_err(|error| not_done(error.to_string()))?,
        money: Money::new(book.amount, currency).map_err(|error| not_done(error.to_string()))?,
        book,
    })
}

/// The request, with the balance that the gateway shows now; or that nothing is left.
async fn request(
    house: &House<impl Gateway>,
    payment: &Payment,
    refund: &Refund,
) -> Result<Result<RefundRequest, String>, Failure> {
    let expected = Expected {
        merchant_uid: payment.merchant_uid.clone(),
        customer_uid: payment.customer_uid.clone(),
        money: payment.money,
    };
    let merchant_uid = &payment.merchant_uid;
    let found = match house.engine.gateway().look_up(&expected).await? {
        Lookup::Paid(found) if found.imp_uid == payment.imp_uid => found,
        Lookup::Paid(_) | Lookup::Failed { .. } | Lookup::NotFound | Lookup::Unclear(_) => {
            return Err(not_done(format!(
                "nothing was given back: PortOne does not show {merchant_uid} as the book does; \
                 look at both with `billd payment show {merchant_uid}`"
            )));
        }
    };
    let booked = payment.book.cancelled_amount;
    if found.cancelled_amount < booked {
        return Err(not_done(format!(
            "nothing was given back: PortOne's look-up is behind, it shows {} given back of \
             {merchant_uid} where the book has {booked}; try again later",
            found.cancelled_amount.max(0)
        )));
    }
    let paid = payment.money.amount();
    let balance = paid.saturating_sub(found.cancelled_amount);
    if balance <= 0 && refund.amount.is_none() {
        return Ok(Err("all of it had been given back before".to_owned()));
    }
    let amount = refund.amount.unwrap_or(balance);
    if amount > balance {
        return Err(not_done(format!(
            "nothing was given back: {balance} {} are left of {merchant_uid}, not {amount}",
            payment.money.currency()
        )));
    }
    let part = |given: Option<i64>, whole: Option<i64>, option: &str| match (given, whole) {
        (Some(given), _) => Ok(Some(given)),
        (None, Some(whole)) if amount == paid => Ok(Some(whole)),
        (None, Some(whole)) if whole > 0 => Err(not_done(format!(
            "the payment had a part of {whole} for {option}; say with {option} how much of {amount} \
             it is"
        ))),
        (None, Some(_) | None) => Ok(None),
    };
    Ok(Ok(RefundRequest {
        merchant_uid: merchant_uid.clone(),
        imp_uid: payment.imp_uid.clone(),
        amount,
        checksum: balance,
        payment_amount: paid,
        currency: payment.money.currency(),
        tax_free: part(refund.tax_free, payment.book.tax_free, "--tax-free")?,
        vat_amount: part(refund.vat_amount, payment.book.vat_amount, "--vat-amount")?,
        note: refund.reason.clone(),
    }))
}

/// The same command once more: nothing is sent.
fn repeated(payment: Payment, refund: &Refund, known: BookRefund) -> Result<Told, Failure> {
    if refund.amount.is_some_and(|amount| amount != known.amount) {
        return Err(not_done(format!(
            "nothing was given back: the refund named {:?} is one of {}; take another --key",
            known.key, known.amount
        )));
    }
    let state = if known.state == "refunded" {
        known.state
    } else {
        "unknown".to_owned()
    };
    Ok(told(payment, &known.key, state, known.amount, true))
}

fn told(payment: Payment, key: &str, state: String, amount: i64, repeated: bool) -> Told {
    Told {
        merchant_uid: payment.merchant_uid,
        imp_uid: payment.imp_uid,
        state,
        amount,
        currency: payment.book.currency,
        key: key.to_owned(),
        repeated,
        message: None,
    }
}

fn print(told: &Told, output: Output) {
    let message = told.message.as_deref();
    if output.json {
        let json = json!({
            "merchant_uid": told.merchant_uid.as_str(),
            "imp_uid": told.imp_uid.as_str(),
            "state": told.state,
            "amount": told.amount,
            "currency": told.currency,
            "key": told.key,
            "repeated": told.repeated,
            "message": message,
        });
        terminal::line(&json.to_string());
        return;
    }
    let what = format!("{} {} of {}", told.amount, told.currency, told.merchant_uid);
    let message = message.unwrap_or_default();
    terminal::line(&match (told.state.as_str(), told.repeated) {
        ("refunded", true) if told.amount == 0 => message.to_owned(),
        ("refunded", true) => format!(
            "{what} had been given back before; to give the same sum back once more, name it with --key"
        ),
        ("refunded", false) => format!("gave back {what}"),
        ("refused", _) => format!("refused, nothing was given back of {what}: {message}"),
        ("not_sent", _) => format!("not sent, nothing was given back of {what}: {message}"),
        _ => format!(
            "nobody can tell yet whether {what} were given back: {message}\n\
             the payment is looked at by the daemon, or now by `billd reconcile`"
        ),
    });
}
