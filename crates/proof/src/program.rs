//! The program that is driven: `billd`, built with its failpoints.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use anyhow::{Context, ensure};

use crate::failpoint::VARIABLE;

/// The root of the sources that this very harness was built from.
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Builds `billd` from the sources beside this harness, as cargo's profile of this harness has it.
/// So what is driven is never older than the sources. Takes a moment if there is nothing to do.
pub fn build() -> anyhow::Result<PathBuf> {
    let own = env::current_exe().context("couldn't find the program that runs")?;
    let folder = own
        .parent()
        .context("the program that runs has no folder")?;
    let target = folder.parent().context("it is not in a target folder")?;
    let sources = fs::canonicalize(SOURCES)
        .with_context(|| format!("no sources are at {SOURCES}: name a built billd by --program"))?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args([
            "build",
            "--quiet",
            "--package",
            "billd",
            "--bin",
            "billd",
            // Not "billd/failpoints": the package is its own dev-dependency, and that would be meant.
            "--features",
            "failpoints",
        ])
        .args(["--profile", profile_of(folder)])
        .arg("--target-dir")
        .arg(target)
        .current_dir(sources)
        .env("SQLX_OFFLINE", "true")
        .stdin(Stdio::null())
        .status()
        .context("couldn't run cargo: name a built billd by --program")?;
    ensure!(status.success(), "billd can't be built");
    Ok(folder.join("billd"))
}

/// Refuses a program that was built without its failpoints: nobody would die, and all seeds would pass.
pub fn has_failpoints(program: &Path) -> anyhow::Result<()> {
    let bytes = fs::read(program)
        .with_context(|| format!("couldn't read the program {}", program.display()))?;
    ensure!(
        String::from_utf8_lossy(&bytes).contains(VARIABLE),
        "{} was built without the feature `failpoints`",
        program.display()
    );
    Ok(())
}

/// The folder of the profile `dev` is called `debug`; all others bear their profile's name.
fn profile_of(folder: &Path) -> &str {
    match folder.file_name().and_then(|name| name.to_str()) {
        None | Some("debug") => "dev",
        Some(name) => name,
    }
}
