//! The embedded PostgreSQL starts fast, keeps what it promises and leaves nothing behind.
#![expect(
    clippy::unwrap_used,
    reason = "a test's helper fails by panicking; clippy's own exception reaches test functions only"
)]

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use embedded_postgres::{Embedded, EmbeddedError, Listen, Options, SUPERUSER, StopMode};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

async fn start(change: impl FnOnce(&mut Options)) -> Embedded {
    let mut options = Options::default_for_user();
    change(&mut options);
    Embedded::start(options).await.unwrap()
}

async fn ask(server: &Embedded, database: &str, statement: &str) -> String {
    let mut connection = PgConnection::connect(&server.url(database)).await.unwrap();
    let row = sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
        .fetch_optional(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    row.map(|row| sqlx::Row::get(&row, 0)).unwrap_or_default()
}

#[tokio::test]
async fn a_server_is_reached_at_its_url_over_tcp_and_over_its_socket() {
    for (listen, in_memory) in [(Listen::Tcp, false), (Listen::Socket, true)] {
        let server = start(|options| {
            options.listen = listen;
            options.in_memory = in_memory;
        })
        .await;
        assert!(server.version() >= 14);
        assert_eq!(
            ask(&server, "postgres", "select current_user::text").await,
            SUPERUSER
        );
        assert_eq!(
            ask(&server, "postgres", "show server_encoding").await,
            "UTF8"
        );
    }
}

#[tokio::test]
async fn the_callers_settings_win() {
    let server = start(|options| {
        options.settings = vec![("max_connections".to_owned(), "7".to_owned())];
    })
    .await;
    assert_eq!(ask(&server, "postgres", "show max_connections").await, "7");
}

#[tokio::test]
async fn a_database_is_copied_from_its_template() {
    let server = start(|_| {}).await;
    server.create_database("quoted \"name\"").await.unwrap();
    ask(
        &server,
        "quoted \"name\"",
        "create table t as select 'here' as x",
    )
    .await;
    server
        .create_database_from("copy", "quoted \"name\"")
        .await
        .unwrap();
    assert_eq!(ask(&server, "copy", "select x from t").await, "here");
    server.drop_database("copy").await.unwrap();
    assert!(PgConnection::connect(&server.url("copy")).await.is_err());
}

/// Whoever reconnects must find the same server or none.
#[tokio::test]
async fn a_server_never_comes_back_at_another_address() {
    let mut server = start(|options| options.listen = Listen::Tcp).await;
    let url = server.url("postgres");
    server.stop(StopMode::Fast).await.unwrap();
    let port = url
        .split([':', '/'])
        .find_map(|part| part.parse::<u16>().ok())
        .unwrap();
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    let error = server.resume().await.unwrap_err();
    assert!(
        matches!(&error, EmbeddedError::Start { log } if log.contains("could not create any TCP/IP sockets")),
        "{error}"
    );
    drop(other);
    server.resume().await.unwrap();
    assert_eq!(server.url("postgres"), url);
    assert_eq!(ask(&server, "postgres", "select 'back'").await, "back");
}

/// The crash tests stand on this: what was committed outlives a power failure and a `SIGKILL`.
#[tokio::test]
async fn a_durable_server_keeps_what_was_committed_through_a_crash() {
    let mut server = start(|options| options.durable = true).await;
    let url = server.url("postgres");
    ask(&server, "postgres", "create table t as select 'kept' as x").await;
    server.restart(StopMode::Immediate).await.unwrap();
    assert_eq!(ask(&server, "postgres", "select x from t").await, "kept");
    server.kill().await.unwrap();
    server.resume().await.unwrap();
    assert_eq!(ask(&server, "postgres", "select x from t").await, "kept");
    server.restart(StopMode::Fast).await.unwrap();
    assert_eq!(ask(&server, "postgres", "select x from t").await, "kept");
    assert_eq!(server.url("postgres"), url);
}

#[tokio::test]
async fn a_dropped_server_leaves_no_process_and_no_folder() {
    let server = start(|_| {}).await;
    let folder = server.log().parent().unwrap().to_owned();
    assert!(folder.exists());
    drop(server);
    assert!(!folder.exists());
    assert_eq!(processes_of(&folder), 0);
}

/// A test process ends without dropping its shared server, and a demo may be killed: neither may
/// leave a server behind. The owner is this very test in a second process.
#[tokio::test]
async fn a_killed_owner_leaves_no_process_and_no_folder() {
    let test = "a_killed_owner_leaves_no_process_and_no_folder";
    if std::env::var_os("EMBEDDED_TEST_IS_OWNER").is_some() {
        let server = start(|_| {}).await;
        let folder = server.log().parent().unwrap().display().to_string();
        writeln!(std::io::stdout(), "folder={folder}").unwrap();
        std::future::pending::<()>().await;
    }
    let mut owner = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env("EMBEDDED_TEST_IS_OWNER", "yes")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let folder = BufReader::new(owner.stdout.take().unwrap())
        .lines()
        .find_map(|line| Some(line.unwrap().split_once("folder=")?.1.to_owned()))
        .map(PathBuf::from)
        .unwrap();
    assert!(folder.exists());
    assert!(processes_of(&folder) >= 2, "the server and its watchdog");

    owner.kill().unwrap();
    owner.wait().unwrap();
    let all_gone = async {
        while folder.exists() || processes_of(&folder) > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), all_gone)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_server_that_cannot_start_shows_its_log() {
    let mut options = Options::default_for_user();
    options.settings = vec![("shared_buffers".to_owned(), "nonsense".to_owned())];
    let error = Embedded::start(options).await.unwrap_err();
    assert!(
        matches!(&error, EmbeddedError::Start { log } if log.contains("nonsense")),
        "{error}"
    );
}

/// The number of processes that name a folder on their command line.
fn processes_of(folder: &Path) -> usize {
    let output = std::process::Command::new("ps")
        .args(["-A", "-o", "args"])
        .output()
        .unwrap();
    let folder = folder.display().to_string();
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter(|line| line.contains(&folder))
        .count()
}
