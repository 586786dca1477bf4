//! What is to be asked for when a person wants money given back: how much is left, and how much of
//! it is tax.

use crate::domain::attempt::{AttemptState, Lookup};
use crate::domain::ids::{ImpUid, MerchantUid, PaymentName};
use crate::domain::money::Currency;
use crate::domain::payment::BookPayment;
use crate::domain::refund::RefundRequest;

/// What a person wants given back of a payment.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct RefundWish {
    /// How much, in minor units; `None` is all that is left.
    pub amount: Option<i64>,
    /// The tax-free part of it.
    pub tax_free: Option<i64>,
    /// The value-added tax within it.
    pub vat_amount: Option<i64>,
    /// What the gateway is told as the reason.
    pub note: Option<String>,
}

impl RefundWish {
    /// The name of this refund within its payment, if the person gives none: the same wish twice is
    /// the same refund.
    pub fn key(&self) -> String {
        match self.amount {
            Some(amount) => amount.to_string(),
            None => "full".to_owned(),
        }
    }
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefundPlan {
    /// Ask for this.
    Send(RefundRequest),
    /// All of it had been given back before.
    NothingLeft,
}

/// A part of a sum that is named for the tax office.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaxPart {
    /// The tax-free part.
    TaxFree,
    /// The value-added tax.
    VatAmount,
}

/// What stands against giving money back. Nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefundFault {
    /// The payment's own fate is open.
    Open,
    /// No money moved.
    NotPaid(AttemptState),
    /// The person named another payment under the same number.
    AnotherPayment {
        /// The one in the book.
        booked: ImpUid,
    },
    /// The gateway does not show the payment as the book does.
    NotShown,
    /// The look-up is behind.
    LookUpBehind {
        /// What the gateway shows.
        shown: i64,
        /// What the book knows of.
        booked: i64,
    },
    /// More than is left.
    TooMuch {
        /// What is left.
        balance: i64,
        /// What was wanted.
        amount: i64,
        /// The currency of both.
        currency: Currency,
    },
    /// More or less of a part than is left of it, or than leaves no more of the rest.
    PartNotLeft {
        /// Which.
        part: TaxPart,
        /// What was wanted.
        given: i64,
        /// At least this much: the rest of the payment has no more to give.
        least: i64,
        /// At most this much.
        most: i64,
    },
    /// The payment had such a part, so the refund must say how much of it is one.
    PartMissing {
        /// Which.
        part: TaxPart,
        /// How much of the payment it was.
        whole: i64,
        /// How much is to be given back.
        amount: i64,
    },
}

/// The receipt of a payment that can be given back.
pub fn refundable<'a>(
    payment: &'a BookPayment,
    name: &PaymentName,
) -> Result<&'a ImpUid, RefundFault> {
    match (payment.state, &payment.imp_uid, name) {
        (AttemptState::Paid, Some(booked), PaymentName::Imp(named)) if named != booked => {
            Err(RefundFault::AnotherPayment {
                booked: booked.clone(),
            })
        }
        (AttemptState::Paid, Some(booked), _) => Ok(booked),
        (AttemptState::Started | AttemptState::Unknown, _, _) => Err(RefundFault::Open),
        (state, _, _) => Err(RefundFault::NotPaid(state)),
    }
}

/// Plans a refund by the balance that the gateway shows now, which must not be behind the book.
pub fn plan_refund(
    merchant_uid: &MerchantUid,
    imp_uid: &ImpUid,
    payment: &BookPayment,
    found: &Lookup,
    wish: RefundWish,
) -> Result<RefundPlan, RefundFault> {
    let found = match found {
        Lookup::Paid(found) if found.imp_uid == *imp_uid => found,
        Lookup::Paid(_) | Lookup::Failed { .. } | Lookup::NotFound | Lookup::Unclear(_) => {
            return Err(RefundFault::NotShown);
        }
    };
    let booked = payment.cancelled_amount;
    if found.cancelled_amount < booked {
        return Err(RefundFault::LookUpBehind {
            shown: found.cancelled_amount.max(0),
            booked,
        });
    }
    let paid = payment.money.amount();
    let balance = paid.saturating_sub(found.cancelled_amount);
    if balance <= 0 && wish.amount.is_none() {
        return Ok(RefundPlan::NothingLeft);
    }
    let amount = wish.amount.unwrap_or(balance);
    if amount > balance {
        return Err(RefundFault::TooMuch {
            balance,
            amount,
            currency: payment.money.currency(),
        });
    }
    let parts = Parts {
        payment,
        amount,
        // Of what somebody else gave back nobody knows the parts.
        is_rest: amount == balance && found.cancelled_amount == payment.given_back.amount,
    };
    let tax_free = parts.tax_free(wish.tax_free)?;
    let vat_amount = parts.vat_amount(wish.vat_amount, tax_free)?;
    Ok(RefundPlan::Send(RefundRequest {
        merchant_uid: merchant_uid.clone(),
        imp_uid: imp_uid.clone(),
        amount,
        checksum: balance,
        payment_amount: paid,
        currency: payment.money.currency(),
        tax_free,
        vat_amount,
        note: wish.note,
    }))
}

