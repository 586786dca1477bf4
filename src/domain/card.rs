//! A card, for as long as one request needs it.
//!
//! Every part is wiped from memory when it is dropped, prints as `[REDACTED]`, and no error here
//! repeats what was typed. Nothing else in this program holds card data, and no table does.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

/// What is wrong with a card, in words that say nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CardError {
    /// Not a card number.
    #[error("card_number has 14 to 16 digits, with or without hyphens or spaces")]
    Number,
    /// Not a month.
    #[error("expiry is YYYY-MM, or MM/YY as it stands on the card")]
    Expiry,
    /// Neither a birthday nor a business number.
    #[error("birth is YYMMDD, or the 10 digits of the business number for a company's card")]
    Birth,
    /// Not two digits.
    #[error("pwd_2digit is the first two digits of the card's password")]
    Password,
    /// Not three or four digits.
    #[error("cvc has 3 or 4 digits")]
    Cvc,
}

/// What the buyer wrote or typed, before it is judged.
#[derive(Default)]
pub struct CardText {
    /// `card_number`.
    pub number: SecretString,
    /// `expiry`.
    pub expiry: SecretString,
    /// `birth`.
    pub birth: SecretString,
    /// `pwd_2digit`.
    pub password: SecretString,
    /// `cvc`.
    pub cvc: SecretString,
}

/// A card whose parts have the form that PortOne takes.
pub struct Card {
    /// `dddd-dddd-dddd-dddd`.
    pub number: SecretString,
    /// `YYYY-MM`.
    pub expiry: SecretString,
    /// `YYMMDD` or a business number.
    pub birth: Option<SecretString>,
    /// The first two digits of the password.
    pub password: Option<SecretString>,
    /// For the providers that ask for it.
    pub cvc: Option<SecretString>,
}

/// Shows that there is a card, and nothing of it.
impl fmt::Debug for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Card(…)")
    }
}

impl Card {
    /// Judges what was typed. Empty texts are absent.
    pub fn parse(text: &CardText) -> Result<Self, CardError> {
        Ok(Self {
            number: number(&text.number).ok_or(CardError::Number)?,
            expiry: expiry(&text.expiry).ok_or(CardError::Expiry)?,
            birth: digits(&text.birth, &[6, 10], CardError::Birth)?,
            password: digits(&text.password, &[2], CardError::Password)?,
            cvc: digits(&text.cvc, &[3, 4], CardError::Cvc)?,
        })
    }
}

/// Groups of four digits; a card of 14 or 15 digits has a shorter last group.
fn number(text: &SecretString) -> Option<SecretString> {
    const GROUPED_MAX: usize = 19;
    let text = text.expose_secret().trim();
    // Long enough from the start: a text that grows leaves copies of itself behind.
    let mut grouped = String::with_capacity(GROUPED_MAX);
    let mut count: usize = 0;
    let mut is_clean = true;
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' if count < 16 => {
                if count > 0 && count.is_multiple_of(4) {
                    grouped.push('-');
                }
                grouped.push(char::from(byte));
                count = count.saturating_add(1);
            }
            b'-' | b' ' => {}
            _ => is_clean = false,
        }
    }
    let secret = SecretString::from(grouped);
    (is_clean && (14..=16).contains(&count)).then_some(secret)
}

fn expiry(text: &SecretString) -> Option<SecretString> {
    let text = text.expose_secret().trim();
    let (year, month) = if let Some((month, year)) = text.split_once('/') {
        (year.trim(), month.trim())
    } else {
        text.split_once('-')?
    };
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_month = month.len() == 2 && matches!(month.parse::<u8>(), Ok(1..=12));
    let century = match year.len() {
        2 => "20",
        4 => "",
        _ => return None,
    };
    let expiry = [century, year, "-", month].concat();
    (is_number(year) && is_number(month) && is_month).then(|| SecretString::from(expiry))
}

