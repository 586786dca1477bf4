//! The database as it is found where people run billd: limits, proxies, stand-bys, certificates, other versions.

use std::fs;
use std::process::Command;

use embedded_postgres::{Embedded, Options, StopMode};
use portone_sandbox::Latency;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, UnixStream};

use crate::places::{Folder, free_address};
use crate::process::{
    Daemon, billd, exits, http_get, paid, run, sandbox_with, stderr, stdout, until,
};
use crate::programs::needs;
use crate::support::{Book, server};

/// Hazard: the user may have three connections. The others take all, and what was charged can't be written down.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_three_connections_all_is_charged_and_with_two_nothing_is_begun() {
    let book = Book::new().await;
    let gateway = sandbox_with(Latency::None).await;
    book.run("create role few_connections login connection limit 3 in role billd_daemon")
        .await;
    let url = format!("{}&user=few_connections", book.url);
    book.subscribe_many(200, "cust_").await;
    let mut daemon = Daemon::start(&mut billd(&url, &gateway.base_url()));
    until("all is paid", async || paid(&book).await == "200").await;
    daemon.stops().await;
    let said = daemon.said();
    assert!(said.contains("gives this user 3 connections"), "{said}");
    assert!(!said.contains("away"), "{said}");

    book.run("alter role few_connections connection limit 1")
        .await;
    book.subscribe("cust_1000").await;
    let sweep = run(billd(&url, &gateway.base_url())
        .env("BILLD__DATABASE__TIMEOUT", "1s")
        .arg("sweep"));
    exits(&sweep, 4);
    assert!(
        stderr(&sweep).contains("nothing is begun"),
        "{}",
        stderr(&sweep)
    );
    assert_eq!(gateway.summary().approvals, 200);
}

/// Hazard: database and daemon are started together, and the daemon is the faster one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_away_is_waited_for_and_not_for_ever() {
    let book = Book::new().await;
    let gateway = sandbox_with(Latency::None).await;
    book.subscribe("cust_1").await;
    let address = free_address();
    let database = book.text("current_database()").await;
    let user = book.text("current_user").await;
    let url = format!("postgres://{user}@{address}/{database}");
    let mut command = billd(&url, &gateway.base_url());
    let mut daemon = Daemon::start(command.env("BILLD__DATABASE__TIMEOUT", "5s"));
    until("it waits", async || {
        daemon.said().contains("waiting for it, 30 s at most")
    })
    .await;
    let socket = book
        .text("select setting from pg_settings where name = 'unix_socket_directories'")
        .await;
    let port = book
        .text("select setting from pg_settings where name = 'port'")
        .await;
    let listener = TcpListener::bind(address).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let path = format!("{socket}/.s.PGSQL.{port}");
            tokio::spawn(async move {
                let mut server = UnixStream::connect(path).await.unwrap();
                copy_bidirectional(&mut stream, &mut server).await.ok();
            });
        }
    });
    until("it is paid", async || paid(&book).await == "1").await;
    daemon.stops().await;

    let mut command = billd("postgres://billd@127.0.0.1:9/billd", &gateway.base_url());
    let mut daemon = Daemon::start(command.env("BILLD__DATABASE__TIMEOUT", "1s"));
    daemon.ends_with(4).await;
    assert_eq!(
        daemon.said().matches("Connection refused").count(),
        2,
        "{}",
        daemon.said()
    );
}

/// Hazard: "unexpected response from `SSLRequest`: 0x00" in the night.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_without_a_leader_is_named_as_such() {
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = proxy.local_addr().unwrap();
    tokio::spawn(async move {
        while proxy
            .accept()
            .await
            .map(|(it, _): (TcpStream, _)| drop(it))
            .is_ok()
        {}
    });
    for mode in ["prefer", "disable"] {
        let url = format!("postgres://billd@{address}/billd?sslmode={mode}");
        let check = run(billd(&url, "http://127.0.0.1:9").arg("check"));
        exits(&check, 4);
        let said = stdout(&check);
        assert!(said.contains("no leader?"), "{mode}: {said}");
    }
}

/// A migrated book on a server that a test may change.
async fn own_server(name: &str) -> (Embedded, Book) {
    let mut options = Options::default_for_user();
    options.listen = embedded_postgres::Listen::Tcp;
    options.durable = true;
    let server = Embedded::start(options).await.unwrap();
    server.create_database(name).await.unwrap();
    let book = Book::on(server.url(name));
    book.store.migrate().await.unwrap();
    (server, book)
}

/// Changes a server's settings.
async fn set(book: &Book, settings: &[(&str, &str)]) {
    for (name, value) in settings {
        book.run(&format!("alter system set {name} = '{value}'"))
            .await;
    }
    book.run("select pg_reload_conf()").await;
}

/// Hazard: each commit waits for a stand-by that is gone, and all that is said is that nothing was looked at.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_synchronous_standby_that_stalls_is_named() {
    let (mut server, book) = own_server("billd").await;
    let gateway = sandbox_with(Latency::None).await;
    let listen = free_address();
    let mut command = billd(&book.url, &gateway.base_url());
    let mut daemon = Daemon::start(command.env("BILLD__HTTP__LISTEN", listen.to_string()));
    until("it runs", async || {
        daemon.said().contains("billd is running")
    })
    .await;
    set(&book, &[("synchronous_standby_names", "nobody")]).await;
    // A test's own commits would wait, too.
    book.run("set synchronous_commit = local; insert into billd.subscription (customer_uid, name, amount) values ('c', 'n', 1000)").await;
    until("it says so", async || {
        daemon
            .said()
            .contains("commits wait for a synchronous stand-by")
    })
    .await;
    assert!(
        http_get(listen, "readyz")
            .await
            .contains("synchronous stand-by")
    );
    set(&book, &[("synchronous_standby_names", "")]).await;
    until("it goes on", async || {
        daemon.said().contains("commits don't wait")
    })
    .await;
    daemon.stops().await;
    book.sql.close().await;
    book.store.close().await;
    server.stop(StopMode::Fast).await.unwrap();
}

