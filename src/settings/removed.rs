//! Settings that there were: each is refused by its name, with what to do instead.

use crate::settings::table::variable_of;

/// What became of a setting.
#[derive(Debug, Clone, Copy)]
pub(super) enum Now {
    /// It has another name; the value is good as it is.
    Called(&'static str),
    /// It is gone, for this reason.
    Gone(&'static str),
}

pub(super) const REMOVED: [(&str, Now); 6] = [
    ("dunning.not_sent_first", Now::Called("dunning.not_sent")),
    (
        "dunning.not_sent_max",
        Now::Gone("the wait after a request that never left doubles up to 1 h"),
    ),
    (
        "engine.batch",
        Now::Gone("500 attempts are claimed at once, and more made nothing faster"),
    ),
    (
        "engine.catch_up_pace",
        Now::Called("engine.catch_up_interval"),
    ),
    (
        "engine.lease_margin",
        Now::Gone("a sixth of engine.lease is kept for writing the outcome down, at most 1 s"),
    ),
    (
        "gateway.connect_timeout",
        Now::Gone("it is half of gateway.timeout, at most 5 s"),
    ),
];

/// What to do with a setting that there is no more; `None` if there never was one of this name.
pub(super) fn advice(key: &str, is_variable: bool) -> Option<String> {
    let (_, now) = REMOVED.iter().find(|(name, _)| *name == key)?;
    Some(match now {
        Now::Called(name) if is_variable => format!("write {} instead", variable_of(name)),
        Now::Called(name) => format!("write {name} instead"),
        Now::Gone(reason) => format!("remove it: {reason}"),
    })
}
