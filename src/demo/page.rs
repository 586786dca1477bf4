//! How the demo looks: aligned text, with colour on a terminal only.

use std::time::Duration;

use std::io::{IsTerminal, stdout};

use crate::terminal;

/// Wide enough for a sentence, narrow enough for half a screen.
const WIDTH: usize = 92;

/// A colour, as terminals number them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ink(&'static str);

pub(super) const PLAIN: Ink = Ink("0");
pub(super) const BOLD: Ink = Ink("1");
pub(super) const DIM: Ink = Ink("2");
pub(super) const RED: Ink = Ink("31");
pub(super) const GREEN: Ink = Ink("32");
pub(super) const YELLOW: Ink = Ink("33");

/// Who speaks in a line of the story, and in which colour.
#[derive(Debug, Clone, Copy)]
pub(super) struct Voice(&'static str, Ink);

/// The merchant, the operator, or the fate that kills the daemon.
pub(super) const YOU: Voice = Voice("you    ", BOLD);
/// billd's clock was moved.
pub(super) const CLOCK: Voice = Voice("clock  ", Ink("34"));
/// The daemon's own log.
pub(super) const DAEMON: Voice = Voice("daemon ", PLAIN);
/// The sandbox.
pub(super) const GATEWAY: Voice = Voice("gateway", Ink("35"));
/// billd's tables.
pub(super) const TABLES: Voice = Voice("tables ", Ink("36"));

/// Colours a text for a terminal, and leaves it alone for a file or a pipe.
pub(super) fn paint(ink: Ink, text: &str) -> String {
    if ink.0 == PLAIN.0 || !stdout().is_terminal() {
        return text.to_owned();
    }
    format!("\x1b[{}m{text}\x1b[0m", ink.0)
}

/// Opens an act.
pub(super) fn heading(title: &str) {
    let rule = "─".repeat(WIDTH.saturating_sub(width(title).saturating_add(4)));
    gap();
    terminal::line(&paint(BOLD, &format!("── {title} {rule}")));
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
pub(super) fn say(Voice(who, ink): Voice, words: &str) {
    let (who, bar) = (paint(ink, who), paint(DIM, "│"));
    terminal::line(&format!("   {who} {bar} {words}"));
}

/// A table; its columns are as wide as what is in them. A title that begins with `>` has its column on the
/// right.
pub(super) fn table(titles: &[&str], rows: &[Vec<String>]) {
    let plain = |title: &str| title.trim_start_matches('>').to_owned();
    let head: Vec<String> = titles.iter().map(|title| plain(title)).collect();
    let lines = || [&head].into_iter().chain(rows);
    let wanted = |column: usize| {
        let cells = lines().filter_map(move |line| line.get(column));
        cells.map(|cell| width(cell)).max().unwrap_or_default()
    };
    for (index, line) in lines().enumerate() {
        let aligned = line.iter().zip(titles).enumerate();
        let aligned = aligned.map(|(column, (cell, title))| {
            let pad = if title.starts_with('>') { right } else { left };
            pad(cell, wanted(column))
        });
        let line = aligned.collect::<Vec<_>>().join("   ");
        if !line.trim().is_empty() {
            text(&paint(
                if index == 0 { DIM } else { PLAIN },
                line.trim_end(),
            ));
        }
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
    let is_wide = |one: char| {
        matches!(
            u32::from(one),
            0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff
                | 0xfe30..=0xfe6f | 0xff00..=0xff60 | 0xffe0..=0xffe6
        )
    };
    let wide = text.chars().filter(|one| is_wide(*one)).count();
    text.chars().count().saturating_add(wide)
}

/// `8.3 s`.
pub(super) fn seconds(duration: Duration) -> String {
    let tenths = duration.subsec_millis().checked_div(100).unwrap_or(0);
    format!("{}.{tenths} s", duration.as_secs())
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
