//! The last target of `cargo test`: says which tests did not run because a program is not installed.
//!
//! Cargo runs the tests of packages in the order of their names, so this one has to sort last.
#![expect(clippy::print_stdout, reason = "these lines are what it is for")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::ExitCode;
use std::{env, fs};

#[path = "../../../tests/programs/notes.rs"]
mod notes;

fn main() -> ExitCode {
    // A runner that asks for the names of the tests: here are none.
    if env::args().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let mut lines: Vec<String> = fs::read_dir(notes::folder())
        .into_iter()
        .flatten()
        .map(|entry| {
            let path = entry.unwrap().path();
            let test = path
                .file_name()
                .unwrap()
                .to_string_lossy()
                .replace('.', "::");
            let missing = fs::read_to_string(&path).unwrap();
            // A test that is renamed or filtered out next time would otherwise stay in the list.
            fs::remove_file(&path).unwrap();
            format!("  {test}: needs {missing}")
        })
        .collect();
    if lines.is_empty() {
        println!("\nnothing was left out for want of a program\n");
        return ExitCode::SUCCESS;
    }
    lines.sort();
    println!(
        "\nLEFT OUT: {} tests DID NOT RUN, although they count as passed above\n",
        lines.len()
    );
    println!("{}\n", lines.join("\n"));
    println!(
        "Install what they need (`apt-get install pgbouncer faketime`; neither has to run) and try \
         again.\n{} makes this a failure, as in `.ci/run`.\n",
        notes::REQUIRE_ALL
    );
    match env::var_os(notes::REQUIRE_ALL) {
        Some(_) => ExitCode::FAILURE,
        None => ExitCode::SUCCESS,
    }
}
