//! What a run prints, and what it writes for a machine.

use std::path::Path;

use anyhow::Context;
use billd::terminal;
use serde::Serialize;

use crate::figure::{Bound, Figure};
use crate::machine::Machine;

/// The figures of one scenario.
#[derive(Debug, Serialize)]
pub(crate) struct Section {
    /// Which.
    pub(crate) scenario: String,
    /// What was done, in a line.
    pub(crate) what: String,
    /// The load average before it began: whether something else was in the way.
    pub(crate) load_before: f64,
    /// What came out.
    pub(crate) figures: Vec<Figure>,
}

/// All of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Where it ran.
    pub(crate) machine: Machine,
    /// Small books and short runs: not to be quoted.
    pub(crate) quick: bool,
    /// In the order in which they were measured.
    pub(crate) sections: Vec<Section>,
}

impl Report {
    /// Prints the table.
    pub(crate) fn print(&self) {
        terminal::line(&format!("\n{}", self.machine));
        if self.quick {
            terminal::line("quick: small books and short runs. Not to be quoted.");
        }
        for section in &self.sections {
            section.print();
        }
    }

    /// Writes the figures as JSON.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        std::fs::write(path, text).with_context(|| format!("couldn't write {}", path.display()))
    }
}

impl Section {
    fn print(&self) {
        terminal::line(&format!(
            "\n{} — {} (load before: {:.2})",
            self.scenario, self.what, self.load_before
        ));
        terminal::line(&format!(
            "  {:<44} {:>10}  {:<10} {:>9} {:>9}  {:<9} runs",
            "measure", "median", "unit", "must", "aim", "verdict"
        ));
        for figure in &self.figures {
            let runs: Vec<String> = figure.runs.iter().map(|run| short(*run)).collect();
            let line = format!(
                "  {:<44} {:>10}  {:<10} {:>9} {:>9}  {:<9} {}",
                figure.name,
                short(figure.median),
                figure.unit,
                bound(figure.must),
                bound(figure.aim),
                figure.verdict(),
                runs.join(" "),
            );
            terminal::line(line.trim_end());
        }
    }
}

fn bound(bound: Option<Bound>) -> String {
    match bound {
        Some(Bound::AtLeast(least)) => format!("≥ {}", short(least)),
        Some(Bound::AtMost(most)) => format!("≤ {}", short(most)),
        Some(Bound::About(middle, by)) => format!("{} ± {}", short(middle), short(by)),
        None => String::new(),
    }
}

/// About three digits that say something.
fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size < 0.1 => format!("{value:.4}"),
        size if size < 10.0 => format!("{value:.2}"),
        size if size < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}
