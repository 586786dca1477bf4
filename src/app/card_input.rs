//! How a card comes in: by prompt without echo, or from standard input. No other way.
//!
//! From here on the process leaves no core dump. Complaints name fields and lines, never contents:
//! even a misspelt field name could be a card number.

use std::io::{IsTerminal, Stdin, Write};

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use secrecy::SecretString;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::app::exit::{Failure, not_done};
use crate::domain::card::{Card, CardText};

/// A card is some hundred bytes.
const INPUT_BYTES_MAX: usize = 4096;
/// Longest line of a prompt.
const LINE_BYTES_MAX: usize = 256;
/// Ctrl-C, which reaches us as a character while a prompt hides what is typed.
const INTERRUPT: u8 = 0x03;

const SHAPE: &str = "a JSON object of texts, {\"card_number\": \"…\", \"expiry\": \"YYYY-MM\", \"birth\": \"YYMMDD\", \
    \"pwd_2digit\": \"00\"}, or lines such as card_number=…";

/// Reads the card that standard input has or a person types.
pub(super) fn read_card() -> Result<Card, Failure> {
    leave_no_core_dump();
    let text = if std::io::stdin().is_terminal() {
        prompted()?
    } else {
        piped()?
    };
    Card::parse(&text).map_err(|error| not_done(format!("that is no card: {error}")))
}

/// A limit that can't be lowered is no reason to stop: the card is wiped all the same.
fn leave_no_core_dump() {
    let hard = getrlimit(Resource::Core).maximum;
    let none = Rlimit {
        current: Some(0),
        maximum: hard,
    };
    setrlimit(Resource::Core, none).ok();
}

fn piped() -> Result<CardText, Failure> {
    let mut bytes = Zeroizing::new(vec![0; INPUT_BYTES_MAX]);
    let stdin = std::io::stdin().lock();
    let mut length: usize = 0;
    loop {
        let Some(room) = bytes.get_mut(length..).filter(|room| !room.is_empty()) else {
            return Err(not_done(format!(
                "standard input is longer than a card can be; it is to hold {SHAPE}"
            )));
        };
        // Not through the buffer of standard input, which nobody would wipe.
        let read = rustix::io::read(&stdin, room).context("couldn't read standard input")?;
        if read == 0 {
            break;
        }
        length = length.saturating_add(read);
    }
    let input = bytes.get(..length).unwrap_or_default();
    let text = std::str::from_utf8(input)
        .map_err(|_not_text| not_done("standard input is not UTF-8"))?
        .trim();
    if text.is_empty() {
        return Err(not_done(format!(
            "standard input is empty, and it is no terminal to ask on; it is to hold {SHAPE}"
        )));
    }
    if text.starts_with('{') {
        json(text)
    } else {
        lines(text)
    }
}

/// Borrows from the input, so that no copy is left that nobody wipes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields<'a> {
    card_number: &'a str,
    expiry: &'a str,
    #[serde(borrow)]
    birth: Option<&'a str>,
    #[serde(borrow)]
    pwd_2digit: Option<&'a str>,
    #[serde(borrow)]
    cvc: Option<&'a str>,
}

fn json(text: &str) -> Result<CardText, Failure> {
    // The parser's own words would quote what it stumbled over.
    let fields: Fields<'_> = serde_json::from_str(text)
        .map_err(|_quotes_the_input| not_done(format!("standard input is not {SHAPE}")))?;
    let secret = |text: Option<&str>| SecretString::from(text.unwrap_or_default());
    Ok(CardText {
        number: SecretString::from(fields.card_number),
        expiry: SecretString::from(fields.expiry),
        birth: secret(fields.birth),
        password: secret(fields.pwd_2digit),
        cvc: secret(fields.cvc),
    })
}

fn lines(text: &str) -> Result<CardText, Failure> {
    let mut card = CardText::default();
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim().is_empty() {
            continue;
        }
        let complaint = || not_done(format!("line {number} of standard input is not {SHAPE}"));
        let (name, value) = line.split_once('=').ok_or_else(complaint)?;
        let value = SecretString::from(value.trim());
        match name.trim() {
            "card_number" => card.number = value,
            "expiry" => card.expiry = value,
            "birth" => card.birth = value,
            "pwd_2digit" => card.password = value,
            "cvc" => card.cvc = value,
            _ => return Err(complaint()),
        }
    }
    Ok(card)
}

fn prompted() -> Result<CardText, Failure> {
    let hidden = Hidden::begin()?;
    let card = CardText {
        number: hidden.ask("Card number: ")?,
        expiry: hidden.ask("Expiry (YYYY-MM or MM/YY): ")?,
        birth: hidden.ask("Birth (YYMMDD, or business number; Enter for none): ")?,
        password: hidden.ask("First two digits of the password (Enter for none): ")?,
        cvc: SecretString::default(),
    };
    drop(hidden);
    Ok(card)
}

/// A terminal that does not show what is typed, until this is dropped.
struct Hidden {
    stdin: Stdin,
    before: Termios,
}

impl Hidden {
    fn begin() -> Result<Self, Failure> {
        let stdin = std::io::stdin();
        let before = tcgetattr(&stdin).context("couldn't read the terminal's mode")?;
        let mut hidden = before.clone();
        // Without signals too: a process that ended here would leave a terminal that shows nothing.
        hidden
            .local_modes
            .remove(LocalModes::ECHO | LocalModes::ISIG);
        hidden.local_modes.insert(LocalModes::ECHONL);
        // Ctrl-C ends the line at once, and so reaches us without Enter.
        hidden.special_codes[SpecialCodeIndex::VEOL] = INTERRUPT;
        tcsetattr(&stdin, OptionalActions::Flush, &hidden)
            .context("couldn't hide what is typed on the terminal")?;
        Ok(Self { stdin, before })
    }

    fn ask(&self, question: &str) -> Result<SecretString, Failure> {
        let mut stderr = std::io::stderr().lock();
        write!(stderr, "{question}").ok();
        stderr.flush().ok();
        let mut line = Zeroizing::new([0; LINE_BYTES_MAX]);
        let length =
            rustix::io::read(&self.stdin, &mut *line).context("couldn't read the terminal")?;
        let typed = line.get(..length).unwrap_or_default();
        if length == 0 || typed.contains(&INTERRUPT) {
            return Err(not_done("nothing was done: the question was not answered"));
        }
        let text = std::str::from_utf8(typed)
            .map_err(|_not_text| not_done("what was typed is not UTF-8"))?;
        Ok(SecretString::from(text.trim()))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        tcsetattr(&self.stdin, OptionalActions::Flush, &self.before).ok();
    }
}