/// How much of a refund may be each part: no more than the payment had, less what our refunds gave back of it.
struct Parts<'a> {
    payment: &'a BookPayment,
    amount: i64,
    /// Whether it is all that is left, and the parts of all that went before are known.
    is_rest: bool,
}

impl Parts<'_> {
    fn tax_free(&self, given: Option<i64>) -> Result<Option<i64>, RefundFault> {
        let back = self.payment.given_back;
        let whole = self.payment.tax_free.unwrap_or_default();
        let left = whole.saturating_sub(back.tax_free).max(0);
        let taxable = self.payment.money.amount().saturating_sub(whole);
        let taxable_back = back.amount.saturating_sub(back.tax_free);
        let taxable_left = taxable.saturating_sub(taxable_back).max(0);
        let least = self.amount.saturating_sub(taxable_left).max(0);
        let whole = self.payment.tax_free;
        self.part(TaxPart::TaxFree, given, whole, left, least, self.amount)
    }

    fn vat_amount(
        &self,
        given: Option<i64>,
        tax_free: Option<i64>,
    ) -> Result<Option<i64>, RefundFault> {
        let room = self.amount.saturating_sub(tax_free.unwrap_or_default());
        let whole = self.payment.vat_amount;
        // What was never named was computed by the gateway, so nobody knows what is left of it.
        let left = whole.map_or(room, |whole| {
            whole
                .saturating_sub(self.payment.given_back.vat_amount)
                .max(0)
        });
        self.part(TaxPart::VatAmount, given, whole, left, 0, room)
    }

    fn part(
        &self,
        part: TaxPart,
        given: Option<i64>,
        whole: Option<i64>,
        left: i64,
        least: i64,
        room: i64,
    ) -> Result<Option<i64>, RefundFault> {
        let most = left.min(room);
        match (given, whole) {
            (Some(given), _) if least.min(most) <= given && given <= most => Ok(Some(given)),
            (Some(given), _) => Err(RefundFault::PartNotLeft {
                part,
                given,
                least: least.min(most),
                most,
            }),
            (None, Some(_)) if self.is_rest || left == 0 => Ok(Some(left)),
            (None, Some(whole)) if whole > 0 => Err(RefundFault::PartMissing {
                part,
                whole,
                amount: self.amount,
            }),
            (None, Some(_) | None) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::attempt::Payment;
    use crate::domain::money::Money;
    use crate::domain::payment::{GivenBack, PaymentKind};

    fn imp_uid(text: &str) -> ImpUid {
        ImpUid::parse(text).unwrap()
    }

    /// A payment of 9,900, of which the book knows 1,000 to have been given back.
    fn payment() -> BookPayment {
        BookPayment {
            kind: PaymentKind::Attempt,
            state: AttemptState::Paid,
            money: Money::new(9_900, Currency::KRW).unwrap(),
            customer_uid: None,
            subscription: None,
            period: None,
            imp_uid: Some(imp_uid("imp_1")),
            reason: None,
            code: None,
            message: None,
            cancelled_amount: 1_000,
            tax_free: None,
            vat_amount: None,
            given_back: GivenBack::default(),
        }
    }

    fn planned(
        payment: &BookPayment,
        shown: i64,
        amount: Option<i64>,
    ) -> Result<RefundPlan, RefundFault> {
        let wish = RefundWish {
            amount,
            ..RefundWish::default()
        };
        plan(payment, shown, wish)
    }

    fn plan(
        payment: &BookPayment,
        shown: i64,
        wish: RefundWish,
    ) -> Result<RefundPlan, RefundFault> {
        let found = Lookup::Paid(Payment::example("imp_1", shown));
        let name = MerchantUid::parse("a1").unwrap();
        plan_refund(&name, &imp_uid("imp_1"), payment, &found, wish)
    }

    fn sums(plan: Result<RefundPlan, RefundFault>) -> (i64, i64) {
        match plan.unwrap() {
            RefundPlan::Send(request) => (request.amount, request.checksum),
            RefundPlan::NothingLeft => (0, 0),
        }
    }

    #[test]
    fn what_is_left_by_the_gateways_figure_is_given_back() {
        assert_eq!(sums(planned(&payment(), 1_000, None)), (8_900, 8_900));
        assert_eq!(sums(planned(&payment(), 2_000, Some(900))), (900, 7_900));
        assert_eq!(sums(planned(&payment(), 9_900, None)), (0, 0));
    }

    /// Hazard: a look-up that is behind shows a balance that is too high, and more is given back than
    /// was paid.
    #[test]
    fn a_balance_that_is_behind_the_book_or_too_small_plans_nothing() {
        let behind = RefundFault::LookUpBehind {
            shown: 0,
            booked: 1_000,
        };
        assert_eq!(planned(&payment(), 0, None), Err(behind));
        let too_much = RefundFault::TooMuch {
            balance: 8_900,
            amount: 9_000,
            currency: Currency::KRW,
        };
        assert_eq!(planned(&payment(), 1_000, Some(9_000)), Err(too_much));
    }

    /// Hazard: the whole of a mixed-tax charge is given back as taxable.
    #[test]
    fn a_part_of_a_mixed_tax_payment_must_say_how_much_of_it_is_tax_free() {
        let mut mixed = payment();
        mixed.cancelled_amount = 0;
        mixed.tax_free = Some(4_000);
        let RefundPlan::Send(whole) = planned(&mixed, 0, None).unwrap() else {
            panic!("nothing is left");
        };
        assert_eq!(whole.tax_free, Some(4_000));
        let missing = RefundFault::PartMissing {
            part: TaxPart::TaxFree,
            whole: 4_000,
            amount: 900,
        };
        assert_eq!(planned(&mixed, 0, Some(900)), Err(missing));
    }

    /// Hazard: 5,500 of 11,000 are tax-free, and in parts more than that is given back as tax-free, or as taxable.
    #[test]
    fn each_part_is_held_to_what_is_left_of_it() {
        let mut mixed = payment();
        mixed.money = Money::new(11_000, Currency::KRW).unwrap();
        mixed.tax_free = Some(5_500);
        let planned = |amount: Option<i64>, tax_free: Option<i64>, back: (i64, i64)| {
            let mut mixed = mixed.clone();
            mixed.cancelled_amount = back.0;
            mixed.given_back = GivenBack {
                amount: back.0,
                tax_free: back.1,
                vat_amount: 0,
            };
            let wish = RefundWish {
                amount,
                tax_free,
                ..RefundWish::default()
            };
            match plan(&mixed, back.0, wish) {
                Ok(RefundPlan::Send(request)) => Ok(request.tax_free),
                Ok(RefundPlan::NothingLeft) => Ok(None),
                Err(RefundFault::PartNotLeft { least, most, .. }) => Err((least, most)),
                Err(other) => panic!("{other:?}"),
            }
        };
        assert_eq!(planned(Some(3_000), Some(3_000), (0, 0)), Ok(Some(3_000)));
        assert_eq!(
            planned(Some(3_000), Some(3_000), (3_000, 3_000)),
            Err((0, 2_500))
        );
        assert_eq!(
            planned(Some(3_000), Some(2_500), (3_000, 3_000)),
            Ok(Some(2_500))
        );
        assert_eq!(planned(Some(3_000), Some(0), (3_000, 0)), Err((500, 3_000)));
        assert_eq!(planned(None, None, (6_000, 3_500)), Ok(Some(2_000)));
        assert_eq!(planned(Some(3_000), None, (5_500, 5_500)), Ok(Some(0)));
        assert_eq!(planned(Some(3_000), Some(3_001), (0, 0)), Err((0, 3_000)));
    }

    #[test]
    fn only_a_payment_whose_money_moved_can_be_given_back() {
        let name = PaymentName::parse("a1").unwrap();
        let mut book = payment();
        assert_eq!(refundable(&book, &name), Ok(&imp_uid("imp_1")));
        let other = PaymentName::parse("imp_2").unwrap();
        let booked = imp_uid("imp_1");
        assert_eq!(
            refundable(&book, &other),
            Err(RefundFault::AnotherPayment { booked })
        );
        for (state, fault) in [
            (AttemptState::Started, RefundFault::Open),
            (AttemptState::Unknown, RefundFault::Open),
            (
                AttemptState::Declined,
                RefundFault::NotPaid(AttemptState::Declined),
            ),
        ] {
            book.state = state;
            assert_eq!(refundable(&book, &name), Err(fault));
        }
    }
}
