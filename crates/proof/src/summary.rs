//! What many seeds came to.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use crate::checker::Property;
use crate::plan::{Injury, Plan};
use crate::run::Outcome;

/// The result of a row of seeds.
#[derive(Debug, Default, Serialize)]
pub struct Summary {
    /// Seeds that were run to the end and judged.
    pub seeds: u64,
    /// Of those, how many had a pooler in transaction mode between daemons and database.
    pub with_pooler: u64,
    /// Daemon processes that were started.
    pub daemons: u64,
    /// Daemon processes that died, by the point or the way they died.
    pub deaths: BTreeMap<String, u64>,
    /// Injuries, by kind. One that came too late to matter counts, too.
    pub injuries: BTreeMap<String, u64>,
    /// Charges that the gateway approved.
    pub approvals: u64,
    /// Requests for money that reached the gateway.
    pub requests: u64,
    /// Of those, how many were one-off charges.
    pub one_offs: u64,
    /// Refunds that the gateway made.
    pub refunds: u64,
    /// Verbs that were done, for one subscription each.
    pub verbs: u64,
    /// Verbs that were refused, or met a server that was away.
    pub verbs_refused: u64,
    /// Whole rows that were saved with what they are.
    pub saves: u64,
    /// Whole rows that were refused because they had moved on.
    pub saves_refused: u64,
    /// Questions that reached the gateway.
    pub look_ups: u64,
    /// Doubles that follow from a look-up that lied; each was named by the auditor.
    pub doubles_after_a_lie: u64,
    /// Seeds with a violation, or that could not be run.
    pub failed: Vec<Failed>,
    /// Wall time in seconds.
    pub seconds: u64,
}

/// A seed that did not pass.
#[derive(Debug, Serialize)]
pub struct Failed {
    /// Which.
    pub seed: u64,
    /// What was found, one line each.
    pub found: Vec<String>,
    /// Where its plan, ledgers and logs are kept.
    pub kept: PathBuf,
}

impl Failed {
    /// Whether a property is broken. That a seed could not be run, or did not come to rest, may have other causes.
    pub fn breaks_a_property(&self) -> bool {
        let mut properties = Property::ALL
            .into_iter()
            .filter(|property| *property != Property::NothingOpenAtRest);
        properties.any(|property| {
            let name = format!("{}:", property.as_str());
            self.found.iter().any(|found| found.starts_with(&name))
        })
    }
}

impl Summary {
    /// Adds one seed.
    pub(super) fn add(&mut self, plan: &Plan, outcome: &Outcome) {
        self.seeds = self.seeds.saturating_add(1);
        self.with_pooler = self.with_pooler.saturating_add(u64::from(plan.pooler));
        self.daemons = self.daemons.saturating_add(outcome.daemons);
        self.approvals = self.approvals.saturating_add(outcome.approvals);
        self.requests = self.requests.saturating_add(outcome.requests);
        self.one_offs = self.one_offs.saturating_add(outcome.one_offs);
        self.refunds = self.refunds.saturating_add(outcome.refunds);
        self.look_ups = self.look_ups.saturating_add(outcome.look_ups);
        self.doubles_after_a_lie = self
            .doubles_after_a_lie
            .saturating_add(outcome.doubles_after_a_lie);
        let lived = &outcome.lived;
        self.verbs = self.verbs.saturating_add(lived.verbs);
        self.verbs_refused = self.verbs_refused.saturating_add(lived.verbs_refused);
        self.saves = self.saves.saturating_add(lived.saves);
        self.saves_refused = self.saves_refused.saturating_add(lived.saves_refused);
        for death in &outcome.deaths {
            count(&mut self.deaths, death.clone());
        }
        for planned in &plan.injuries {
            count(&mut self.injuries, name(&planned.injury));
        }
    }

    /// Whether every seed passed.
    pub fn is_sound(&self) -> bool {
        self.failed.is_empty()
    }

    /// Whether a bug was caught: some property is broken.
    pub fn is_caught(&self) -> bool {
        self.failed.iter().any(Failed::breaks_a_property)
    }

    /// The verdict in one line.
    pub fn verdict(&self) -> String {
        let lies = match self.doubles_after_a_lie {
            0 => String::new(),
            doubles => {
                format!(", {doubles} doubles after a lying look-up, all named by the auditor")
            }
        };
        format!(
            "{} seeds, {} failed; {} charges approved, {} deaths{lies}",
            self.seeds,
            self.failed.len(),
            self.approvals,
            self.deaths.values().sum::<u64>(),
        )
    }
}

fn count(counts: &mut BTreeMap<String, u64>, name: String) {
    let count = counts.entry(name).or_default();
    *count = count.saturating_add(1);
}

/// What an injury is counted as.
fn name(injury: &Injury) -> String {
    let word = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let json = serde_json::to_value(injury).unwrap_or_default();
    let detail = ["point", "kind", "statement", "deed", "verb"]
        .into_iter()
        .find_map(|key| json.get(key).cloned().map(word));
    let kind = json.get("injury").cloned().map(word).unwrap_or_default();
    match detail {
        Some(detail) => format!("{kind} {detail}"),
        None => kind,
    }
}
