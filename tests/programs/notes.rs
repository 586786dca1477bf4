//! Where it is noted that a test was left out, for the two sides that must agree on it.

use std::path::{Path, PathBuf};

/// With this variable set, nothing may be left out.
pub(crate) const REQUIRE_ALL: &str = "BILLD_TEST_REQUIRE_ALL";

/// Where notes lie, one file per test that was left out; the same folder for all targets.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("left_out")
}
