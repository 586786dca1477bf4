//! How the demo looks: aligned text, with colour on a terminal only.

use std::io::{IsTerminal, stdout};

use crate::terminal;

/// Wide enough for a sentence, narrow enough for half a screen.
const WIDTH: usize = 92;
/// The longest name of a [`Voice`].
const VOICE_WIDTH: usize = 7;

/// Who speaks in a line of the story.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Voice {
    /// The merchant, the operator, or the fate that kills the daemon.
    You,
    /// billd's clock was moved.
    Clock,
    /// The daemon's own log.
    Daemon,
    /// The sandbox.
    Gateway,
    /// billd's tables.
    Tables,
}

impl Voice {
    fn word(self) -> &'static str {
        match self {
            Self::You => "you",
            Self::Clock => "clock",
            Self::Daemon => "daemon",
            Self::Gateway => "gateway",
            Self::Tables => "tables",
        }
    }

    fn ink(self) -> Ink {
        match self {
            Self::You => Ink::Bold,
            Self::Clock => Ink::Blue,
            Self::Daemon => Ink::Plain,
            Self::Gateway => Ink::Violet,
            Self::Tables => Ink::Cyan,
        }
    }
}

/// A colour, as terminals number them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ink {
    Plain,
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
    Blue,
    Violet,
    Cyan,
}

impl Ink {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "0",
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Red => "31",
            Self::Green => "32",
            Self::Yellow => "33",
            Self::Blue => "34",
            Self::Violet => "35",
            Self::Cyan => "36",
        }
    }
}

/// Colours a text for a terminal, and leaves it alone for a file or a pipe.
pub(super) fn paint(ink: Ink, text: &str) -> String {
    if ink == Ink::Plain || !stdout().is_terminal() {
        return text.to_owned();
    }
    format!("\x1b[{}m{text}\x1b[0m", ink.code())
}

/// Opens an act.
pub(super) fn heading(title: &str) {
    let rule = "─".repeat(WIDTH.saturating_sub(width(title).saturating_add(4)));
    gap();
    terminal::line(&paint(Ink::Bold, &format!("── {title} {rule}")));
}

/// A paragraph beside the story, written as it is to be broken.
pub(super) fn text(paragraph: &str) {
    for line in paragraph.lines() {
        terminal::line(&format!("   {line}"));
    }
}

/// What a part of the story shows, set off from its lines.
pub(super) fn remark(paragraph: &str) {
    gap();
    text(paragraph);
}

/// An empty line.
pub(super) fn gap() {
    terminal::line("");
}

/// One line of the story.
pub(super) fn say(voice: Voice, words: &str) {
    let who = paint(voice.ink(), &left(voice.word(), VOICE_WIDTH));
    terminal::line(&format!("   {who} {} {words}", paint(Ink::Dim, "│")));
}

/// Where a column stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

/// A table; its columns are as wide as what is in them.
pub(super) fn table(columns: &[(&str, Side)], rows: &[Vec<String>]) {
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(index, (title, _))| {
            let cells = rows.iter().filter_map(|row| row.get(index));
            cells.map(|cell| width(cell)).fold(width(title), usize::max)
        })
        .collect();
    let print = |cells: Vec<&str>, ink: Ink| {
        let aligned: Vec<String> = cells
            .into_iter()
            .zip(columns)
            .zip(&widths)
            .map(|((cell, (_, side)), width)| match side {
                Side::Left => left(cell, *width),
                Side::Right => right(cell, *width),
            })
            .collect();
        text(&paint(ink, aligned.join("   ").trim_end()));
    };
    if columns.iter().any(|(title, _)| !title.is_empty()) {
        print(columns.iter().map(|(title, _)| *title).collect(), Ink::Dim);
    }
    for row in rows {
        print(row.iter().map(String::as_str).collect(), Ink::Plain);
    }
}

/// Pads on the right.
pub(super) fn left(text: &str, wanted: usize) -> String {
    format!("{text}{}", " ".repeat(wanted.saturating_sub(width(text))))
}

/// Pads on the left.
pub(super) fn right(text: &str, wanted: usize) -> String {
    format!("{}{text}", " ".repeat(wanted.saturating_sub(width(text))))
}

/// `9900` as `9,900`.
pub(super) fn grouped(number: i64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        let left = digits.len().saturating_sub(index);
        if index > 0 && left.checked_rem(3) == Some(0) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Columns on a terminal: Korean and other wide characters take two.
fn width(text: &str) -> usize {
    text.chars()
        .map(|character| if is_wide(character) { 2 } else { 1 })
        .fold(0, usize::saturating_add)
}

fn is_wide(character: char) -> bool {
    matches!(
        u32::from(character),
        0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff
            | 0xfe30..=0xfe6f | 0xff00..=0xff60 | 0xffe0..=0xffe6
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn korean_takes_two_columns_a_character() {
        assert_eq!(width("김민지"), 6);
        assert_eq!(left("김민지", 8), "김민지  ");
        assert_eq!(right("100GB 월", 10), "  100GB 월");
    }

    #[test]
    fn thousands_are_grouped() {
        let check = |number, expected| assert_eq!(grouped(number), expected);
        check(0, "0");
        check(900, "900");
        check(9900, "9,900");
        check(1_188_000, "1,188,000");
    }
}