fn digits(
    text: &SecretString,
    lengths: &[usize],
    error: CardError,
) -> Result<Option<SecretString>, CardError> {
    let text = text.expose_secret().trim();
    if text.is_empty() {
        Ok(None)
    } else if lengths.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()) {
        Ok(Some(SecretString::from(text)))
    } else {
        Err(error)
    }
}

/// Blots out whatever could be a card number in another's words: a gateway that quotes the card in
/// its refusal must not bring it into a row or a log.
pub fn redacted(text: &str) -> String {
    const DIGITS_MIN: usize = 12;
    let mut redacted = String::with_capacity(text.len());
    let mut run = String::new();
    let mut digits: usize = 0;
    let flush = |run: &mut String, digits: &mut usize, to: &mut String| {
        to.push_str(if *digits >= DIGITS_MIN { "…" } else { run });
        run.clear();
        *digits = 0;
    };
    for c in text.chars() {
        if c.is_ascii_digit() {
            digits = digits.saturating_add(1);
            run.push(c);
        } else if digits > 0 && matches!(c, '-' | ' ') {
            run.push(c);
        } else {
            flush(&mut run, &mut digits, &mut redacted);
            redacted.push(c);
        }
    }
    flush(&mut run, &mut digits, &mut redacted);
    redacted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(number: &str, expiry: &str) -> Result<(String, String), CardError> {
        let text = CardText {
            number: SecretString::from(number),
            expiry: SecretString::from(expiry),
            ..CardText::default()
        };
        let card = Card::parse(&text)?;
        Ok((
            card.number.expose_secret().to_owned(),
            card.expiry.expose_secret().to_owned(),
        ))
    }

    #[test]
    fn a_card_is_read_as_people_write_it() {
        let read = ("4111-1111-1111-1111".to_owned(), "2031-07".to_owned());
        for number in [
            "4111111111111111",
            "4111 1111 1111 1111",
            "4111-1111-1111-1111",
        ] {
            for expiry in ["2031-07", "07/31", " 07 / 31 "] {
                assert_eq!(card(number, expiry), Ok(read.clone()), "{number} {expiry}");
            }
        }
        let short = card("37144963539843", "2031-07").unwrap();
        assert_eq!(short.0, "3714-4963-5398-43");
    }

    #[test]
    fn what_is_no_card_is_refused() {
        for number in ["", "4111", "4111-1111-1111-111x", "41111111111111111"] {
            assert_eq!(card(number, "2031-07"), Err(CardError::Number), "{number}");
        }
        for expiry in ["", "2031", "2031-13", "2031-7", "203107", "20a1-07", "0/31"] {
            assert_eq!(
                card("4111111111111111", expiry),
                Err(CardError::Expiry),
                "{expiry}"
            );
        }
        let birth = CardText {
            number: SecretString::from("4111111111111111"),
            expiry: SecretString::from("2031-07"),
            birth: SecretString::from("82021"),
            ..CardText::default()
        };
        assert_eq!(Card::parse(&birth).map(drop), Err(CardError::Birth));
    }

    /// Hazard: the provider's refusal quotes the card, and the quotation is kept for ever.
    #[test]
    fn a_card_number_in_anothers_words_is_redacted() {
        assert_eq!(
            redacted("[1214] 카드번호 4111-1111-1111-1111 오류"),
            "[1214] 카드번호 …오류"
        );
        assert_eq!(redacted("4111111111111111"), "…");
        let harmless = "[1254] 잔액 부족 02-2000-8931 (20260331)";
        assert_eq!(redacted(harmless), harmless);
    }

    /// Hazard: a card that reaches a log line or a panic message is a leak that nobody can undo.
    #[test]
    fn a_card_prints_nothing_of_itself() {
        let text = CardText {
            number: SecretString::from("4111111111111111"),
            expiry: SecretString::from("2031-07"),
            ..CardText::default()
        };
        let printed = format!("{:?}", Card::parse(&text).unwrap());
        assert_eq!(printed, "Card(…)");
    }
}
