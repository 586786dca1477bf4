//! What a command tells the person or script that called it. The log is `tracing`'s business.

use std::io::{self, IsTerminal, Write};

/// Prints one line of a result. A reader that has gone away is no error.
pub fn line(text: &str) {
    writeln!(io::stdout().lock(), "{text}").ok();
}

/// Prints one line about the work itself, beside the results.
pub fn note(text: &str) {
    writeln!(io::stderr().lock(), "{text}").ok();
}

/// Shows how far the work is, on one line that is written over. Only a person sees it.
pub fn progress(text: &str) {
    let mut stderr = io::stderr().lock();
    if stderr.is_terminal() {
        write!(stderr, "\r\x1b[2K{text}").ok();
        stderr.flush().ok();
    }
}

/// Wipes the line that [`progress`] writes.
pub fn progress_done() {
    progress("");
}

/// Unix seconds for people.
pub fn instant(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |at| at.to_string())
}
