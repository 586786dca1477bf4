//! Programs that some tests need and that not every machine has.
//!
//! A test whose program is missing is left out. The standard harness counts it as passed, so it leaves a
//! note, and the last target of `cargo test`, `what_was_left_out`, prints all notes in its last lines.
//! Where `BILLD_TEST_REQUIRE_ALL` is set, as in `.ci/run`, such a test fails instead.

use std::path::{Path, PathBuf};
use std::{env, fs};

use notes::{REQUIRE_ALL, folder};

mod notes;

/// A program that not every machine has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Program {
    /// What Debian's package is called.
    pub(crate) package: &'static str,
    /// Where it is, if it is installed.
    pub(crate) find: fn() -> Option<PathBuf>,
}

/// The pooler.
pub(crate) const PGBOUNCER: Program = Program {
    package: "pgbouncer",
    find: || {
        const FOLDERS: [&str; 4] = [
            "/usr/sbin",
            "/usr/bin",
            "/usr/local/bin",
            "/opt/homebrew/bin",
        ];
        let mut programs = FOLDERS
            .map(|folder| Path::new(folder).join("pgbouncer"))
            .into_iter();
        programs.find(|program| program.is_file())
    },
};

/// A wall clock of a process's own.
pub(crate) const FAKETIME: Program = Program {
    package: "faketime",
    find: || {
        // Libraries are below one folder per architecture, or not.
        let folders = ["/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib"].map(PathBuf::from);
        let below = |folder: &PathBuf| {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).collect::<Vec<_>>()
        };
        let deeper: Vec<PathBuf> = folders.iter().flat_map(below).collect();
        let mut libraries = folders
            .into_iter()
            .chain(deeper)
            .map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
        libraries.find(|library| library.is_file())
    },
};

/// Copies a database as text.
pub(crate) const PG_DUMP: Program = Program {
    package: "postgresql-client",
    find: || {
        // As new as any server that a test may have started.
        let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
        let mut folders: Vec<PathBuf> = versions
            .flatten()
            .map(|entry| entry.path().join("bin"))
            .collect();
        folders.sort();
        folders.reverse();
        folders.extend(["/usr/bin", "/usr/local/bin", "/opt/homebrew/bin"].map(PathBuf::from));
        let mut programs = folders.into_iter().map(|folder| folder.join("pg_dump"));
        programs.find(|program| program.is_file())
    },
};

/// Whether a program stands in one of the usual folders.
fn is_on_path(program: &str) -> bool {
    let folders = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&folders).any(|folder| folder.join(program).is_file())
}

/// Python with psycopg 3: the interpreter.
pub(crate) const PSYCOPG: Program = Program {
    package: "python3-psycopg",
    find: || {
        let module = Path::new("/usr/lib/python3/dist-packages/psycopg");
        module.is_dir().then(|| PathBuf::from("/usr/bin/python3"))
    },
};

/// Node with pg: the folder of its modules.
pub(crate) const NODE_PG: Program = Program {
    package: "node-pg",
    find: || {
        const FOLDERS: [&str; 3] = [
            "/usr/share/nodejs",
            "/usr/lib/node_modules",
            "/usr/local/lib/node_modules",
        ];
        let mut folders = FOLDERS.map(PathBuf::from).into_iter();
        folders.find(|folder| is_on_path("node") && folder.join("pg").is_dir())
    },
};

/// Java with the driver of PostgreSQL: the driver.
pub(crate) const JDBC: Program = Program {
    package: "libpostgresql-jdbc-java",
    find: || {
        let driver = PathBuf::from("/usr/share/java/postgresql.jar");
        (is_on_path("javac") && driver.is_file()).then_some(driver)
    },
};

/// Where `.ci/run` puts the libraries that receivers of webhooks verify with.
pub(crate) fn receivers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/receivers")
}

/// Python, and its library of Standard Webhooks.
pub(crate) const PYTHON_WEBHOOKS: Program = Program {
    package: "standardwebhooks for Python (.ci/run puts it into target/receivers)",
    find: || {
        let versions = fs::read_dir(receivers().join("python/lib"))
            .into_iter()
            .flatten();
        let mut libraries = versions
            .flatten()
            .map(|version| version.path().join("site-packages/standardwebhooks"));
        libraries.find(|library| library.is_dir())
    },
};

/// Node's library of Standard Webhooks.
pub(crate) const NODE_WEBHOOKS: Program = Program {
    package: "standardwebhooks for Node (.ci/run puts it into target/receivers)",
    find: || {
        let library = receivers().join("node/node_modules/standardwebhooks");
        library.is_dir().then_some(library)
    },
};

/// Whether the test that goes by this name can't run here. If so, it is noted for the last lines.
///
/// # Panics
///
/// If nothing may be left out, or a note can't be written.
pub(crate) fn leaves_out(programs: &[Program], test: &str) -> bool {
    let missing: Vec<&str> = programs
        .iter()
        .filter(|program| (program.find)().is_none())
        .map(|program| program.package)
        .collect();
    let name = test
        .trim_end_matches("::here")
        .trim_end_matches("::{{closure}}");
    let note = folder().join(name.replace("::", "."));
    if missing.is_empty() {
        // Of an earlier run without the program.
        fs::remove_file(note).ok();
        return false;
    }
    let missing = missing.join(" and ");
    assert!(
        env::var_os(REQUIRE_ALL).is_none(),
        "{REQUIRE_ALL} is set, but {missing} is not installed"
    );
    fs::create_dir_all(folder()).unwrap();
    fs::write(note, missing).unwrap();
    true
}

/// First line of a test that needs programs: ends it if one of them is missing.
macro_rules! needs {
    ($($program:ident),+) => {{
        fn here() {}
        let programs = [$(crate::programs::$program),+];
        if crate::programs::leaves_out(&programs, std::any::type_name_of_val(&here)) {
            return;
        }
    }};
}
pub(crate) use needs;
