//! The demo is the first thing that a newcomer runs: it must work, and leave nothing behind.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use tempfile::TempDir;

/// A folder for everything that the demo makes, so that what it leaves can be seen. Like /tmp it is
/// open to all: where the tests run as root, PostgreSQL and its watchdog are another user.
fn scratch() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o1777)).unwrap();
    folder
}

fn demo(scratch: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_billd"));
    command
        .arg("demo")
        .env("TMPDIR", scratch)
        // What lies about in a newcomer's environment is not for the demo's daemon.
        .env("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none")
        .env("BILLD__GATEWAY__TIMEOUT", "nonsense");
    command
}

fn text_of(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

/// Whatever the demo starts names its folder, on the command line or as the place it runs in.
async fn wait_until_nothing_is_left(scratch: &Path) {
    let all_gone = async {
        while std::fs::read_dir(scratch).unwrap().count() > 0 || processes_of(scratch) > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), all_gone)
        .await
        .unwrap();
}

fn processes_of(folder: &Path) -> usize {
    let output = Command::new("ps").args(["-A", "-o", "args"]).output();
    let folder = folder.display().to_string();
    String::from_utf8_lossy(&output.unwrap().stdout)
        .lines()
        .filter(|line| line.contains(&folder))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_ends_with_nothing_charged_twice_or_lost_and_leaves_nothing_behind() {
    let scratch = scratch();
    let output = demo(scratch.path()).output().unwrap();
    let text = text_of(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    for expected in [
        "sandbox ledger = billd's tables: ",
        " charges, 0 double, 0 lost",
        "31 January → 28 February → 31 March → 30 April",
        "12 of 12 are paid, each exactly once",
        "kill -9 ",
    ] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
    assert!(!text.contains('\u{1b}'), "no colours off a terminal");
    wait_until_nothing_is_left(scratch.path()).await;
}

/// A demo that is killed can't clean up after itself, so its daemon and its database must notice.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_demo_leaves_nothing_running() {
    let scratch = scratch();
    let beside = tempfile::tempdir().unwrap();
    let output = beside.path().join("output");
    let mut demo = demo(scratch.path())
        .stdout(std::fs::File::create(&output).unwrap())
        .spawn()
        .unwrap();
    let daemon_runs = async {
        while !std::fs::read_to_string(&output)
            .unwrap()
            .contains("is running, process")
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), daemon_runs)
        .await
        .unwrap();
    assert!(
        processes_of(scratch.path()) >= 4,
        "a server, a daemon, their guards"
    );
    demo.kill().unwrap();
    demo.wait().unwrap();
    wait_until_nothing_is_left(scratch.path()).await;
}
