#![doc = include_str!("../README.md")]
#![expect(clippy::expect_used, reason = "test code: a panic with its message is the way to fail")]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A PostgreSQL server of one test process.
#[derive(Debug)]
pub struct Postgres {
    folder: tempfile::TempDir,
    binaries: PathBuf,
    port: u16,
    databases: AtomicUsize,
}

impl Postgres {
    /// Starts a server on a free port.
    ///
    /// # Panics
    /// When PostgreSQL is not installed or does not start.
    #[must_use]
    pub fn start() -> Self {
        let binaries =
            binaries().expect("PostgreSQL is needed: apt-get install postgresql (or brew install postgresql)");
        let folder = tempfile::tempdir().expect("a temporary folder");
        if is_root() {
            run(Command::new("chown").arg("postgres").arg(folder.path()));
        }
        // Freed again before the server takes it; nobody else asks for one at that moment.
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
        let server = Self { folder, binaries, port, databases: AtomicUsize::new(0) };
        let data = server.folder.path().join("data");
        // One command line: as another user there is only a shell to give it to.
        let options = format!("-p {port} -k {} -c listen_addresses=127.0.0.1", server.folder.path().display());
        server.as_its_user(&format!("initdb -D {0} -A trust -U postgres -E UTF8 --no-sync", data.display()));
        server.as_its_user(&format!("pg_ctl -D {0} -l {0}/log -o '{options}' -w start", data.display()));
        server
    }

    /// URL of a new, empty database.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn database(&self) -> String {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        run(Command::new(self.binaries.join("createdb"))
            .args(["-h", "127.0.0.1", "-U", "postgres", "-p"])
            .args([&self.port.to_string(), &name]));
        format!("postgresql://postgres@127.0.0.1:{}/{name}", self.port)
    }

    fn as_its_user(&self, line: &str) {
        let line = format!("{}/{line}", self.binaries.display());
        if is_root() {
            run(Command::new("runuser").args(["-u", "postgres", "--", "sh", "-c", &line]));
        } else {
            run(Command::new("sh").args(["-c", &line]));
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let data = self.folder.path().join("data");
        self.as_its_user(&format!("pg_ctl -D {} -m immediate stop", data.display()));
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id runs");
    id.stdout.starts_with(b"0\n")
}

fn run(command: &mut Command) {
    // From a folder that every user may enter; the server must not keep the test's output open.
    let output = command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(output.as_ref().is_ok_and(std::process::ExitStatus::success), "{command:?}: {output:?}");
}

fn binaries() -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .collect();
    found.sort();
    found.reverse();
    found.extend(["/opt/homebrew/opt/postgresql/bin", "/usr/local/opt/postgresql/bin"].map(PathBuf::from));
    found.extend(std::env::split_paths(&std::env::var_os("PATH")?));
    found.into_iter().find(|folder: &PathBuf| has(folder, "initdb") && has(folder, "pg_ctl"))
}

fn has(folder: &Path, name: &str) -> bool {
    folder.join(name).exists()
}
