//! Asking a person for a yes.

use std::io::{IsTerminal, Write};

use crate::app::exit::{Failure, not_done};
use crate::terminal;

/// Waits for a yes on the terminal. Without one to ask on, nothing is done unless `--yes` said so.
pub(super) fn confirm(question: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(not_done(format!(
            "{question} There is no terminal to ask on; add --yes if you mean it"
        )));
    }
    terminal::note(question);
    let mut stderr = std::io::stderr().lock();
    write!(stderr, "Type yes to go on: ").ok();
    stderr.flush().ok();
    let mut line = String::new();
    std::io::stdin()
        .read_line(&mut line)
        .map_err(|error| not_done(format!("couldn't read the answer: {error}")))?;
    if line.trim() == "yes" {
        Ok(())
    } else {
        Err(not_done("nothing was done"))
    }
}
