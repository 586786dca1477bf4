//! The judgement: the gateway's ledger against billd's tables, one by one.

use std::collections::{HashMap, HashSet};

use portone_sandbox::LedgerEntry;

/// One attempt of the book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attempt {
    pub(super) merchant_uid: String,
    pub(super) customer_uid: String,
    pub(super) amount: i64,
    pub(super) state: String,
    /// Subscription and period.
    pub(super) debt: String,
}

/// What the comparison found. Only a book without any fault may be called right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Audit {
    /// Approvals in the ledger, and their sum.
    pub(super) approvals: (usize, i64),
    /// Paid attempts in the tables, and their sum.
    pub(super) payments: (usize, i64),
    /// Debts for which money moved more than once.
    pub(super) double: usize,
    /// Approvals without a paid attempt of the same number, card and amount.
    pub(super) unknown_to_billd: usize,
    /// Paid attempts without an approval of the same number, card and amount.
    pub(super) unknown_to_gateway: usize,
    /// Periods that fell due and have no debt.
    pub(super) skipped: usize,
    /// Attempts whose fate is still open.
    pub(super) open: usize,
}

impl Audit {
    pub(super) fn of(ledger: &[LedgerEntry], attempts: &[Attempt], skipped: usize) -> Self {
        let paid = || attempts.iter().filter(|one| one.state == "paid");
        let there = ledger
            .iter()
            .map(|one| (&one.merchant_uid, &one.customer_uid, one.amount));
        let here = paid().map(|one| (&one.merchant_uid, &one.customer_uid, one.amount));
        let (there, here): (HashSet<_>, HashSet<_>) = (there.collect(), here.collect());
        // A payment that no attempt names is a debt of its own: under its own number.
        let debts: HashMap<_, _> = attempts
            .iter()
            .map(|one| (&one.merchant_uid, &one.debt))
            .collect();
        let mut times: HashMap<&String, usize> = HashMap::new();
        for entry in ledger {
            let debt = debts.get(&entry.merchant_uid).copied();
            let count = times.entry(debt.unwrap_or(&entry.merchant_uid));
            let count = count.or_default();
            *count = count.saturating_add(1);
        }
        let is_open = |one: &&Attempt| matches!(&*one.state, "started" | "unknown");
        let sum = |amounts: &mut dyn Iterator<Item = i64>| amounts.fold(0, i64::saturating_add);
        Self {
            approvals: (ledger.len(), sum(&mut ledger.iter().map(|one| one.amount))),
            payments: (paid().count(), sum(&mut paid().map(|one| one.amount))),
            double: times.values().filter(|count| **count > 1).count(),
            unknown_to_billd: there.difference(&here).count(),
            unknown_to_gateway: here.difference(&there).count(),
            skipped,
            open: attempts.iter().filter(is_open).count(),
        }
    }

    /// Payments that one side knows and the other doesn't, and periods that nobody charged.
    pub(super) fn lost(&self) -> usize {
        self.unknown_to_billd
            .saturating_add(self.unknown_to_gateway)
            .saturating_add(self.skipped)
    }

    /// Whether the two sides are the same, and nothing is left open.
    pub(super) fn holds(&self) -> bool {
        let is_clean = self.double == 0 && self.lost() == 0 && self.open == 0;
        is_clean && self.approvals == self.payments && self.approvals.0 > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn approval(merchant_uid: &str, amount: i64) -> LedgerEntry {
        LedgerEntry {
            sequence: 1,
            merchant_uid: merchant_uid.to_owned(),
            customer_uid: "card".to_owned(),
            amount,
            currency: "KRW".to_owned(),
            imp_uid: "imp_1".to_owned(),
            requested_at_us: 0,
            approved_at_us: 0,
        }
    }

    fn attempt(merchant_uid: &str, debt: &str, state: &str) -> Attempt {
        Attempt {
            merchant_uid: merchant_uid.to_owned(),
            customer_uid: "card".to_owned(),
            amount: 9900,
            state: state.to_owned(),
            debt: debt.to_owned(),
        }
    }

    #[test]
    fn two_sides_that_agree_hold() {
        let ledger = [approval("a1", 9900), approval("b1", 9900)];
        let attempts = [
            attempt("a1", "a", "paid"),
            attempt("b1", "b", "paid"),
            attempt("c1", "c", "declined"),
        ];
        let audit = Audit::of(&ledger, &attempts, 0);
        assert!(audit.holds(), "{audit:?}");
        assert_eq!(audit.approvals, (2, 19_800));
    }

    #[test]
    fn every_disagreement_is_found() {
        let check = |ledger: &[LedgerEntry], attempts: &[Attempt], double, lost, skipped| {
            let audit = Audit::of(ledger, attempts, skipped);
            assert_eq!((audit.double, audit.lost()), (double, lost), "{audit:?}");
            assert!(!audit.holds(), "{audit:?}");
        };
        let a1 = || approval("a1", 9900);
        let paid = |merchant_uid| attempt(merchant_uid, "a", "paid");
        // Twice under one number, twice for one debt, and once without billd's knowledge.
        check(&[a1(), a1()], &[paid("a1")], 1, 0, 0);
        let twice = [a1(), approval("a2", 9900)];
        check(&twice, &[paid("a1"), paid("a2")], 1, 0, 0);
        check(&[a1()], &[attempt("a1", "a", "declined")], 0, 1, 0);
        check(&[a1()], &[], 0, 1, 0);
        check(&[], &[paid("a1")], 0, 1, 0);
        // Another amount is neither side's payment; a period nobody charged is lost as well.
        check(&[approval("a1", 19_800)], &[paid("a1")], 0, 2, 0);
        check(&[a1()], &[paid("a1")], 0, 1, 1);
        // Nothing at all proves nothing.
        check(&[], &[], 0, 0, 0);
    }
}
