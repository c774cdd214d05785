//! `simulate`, `train`, `evaluate` and `demo` through the command line.

use crate::peer::{Server, serin, text, train, trained};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

fn csv(folder: &std::path::Path, name: &str, lines: &[&str]) -> String {
    let path = folder.join(name);
    std::fs::write(&path, lines.join("\n") + "\n").unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_file_in_any_format_trains_the_same_model() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let simulate = |out: &str| {
        let out = serin(&["simulate", "--out", out, "--customers", "150", "--terminals", "300", "--days", "40"]);
        assert!(out.status.success(), "{}", text(&out));
    };
    simulate(&at("a.parquet"));
    simulate(&at("a.csv"));
    simulate(&at("b.parquet"));
    assert_eq!(
        std::fs::read(at("a.parquet")).unwrap(),
        std::fs::read(at("b.parquet")).unwrap(),
        "reproducible to the byte"
    );
    let mut gzip =
        flate2::write::GzEncoder::new(std::fs::File::create(at("a.csv.gz")).unwrap(), flate2::Compression::fast());
    gzip.write_all(&std::fs::read(at("a.csv")).unwrap()).unwrap();
    gzip.finish().unwrap();
    // The same rows in two files that a glob names.
    let whole = std::fs::read_to_string(at("a.csv")).unwrap();
    let (header, rows) = whole.split_once('\n').unwrap();
    let cut = rows[..rows.len() / 2].rfind('\n').unwrap() + 1;
    std::fs::write(at("part-1.csv"), format!("{header}\n{}", &rows[..cut])).unwrap();
    std::fs::write(at("part-2.csv"), format!("{header}\n{}", &rows[cut..])).unwrap();

    let models: Vec<Vec<u8>> = ["a.parquet", "a.csv", "a.csv.gz", "part-*.csv"]
        .iter()
        .map(|file| {
            let out = serin(&[
                "train",
                &at(file),
                "--label",
                "TX_FRAUD",
                "--time",
                "TX_DATETIME",
                "--exclude",
                "TRANSACTION_ID,TERMINAL_ID,TX_FRAUD_SCENARIO",
                "--entity",
                "CUSTOMER_ID",
                "--rounds",
                "5",
                "--json",
                "--state",
                &at("state"),
            ]);
            assert!(out.status.success(), "{file}: {}", text(&out));
            let answer: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
            std::fs::read(std::path::Path::new(answer["package"].as_str().unwrap()).join("model.ubj")).unwrap()
        })
        .collect();
    assert!(models.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn wrong_data_is_named_by_file_line_and_column() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state").to_str().unwrap().to_owned();
    let fails = |file: &str, more: &[&str], message: &str| {
        let mut arguments = vec!["train", file, "--label", "y", "--random-split", "0.5", "--state", &state];
        arguments.extend_from_slice(more);
        let out = serin(&arguments);
        assert!(!out.status.success() && text(&out).contains(message), "{message:?} not in {}", text(&out));
        assert!(!text(&out).contains("panicked"), "{}", text(&out));
    };
    let good = csv(
        folder.path(),
        "good.csv",
        &["x,when,y", "1,2020-01-01,0", "2,2020-01-02,1", "3,2020-01-03,0", "4,2020-01-04,1"],
    );
    fails("missing.csv", &[], "no file matches");
    fails(&good, &["--label-typo", "z"], "unexpected argument");
    fails(&good, &["--entity", "card"], "no column \"card\"");
    fails(&good, &["--features", "X"], "did you mean \"x\"");
    fails(&good, &["--features", "y"], "the label \"y\" cannot be a feature");
    fails(&good, &["--features", "x", "--set", "max_dept=3"], "does not know the parameter max_dept");
    fails(&good, &["--features", "x", "--set", "max_depth=many"], "max_depth");
    let short = csv(folder.path(), "short.csv", &["x,y", "1,0", "2"]);
    fails(&short, &[], "line 3: 1 fields, the header has 2");
    let label = csv(folder.path(), "label.csv", &["x,y", "1,0", "2,7"]);
    fails(&label, &[], "label.csv:3: column \"y\": a label is 0 or 1, found 7");
    let one = csv(folder.path(), "one.csv", &["x,y", "1,0", "2,0", "3,0", "4,0"]);
    fails(&one, &[], "both classes are needed");
    let infinite = csv(folder.path(), "infinite.csv", &["x,y", "1,0", "inf,1"]);
    fails(&infinite, &[], "infinite.csv:3: column \"x\": infinite");
    let empty = csv(folder.path(), "empty.csv", &["x,y"]);
    fails(&empty, &[], "no rows");
    let twice = csv(folder.path(), "twice.csv", &["x,x,y", "1,2,0"]);
    fails(&twice, &[], "two columns are called \"x\"");
    let fake = csv(folder.path(), "fake.parquet", &["x,y"]);
    fails(&fake, &[], "cannot be read as Parquet");
    let mut late = vec!["x,y".to_owned()];
    late.extend((0..12_000).map(|i| format!("{i},{}", i % 2)));
    late.push("oops,1".to_owned());
    let late = csv(folder.path(), "late.csv", &late.iter().map(String::as_str).collect::<Vec<_>>());
    fails(&late, &[], "late.csv:12002: column \"x\": \"oops\" is not a number");
}

#[test]
fn categories_and_missing_values_travel_with_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let mut lines = vec!["channel,amount,flag,y".to_owned()];
    for i in 0..400 {
        let channel = ["web", "pos", "atm"][i % 3];
        let amount = if i % 7 == 0 { String::new() } else { (i % 50).to_string() };
        lines.push(format!("{channel},{amount},{},{}", i % 2 == 0, u8::from(channel == "atm" && i % 50 > 20)));
    }
    let data = csv(folder.path(), "d.csv", &lines.iter().map(String::as_str).collect::<Vec<_>>());
    let state = folder.path().to_str().unwrap();
    let out = serin(&[
        "train",
        &data,
        "--label",
        "y",
        "--random-split",
        "0.3",
        "--rounds",
        "20",
        "--json",
        "--state",
        state,
        "--stage",
        "Production",
    ]);
    assert!(out.status.success(), "{}", text(&out));
    let server = crate::peer::Server::start(folder.path(), &[]);
    let (status, answer) = server.predict(
        r#"{"records":[{"channel":"atm","amount":40,"flag":true},{"channel":"web","amount":40,"flag":true},{"channel":"atm","amount":null,"flag":false},{"channel":"new","flag":false}]}"#,
    );
    assert_eq!(status, 200, "{answer}");
    assert_eq!((&answer["predictions"][0], &answer["predictions"][1]), (&1.into(), &0.into()));
    assert_eq!(server.predict(r#"{"records":[{"channel":2,"amount":1,"flag":true}]}"#).0, 422);
    assert_eq!(server.predict(r#"{"records":[{"channel":"atm","amount":1,"flag":7}]}"#).0, 422);
}

#[test]
fn another_months_file_is_read_with_the_models_encoding() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().to_str().unwrap();
    let rows = |channels: &[&str]| {
        let mut lines = vec!["channel,flag,y".to_owned()];
        for i in 0..300 {
            let channel = channels[i % channels.len()];
            lines.push(format!("{channel},{},{}", i % 2 == 0, u8::from(channel == "pos" || i % 29 == 0)));
        }
        lines.join("\n") + "\n"
    };
    let data = folder.path().join("d.csv");
    std::fs::write(&data, rows(&["atm", "pos", "web"])).unwrap();
    let out = serin(&[
        "train",
        data.to_str().unwrap(),
        "--label",
        "y",
        "--random-split",
        "0.3",
        "--stage",
        "Production",
        "--state",
        state,
    ]);
    assert!(out.status.success(), "{}", text(&out));
    // "pos" is code 1 of the model and would be code 0 of this file; "ussd" is new; the truths are written 1 and 0.
    std::fs::write(&data, rows(&["pos", "ussd", "web"]).replace("true", "1").replace("false", "0")).unwrap();
    let report = folder.path().join("report.html");
    let evaluate = |more: &[&str]| {
        let mut arguments = vec!["evaluate", data.to_str().unwrap(), "--label", "y", "--json", "--state", state];
        arguments.extend_from_slice(more);
        serin(&arguments)
    };
    let out = evaluate(&["--report", report.to_str().unwrap()]);
    assert!(out.status.success(), "{}", text(&out));
    let answer: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert!(answer["metrics"]["recall"].as_f64().unwrap() > 0.9, "{answer}");
    assert!(answer["metrics"]["precision"].as_f64().unwrap() > 0.99, "{answer}");
    assert!(std::fs::read_to_string(report).unwrap().contains("<svg"));
    std::fs::write(&data, rows(&["pos"]).replace("true", "maybe")).unwrap();
    let out = evaluate(&[]);
    assert!(
        !out.status.success()
            && text(&out).contains("d.csv:2: column \"flag\": \"maybe\" is not true or false")
            && text(&out).contains("when the model was trained"),
        "{}",
        text(&out)
    );
}

#[test]
fn evaluate_repeats_the_figures_of_training() {
    let folder = trained();
    let trained = train(folder, &["--no-register", "--alert-rate", "0.01"]);
    assert!(trained["metrics"]["alert_rate"].as_f64().unwrap() <= 0.01);
    assert!(trained["metrics"]["auc_roc"].as_f64().unwrap() > 0.6);
    let data = folder.join("payments.parquet");
    let out = serin(&[
        "evaluate",
        data.to_str().unwrap(),
        "--label",
        "TX_FRAUD",
        "--time",
        "TX_DATETIME",
        "--json",
        "--state",
        folder.to_str().unwrap(),
    ]);
    assert!(out.status.success(), "{}", text(&out));
    let answer: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert!(answer["metrics"]["rows"].as_f64().unwrap() > 30_000.0);
}

/// The number before a word, in a line of text.
fn number_before(line: &str, word: &str) -> f64 {
    let before = line.split(word).next().expect("a first part").trim_end();
    before
        .rsplit([' ', '('])
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("{word:?} in {line}"))
}

/// Starts the command that the demo names at the end, on free ports; the scoring server, and what was printed when it answered.
fn go_on(line: &str) -> (Server, String) {
    let command = line.split(": serin ").nth(1).unwrap_or_else(|| panic!("no command in {line:?}"));
    let mut words = command.split_whitespace();
    assert_eq!(words.next(), Some("up"), "{command}");
    let mut process = Command::new(env!("CARGO_BIN_EXE_serin"))
        .args(["up", "--port", "0", "--scoring-port", "0"])
        .args(words)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut lines = BufReader::new(process.stdout.take().unwrap());
    while !said.contains("scoring ") {
        assert!(lines.read_line(&mut said).unwrap() > 0, "{command} ended: {said}");
    }
    (Server { process, address: address_in(&said, "scoring ") }, said)
}

/// A page as a browser gets it.
fn page(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Host and port of the first address after a word.
fn address_in(said: &str, word: &str) -> String {
    let rest = said.split(word).nth(1).and_then(|rest| rest.split("http://").nth(1));
    let address = rest.and_then(|rest| rest.split(|c: char| !c.is_ascii_digit() && c != '.' && c != ':').next());
    address.unwrap_or_else(|| panic!("no address after {word:?} in {said}")).to_owned()
}

#[test]
fn the_demo_tells_a_story_whose_facts_hold() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("demo");
    let out = serin(&[
        "demo",
        "--fast",
        "--exit",
        "--keep",
        "--port",
        "0",
        "--dashboard-port",
        "0",
        "--state",
        state.to_str().unwrap(),
    ]);
    let said = text(&out);
    assert!(out.status.success(), "{said}");
    let line = |part: &str| {
        said.lines().find(|line| line.contains(part)).unwrap_or_else(|| panic!("{part:?} missing in {said}"))
    };
    for part in
        ["Simulated", "Live: ", "requests/s", "Labels matured: ", "a new fraud begins", "serin train payments.csv"]
    {
        line(part);
    }
    assert!(line("Version 2, an honest retrain").contains(": promoted after"), "{said}");
    assert!(line("Version 3, trained on amounts in cents").contains(": STOPPED after"), "{said}");
    assert!(number_before(line("Payments decided by it:"), "% of the traffic") < 10.0, "{said}");
    // Amounts stand in several columns, all in cents.
    assert!(line("Why: rolled back: inputs: ").contains("AMOUNT"), "{said}");
    assert!(said.contains(" accepted: not worse, and better in"), "{said}");
    let recall = said.lines().rfind(|line| line.contains("Recall: ")).expect("recall is told");
    let [missed, after] = ["while it was missed", "since version"].map(|word| number_before(recall, word));
    assert!(after > missed + 0.1, "{recall}");
    assert!(line("Replayed decision").ends_with("the same bits."), "{said}");
    assert!(said.contains("export MLFLOW_TRACKING_URI=http://127.0.0.1:"), "{said}");
    // A gain is told where it is proven only.
    let worth = line("Labels matured: ");
    let proven = worth.contains(" saved ") || worth.contains(" more than version ");
    assert!(proven != worth.contains("no difference in cost between versions 2 and 1 is proven"), "{worth}");
    // What it says to go on with serves what it has promoted, and the Overview knows what that is worth.
    let promoted = said.lines().rfind(|line| line.contains(": promoted after")).expect("a version is promoted");
    let promoted =
        promoted.split("Version ").nth(1).and_then(|rest| rest.split([':', ',']).next()).expect("its number");
    let (on, printed) = go_on(line("State kept in "));
    let (status, models) = on.get("/v1/models");
    assert!(status == 200 && models.contains(&format!("\"version\":\"{promoted}\"")), "{promoted}: {models}");
    let dashboard = address_in(&printed, "tracking server on ");
    let live = page(&dashboard, "/overview/live");
    assert!(live.contains(&format!("<span>Live version</span><b>{promoted}</b>")), "{live}");
    let savings = page(&dashboard, "/overview/savings");
    assert!(savings.contains(&format!("Money, version {promoted} against ")), "{savings}");
    assert!(!savings.contains(&format!("{promoted} against {promoted}")), "{savings}");
    drop(on);
    // Days that end too soon end the story, not the program: what is known is told.
    let out = serin(&[
        "demo",
        "--fast",
        "--exit",
        "--fraud-days",
        "4",
        "--port",
        "0",
        "--dashboard-port",
        "0",
        "--state",
        state.to_str().unwrap(),
        "--keep",
    ]);
    let said = text(&out);
    assert!(out.status.success() && said.contains("The simulated days end here, on day 128"), "{said}");
    assert!(said.contains("Recall so far: ") && said.contains("the same bits."), "{said}");
    // Kept, and recognised by the next one; somebody else's folder is left alone.
    assert!(state.join("serin.db").exists());
    std::fs::remove_file(state.join(".serin-demo")).unwrap();
    let out = serin(&["demo", "--exit", "--state", state.to_str().unwrap()]);
    assert!(!out.status.success() && text(&out).contains("no demo made it"), "{}", text(&out));
    assert!(state.join("serin.db").exists());
}

#[test]
fn help_teaches() {
    for command in ["server", "db", "user", "serve", "train", "evaluate", "simulate", "demo"] {
        let out = serin(&[command, "--help"]);
        assert!(out.status.success() && out.stdout.len() > 300, "{command}");
    }
}
