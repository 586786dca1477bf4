//! One payment record, and how PortOne writes it down.

use serde::{Deserialize, Serialize};

use super::amount::Amount;
use super::card::Card;
use super::clock::seconds;

/// What became of a payment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    #[default]
    Ready,
    Paid,
    Cancelled,
    Failed,
}

impl Status {
    pub(super) fn parse(word: &str) -> Option<Self> {
        match word {
            "ready" => Some(Self::Ready),
            "paid" => Some(Self::Paid),
            "cancelled" => Some(Self::Cancelled),
            "failed" => Some(Self::Failed),
            _ => None,
        }
    }

    /// Whether money moved under this record, so that its `merchant_uid` is taken.
    pub(super) fn took_money(self) -> bool {
        match self {
            Self::Paid | Self::Cancelled => true,
            Self::Ready | Self::Failed => false,
        }
    }
}

/// What a `customer_uid` was used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Usage {
    #[serde(rename = "issue")]
    Issue,
    #[serde(rename = "payment")]
    Payment,
    #[serde(rename = "payment.scheduled")]
    Scheduled,
}

/// What the merchant asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) merchant_uid: Box<str>,
    pub(super) customer_uid: Option<Box<str>>,
    pub(super) amount: Amount,
    pub(super) currency: Option<Box<str>>,
    pub(super) name: Option<Box<str>>,
    pub(super) buyer_name: Option<Box<str>>,
    pub(super) buyer_email: Option<Box<str>>,
    pub(super) buyer_tel: Option<Box<str>>,
    pub(super) buyer_addr: Option<Box<str>>,
    pub(super) buyer_postcode: Option<Box<str>>,
    pub(super) card_quota: i64,
    pub(super) custom_data: Option<Box<str>>,
    pub(super) notice_url: Option<Box<str>>,
}

impl Order {
    pub(super) fn currency(&self) -> &str {
        self.currency.as_deref().unwrap_or("KRW")
    }
}

/// One giving back, whole or in part.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Cancel {
    pub(super) amount: Amount,
    pub(super) at_us: i64,
    pub(super) reason: Box<str>,
}

/// One record. Instants are unix microseconds, 0 when they did not happen.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Payment {
    /// The digits of its `imp_uid`.
    pub(super) number: u64,
    pub(super) order: Order,
    pub(super) status: Status,
    pub(super) usage: Option<Usage>,
    /// Masked; `None` shows the card that always stands behind the `customer_uid`.
    pub(super) card_number: Option<Box<str>>,
    pub(super) started_at_us: i64,
    pub(super) paid_at_us: i64,
    pub(super) failed_at_us: i64,
    pub(super) cancelled_at_us: i64,
    pub(super) updated_at_us: i64,
    pub(super) fail_reason: Option<Box<str>>,
    pub(super) cancels: Vec<Cancel>,
}

impl Payment {
    pub(super) fn imp_uid(&self) -> String {
        format!("imp_{}", self.number)
    }

    /// How much was given back.
    pub(super) fn cancelled(&self) -> Amount {
        let amounts = self.cancels.iter().map(|cancel| cancel.amount);
        amounts.fold(Amount::ZERO, Amount::plus)
    }

    /// What names the last giving back.
    pub(super) fn cancellation_id(&self, nth: usize) -> String {
        format!("cancellation_{}_{nth}", self.number)
    }

