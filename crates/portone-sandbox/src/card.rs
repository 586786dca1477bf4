//! Test cards: what a card number asks of its billing key, and what a record shows of it.

use super::behaviour::{self, Behaviour};

/// Cards `4000-0000-0000-….` that register well and then behave, by their last four digits.
pub(super) const TEST_CARDS: [(&str, &str); 15] = [
    ("1254", "decline-balance"),
    ("1216", "decline-limit"),
    ("1202", "decline-daily"),
    ("1226", "decline-stolen"),
    ("1204", "decline-expired"),
    ("1201", "decline-stopped"),
    ("1195", "decline-no-key"),
    ("1221", "decline-password"),
    ("1251", "decline-identity"),
    ("1299", "decline-call"),
    ("1208", "decline-config"),
    ("1213", "decline-request"),
    ("1210", "decline-timeout"),
    ("2116", "decline-null"),
    ("1200", "decline-maintenance"),
];

/// The card that no provider registers.
pub(super) const REFUSED_CARD: &str = "4000000000000112";

/// The first digits that all test cards share, as a masked number shows them.
const TEST_PREFIX: &str = "400000******";

/// What the billing key of this masked number does; `None` is an ordinary card, which is approved.
pub(super) fn behaviour(masked: &str) -> Option<&'static Behaviour> {
    let ending = masked.strip_prefix(TEST_PREFIX)?;
    let (_, word) = TEST_CARDS.iter().find(|(digits, _)| *digits == ending)?;
    behaviour::of(word).map(|(behaviour, _)| behaviour)
}

/// The digits of a card number in any notation, if there are as many as a card has.
pub(super) fn digits(number: &str) -> Option<String> {
    let digits: String = number.chars().filter(char::is_ascii_digit).collect();
    let only_separators = number
        .chars()
        .all(|c| c.is_ascii_digit() || c == '-' || c == ' ');
    (only_separators && (14..=16).contains(&digits.len())).then_some(digits)
}

/// Hides all but the first six and the last four digits. The sandbox keeps nothing else, as nobody
/// may store a card number, not even one that was typed into a test by mistake.
pub(super) fn mask(digits: &str) -> Box<str> {
    let hidden = digits.len().saturating_sub(4);
    let mask = |(nth, digit)| {
        if (6..hidden).contains(&nth) {
            '*'
        } else {
            digit
        }
    };
    digits.chars().enumerate().map(mask).collect()
}

/// What a record shows of a card.
#[derive(Debug)]
pub(super) struct Card {
    pub(super) code: &'static str,
    pub(super) name: &'static str,
    pub(super) number: String,
}

/// Issuers by the standard codes of the Korean clearing institute.
const ISSUERS: [(&str, &str); 8] = [
    ("361", "BC카드"),
    ("381", "국민카드"),
    ("374", "하나카드"),
    ("365", "삼성카드"),
    ("366", "신한카드"),
    ("367", "현대카드"),
    ("368", "롯데카드"),
    ("371", "NH카드"),
];

impl Card {
    /// The card that was registered, or else the one that always stands behind this `customer_uid`.
    pub(super) fn of(customer_uid: &str, masked: Option<&str>) -> Self {
        // FNV-1a: the same card for the same name, in every process.
        let seed = masked.unwrap_or(customer_uid).bytes();
        let hash = seed.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let [first, ..] = ISSUERS;
        let nth = usize::try_from(hash.rem_euclid(8)).unwrap_or_default();
        let (code, name) = ISSUERS.get(nth).copied().unwrap_or(first);
        let invented = || {
            let front = hash.rem_euclid(1_000);
            let back = hash.div_euclid(1_000).rem_euclid(10_000);
            format!("944{front:03}******{back:04}")
        };
        Self {
            code,
            name,
            number: masked.map_or_else(invented, str::to_owned),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_test_card_behaves_as_the_help_says() {
        for (ending, word) in TEST_CARDS {
            let masked = mask(&digits(&format!("4000-0000-0000-{ending}")).unwrap());
            assert_eq!(behaviour(&masked).unwrap().word, word);
            let listed = format!("{ending}  {word}\n");
            assert!(super::super::HELP.contains(&listed), "{listed}");
        }
        assert!(behaviour("411111******1254").is_none());
    }

    #[test]
    fn a_number_is_taken_in_any_notation_and_only_masked() {
        let digits = digits("4111 1111-1111-1111").unwrap();
        assert_eq!(&*mask(&digits), "411111******1111");
        assert_eq!(&*mask("37144963539843"), "371449****9843");
        for wrong in ["", "4111", "4111-1111-1111-111x", "41111111111111111"] {
            assert!(super::digits(wrong).is_none(), "{wrong}");
        }
    }
}