/// Hazard: `sslmode=require` with a root certificate is taken by anybody's server, though psql would refuse it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_root_certificate_is_looked_at_as_psql_looks_at_it() {
    needs!(OPENSSL);
    let (mut server, book) = own_server("billd").await;
    let folder = Folder::new("certificates");
    let script = r#"
        new="-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
        printf 'subjectAltName=DNS:localhost,IP:127.0.0.1' > names
        for ca in ours theirs; do openssl req -x509 $new -days 2 -subj /CN=$ca -keyout $ca.key -out $ca.pem; done
        openssl req $new -subj /CN=localhost -keyout server.key -out server.csr
        openssl x509 -req -in server.csr -CA ours.pem -CAkey ours.key -CAcreateserial -days 2 -extfile names -out server.pem
    "#;
    let made = run(Command::new("sh")
        .args(["-ec", script])
        .current_dir(&folder.0));
    exits(&made, 0);
    for file in ["server.key", "server.pem"] {
        let text = fs::read_to_string(folder.0.join(file)).unwrap();
        book.run(&format!(
            "copy (select regexp_split_to_table('{}', '\n')) to program 'umask 077; cat > {file}'",
            text.trim()
        ))
        .await;
    }
    set(
        &book,
        &[
            ("ssl_cert_file", "server.pem"),
            ("ssl_key_file", "server.key"),
            ("ssl", "on"),
        ],
    )
    .await;
    let at = |host: &str, query: &str| {
        let url = book
            .url
            .replace("127.0.0.1", host)
            .replace("sslmode=disable", query);
        let mut command = billd(&url, "http://127.0.0.1:9");
        command.current_dir(&folder.0).arg("check");
        command
    };
    let is_taken = |mut command: Command| stdout(&run(&mut command)).contains("ok    database");
    until("the server speaks TLS", async || {
        is_taken(at("127.0.0.1", "sslmode=require"))
    })
    .await;
    for (query, taken) in [
        ("sslmode=require&sslrootcert=ours.pem", true),
        ("sslmode=require&sslrootcert=theirs.pem", false),
        ("sslmode=verify-full&sslrootcert=ours.pem", true),
        ("sslmode=verify-full", false),
        ("sslrootcert=system", false),
    ] {
        assert_eq!(is_taken(at("127.0.0.1", query)), taken, "{query}");
    }
    // The roots of this machine are those of the gateway, too.
    let mut command = at("localhost", "sslmode=verify-full");
    command.env("SSL_CERT_FILE", "ours.pem");
    assert!(is_taken(command));
    book.sql.close().await;
    book.store.close().await;
    server.stop(StopMode::Fast).await.unwrap();
}

/// Hazard: four machines are deployed at once, and each says that it has migrated.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_four_migrations_at_once_one_says_what_it_did_and_the_others_that_there_was_nothing() {
    let server = server().await;
    server.create_database("four_at_once").await.unwrap();
    let url = server.url("four_at_once");
    let migrate = || {
        let url = url.clone();
        tokio::task::spawn_blocking(move || run(billd(&url, "http://127.0.0.1:9").arg("migrate")))
    };
    let said = tokio::join!(migrate(), migrate(), migrate(), migrate());
    let mut said = [said.0, said.1, said.2, said.3].map(|output| {
        let output = output.unwrap();
        exits(&output, 0);
        stdout(&output).lines().next().unwrap().to_owned()
    });
    said.sort();
    let nothing = "the schema is current; nothing to do";
    assert_eq!(said, ["applied migration 1", nothing, nothing, nothing]);
}

/// Hazard: a newer version has taken a function away, and the daemon of before waits for ever for a database that it
/// calls away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_a_newer_schema_a_daemon_goes_on_and_says_so_and_stops_if_it_must() {
    let book = Book::new().await;
    let gateway = sandbox_with(Latency::None).await;
    let mut daemon = Daemon::start(&mut billd(&book.url, &gateway.base_url()));
    until("it runs", async || {
        daemon.said().contains("billd is running")
    })
    .await;
    book.run("insert into billd.schema_migration (version, description, success, checksum, execution_time) values (9999, 'tomorrow', true, '', 0)").await;
    until("it says so", async || {
        daemon.said().contains("goes on while it can")
    })
    .await;
    book.subscribe("cust_1").await;
    until("it charges", async || paid(&book).await == "1").await;
    book.run("alter function billd_internal.judge_sweep() rename to judged")
        .await;
    book.run("alter function billd_internal.may_charge(interval) rename to may")
        .await;
    book.run("drop function if exists billd_internal.cycle_id() cascade; alter table billd.charge_attempt rename column by_card to card").await;
    daemon.ends_with(5).await;
    assert!(
        daemon.said().contains("migrated by a newer billd, and"),
        "{}",
        daemon.said()
    );
}
