//! A client without a library, and a server process that ends with its test.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

pub(crate) fn serin(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_serin")).args(arguments).output().unwrap()
}

pub(crate) fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A state folder with simulated data and model version 1 in Production; made once for all tests.
pub(crate) fn trained() -> &'static Path {
    static STATE: OnceLock<PathBuf> = OnceLock::new();
    STATE.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("trained-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let data = folder.join("payments.parquet");
        let out = serin(&[
            "simulate",
            "--out",
            data.to_str().unwrap(),
            "--customers",
            "600",
            "--terminals",
            "1200",
            "--days",
            "45",
            "--seed",
            "3",
        ]);
        assert!(out.status.success(), "{}", text(&out));
        train(&folder, &["--stage", "Production"]);
        folder
    })
}

pub(crate) const FEATURES: &str =
    "TX_AMOUNT,TX_DURING_WEEKEND,TX_DURING_NIGHT,CUSTOMER_ID_NB_TX_7DAY_WINDOW,TERMINAL_ID_RISK_7DAY_WINDOW";

pub(crate) fn train(folder: &Path, more: &[&str]) -> serde_json::Value {
    let data = folder.join("payments.parquet");
    let mut arguments = vec![
        "train",
        data.to_str().unwrap(),
        "--label",
        "TX_FRAUD",
        "--time",
        "TX_DATETIME",
        "--entity",
        "CUSTOMER_ID",
        "--amount",
        "TX_AMOUNT",
        "--features",
        FEATURES,
        "--rounds",
        "20",
        "--describe",
        "TX_AMOUNT=Amount of the payment",
        "--json",
        "--state",
        folder.to_str().unwrap(),
    ];
    arguments.extend_from_slice(more);
    let out = serin(&arguments);
    assert!(out.status.success(), "{}", text(&out));
    serde_json::from_slice(&out.stdout).unwrap()
}

pub(crate) struct Server {
    pub(crate) process: Child,
    pub(crate) address: String,
}

impl Server {
    pub(crate) fn start(state: &Path, more: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_serin"));
        command.args(["serve", "--port", "0", "--poll", "0.1", "--state", state.to_str().unwrap()]).args(more);
        Self::of(&mut command)
    }

    /// Starts a server with the options of `serin serve` in one line. No file of it may become larger than `kilobytes`, which stands
    /// in for a full disk: writes fail in the same way, half-done.
    pub(crate) fn with_small_files(kilobytes: u32, options: &str) -> Self {
        let serin = env!("CARGO_BIN_EXE_serin");
        let line = format!("trap '' XFSZ; ulimit -f {kilobytes}; exec {serin} serve --port 0 {options}");
        Self::of(Command::new("bash").args(["-c", &line]))
    }

    /// Starts a server, and reads its address from its first line.
    fn of(command: &mut Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line
            .split("http://")
            .nth(1)
            .and_then(|rest| rest.split_whitespace().next())
            .unwrap_or_else(|| panic!("no address in {line:?}"));
        Self { address: address.to_owned(), process }
    }

    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"))
    }

    pub(crate) fn predict(&self, body: &str) -> (u16, serde_json::Value) {
        self.post("/predict", "application/json", body)
    }

    pub(crate) fn post(&self, path: &str, kind: &str, body: &str) -> (u16, serde_json::Value) {
        let (status, answer) = self.send(&format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ));
        (status, serde_json::from_str(&answer).unwrap_or_else(|_| panic!("not JSON: {answer}")))
    }

    fn send(&self, request: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        // A server that refuses a large body may close before it is all written; the answer still counts.
        let _ = stream.write_all(request.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    pub(crate) fn terminate(&mut self) -> std::process::ExitStatus {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        self.process.wait().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