    /// Everything given back, with the receipts.
    fn refunds<'a>(&'a self, pg_tid: &str) -> Vec<Refund<'a>> {
        let cancels = (1..).zip(&self.cancels);
        let refunds = cancels.map(|(nth, cancel)| {
            let pg_tid = format!("{pg_tid}C{nth}");
            Refund {
                amount: cancel.amount,
                cancelled_at: seconds(cancel.at_us),
                reason: &cancel.reason,
                cancellation_id: self.cancellation_id(nth),
                receipt_url: receipt_url(&pg_tid),
                pg_tid,
            }
        });
        refunds.collect()
    }

    /// The instant that a window of `/payments/status` is held against.
    pub(super) fn decided_at_us(&self) -> i64 {
        match self.status {
            Status::Ready => self.started_at_us,
            Status::Paid => self.paid_at_us,
            Status::Cancelled => self.cancelled_at_us,
            Status::Failed => self.failed_at_us,
        }
    }

    /// The record as PortOne answers it.
    pub(super) fn annotation(&self) -> Annotation<'_> {
        let order = &self.order;
        let paid = self.status.took_money();
        let card = Card::of(
            order.customer_uid.as_deref().unwrap_or_default(),
            self.card_number.as_deref(),
        );
        let pg_tid = format!("INIAPICARDINIBillTst{:020}", self.number);
        let cancel_history = self.refunds(&pg_tid);
        Annotation {
            imp_uid: self.imp_uid(),
            merchant_uid: &order.merchant_uid,
            pay_method: "card",
            channel: "api",
            pg_provider: "html5_inicis",
            receipt_url: paid.then(|| receipt_url(&pg_tid)),
            pg_tid: paid.then_some(pg_tid),
            pg_id: "INIBillTst",
            sandbox: true,
            apply_num: paid.then(|| format!("{:08}", self.number.rem_euclid(100_000_000))),
            card_code: card.code,
            card_name: card.name,
            card_quota: order.card_quota,
            card_number: card.number,
            name: order.name.as_deref(),
            amount: order.amount,
            cancel_amount: self.cancelled(),
            currency: order.currency(),
            buyer_name: order.buyer_name.as_deref(),
            buyer_email: order.buyer_email.as_deref(),
            buyer_tel: order.buyer_tel.as_deref(),
            buyer_addr: order.buyer_addr.as_deref(),
            buyer_postcode: order.buyer_postcode.as_deref(),
            custom_data: order.custom_data.as_deref(),
            status: self.status,
            started_at: seconds(self.started_at_us),
            paid_at: seconds(self.paid_at_us),
            failed_at: seconds(self.failed_at_us),
            cancelled_at: seconds(self.cancelled_at_us),
            fail_reason: self.fail_reason.as_deref(),
            cancel_reason: self.cancels.last().map(|cancel| &*cancel.reason),
            cancel_receipt_urls: cancel_history
                .iter()
                .map(|refund| refund.receipt_url.clone())
                .collect(),
            cancel_history,
            customer_uid: order.customer_uid.as_deref(),
            customer_uid_usage: self.usage,
            ..Annotation::default()
        }
    }
}

fn receipt_url(pg_tid: &str) -> String {
    format!("https://iniweb.inicis.com/mall/cr/cm/mCmReceipt_head.jsp?noTid={pg_tid}")
}

/// Every field of the schema's `PaymentAnnotation`.
#[derive(Debug, Default, Serialize)]
pub(super) struct Annotation<'a> {
    imp_uid: String,
    pub(super) merchant_uid: &'a str,
    pay_method: &'static str,
    channel: &'static str,
    pg_provider: &'static str,
    emb_pg_provider: Option<&'static str>,
    pg_tid: Option<String>,
    pg_id: &'static str,
    sandbox: bool,
    escrow: bool,
    apply_num: Option<String>,
    bank_code: Option<&'static str>,
    bank_name: Option<&'static str>,
    card_code: &'static str,
    card_name: &'static str,
    card_issuer_code: Option<&'static str>,
    card_issuer_name: Option<&'static str>,
    card_publisher_code: Option<&'static str>,
    card_publisher_name: Option<&'static str>,
    card_quota: i64,
    card_number: String,
    card_type: Option<i64>,
    vbank_code: Option<&'static str>,
    vbank_name: Option<&'static str>,
    vbank_num: Option<&'static str>,
    vbank_holder: Option<&'static str>,
    vbank_date: i64,
    vbank_issued_at: i64,
    name: Option<&'a str>,
    pub(super) amount: Amount,
    cancel_amount: Amount,
    currency: &'a str,
    buyer_name: Option<&'a str>,
    buyer_email: Option<&'a str>,
    buyer_tel: Option<&'a str>,
    buyer_addr: Option<&'a str>,
    buyer_postcode: Option<&'a str>,
    custom_data: Option<&'a str>,
    user_agent: Option<&'static str>,
    status: Status,
    started_at: i64,
    paid_at: i64,
    failed_at: i64,
    cancelled_at: i64,
    fail_reason: Option<&'a str>,
    cancel_reason: Option<&'a str>,
    receipt_url: Option<String>,
    cancel_history: Vec<Refund<'a>>,
    deposit_history: [(); 0],
    cancel_receipt_urls: Vec<String>,
    cash_receipt_issued: bool,
    customer_uid: Option<&'a str>,
    customer_uid_usage: Option<Usage>,
    promotion: Option<&'static str>,
}

/// One giving back, as an answer shows it.
#[derive(Debug, Serialize)]
pub(super) struct Refund<'a> {
    pg_tid: String,
    amount: Amount,
    cancelled_at: i64,
    reason: &'a str,
    cancellation_id: String,
    receipt_url: String,
}
