//! `serin serve` through HTTP.

use crate::peer::{Server, serin, text, train, trained};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const GOOD: &str = r#"{"data":[[57.16,1,0,3,0.0],[5000,0,1,9,1.0]]}"#;

fn detail(answer: &serde_json::Value) -> (String, String, String) {
    let first = &answer["detail"][0];
    (first["type"].as_str().unwrap().into(), first["loc"].to_string(), first["msg"].as_str().unwrap().into())
}

#[test]
fn the_seeds_contract_is_kept() {
    let server = Server::start(trained(), &[]);
    assert_eq!(server.get("/"), (200, r#"{"status":"ok"}"#.into()));
    let (status, answer) = server.predict(GOOD);
    assert_eq!((status, &answer["predictions"]), (200, &serde_json::json!([0, 1])));
    assert!(answer["latency"].as_f64().unwrap() > 0.0);
    assert_eq!(answer.as_object().unwrap().len(), 2);

    let named = r#"{"records":[{"TERMINAL_ID_RISK_7DAY_WINDOW":1.0,"TX_AMOUNT":5000,"TX_DURING_WEEKEND":0,"TX_DURING_NIGHT":1,"CUSTOMER_ID_NB_TX_7DAY_WINDOW":9}]}"#;
    assert_eq!(server.predict(named).1["predictions"], serde_json::json!([1]), "order of names does not matter");

    for path in ["/healthz", "/readyz"] {
        assert_eq!(server.get(path).0, 200, "{path}");
    }
    let metrics = server.get("/metrics").1;
    assert!(metrics.contains(r#"serin_decisions_total{action="alert"} 2"#), "{metrics}");
    assert!(
        metrics.contains("serin_http_request_seconds_bucket") && metrics.contains("serin_model_info{"),
        "{metrics}"
    );
    assert!(server.get("/docs/").1.contains("swagger"));
    let contract: serde_json::Value = serde_json::from_str(&server.get("/openapi.json").1).unwrap();
    assert!(contract["paths"]["/predict"]["post"].is_object());
    assert_eq!(server.get("/nothing").0, 404);
}

#[test]
fn bad_rows_are_named() {
    let server = Server::start(trained(), &["--max-body-bytes", "20000", "--max-rows", "50"]);
    let row = |cells: &str| format!(r#"{{"data":[[1,0,0,1,0.5],[{cells}]]}}"#);
    let cases = [
        (row("1,0,0,1"), "too_short", r#"["body","data",1]"#, "5 values, not 4"),
        (row("1,0,0,1,1,1"), "too_long", r#"["body","data",1]"#, "5 values, not 6"),
        (row("1,0,\"x\",1,1"), "value_error", r#"["body","data",1,2]"#, "TX_DURING_NIGHT"),
        (row("1,0,\"NaN\",1,1"), "value_error", r#"["body","data",1,2]"#, "valid number"),
        (row("1,0,null,1,1"), "value_error", r#"["body","data",1,2]"#, "no missing values"),
        (row("1,0,1e39,1,1"), "value_error", r#"["body","data",1,2]"#, "float32"),
        (row("1,0,[1],1,1"), "value_error", r#"["body","data",1,2]"#, "single value"),
        (row("1,0,NaN,1,1"), "value_error", r#"["body","data",1,2]"#, "TX_DURING_NIGHT"),
        (row("1,0,-Infinity,1,1"), "value_error", r#"["body","data",1,2]"#, "valid number"),
        (row("1,0,1e999,1,1"), "value_error", r#"["body","data",1,2]"#, "valid number"),
        (row("1,0,nan,1,1"), "value_error", r#"["body","data",1,2]"#, "valid number"),
        (r#"{"records":[{"TX_AMOUNT":NaN}]}"#.into(), "value_error", r#"["body","records",0,"TX_AMOUNT"]"#, "number"),
        (r#"{"data":[[NaN"#.into(), "json_invalid", r#"["body","#, "JSON decode error"),
        (row("1,0,nil,1,1"), "json_invalid", r#"["body","#, "JSON decode error"),
        (r#"{"data":[]}"#.into(), "too_short", r#"["body","data"]"#, "at least 1"),
        (r#"{"data":5}"#.into(), "list_type", r#"["body","data"]"#, "valid list"),
        (r#"{"data":[5]}"#.into(), "list_type", r#"["body","data",0]"#, "valid list"),
        ("{}".into(), "missing", r#"["body","data"]"#, "Field required"),
        ("[]".into(), "model_attributes_type", r#"["body"]"#, "object"),
        (String::new(), "json_invalid", r#"["body","#, "JSON"),
        (r#"{"data":[[1,0,0,1,0.5]],"x":1}"#.into(), "extra_forbidden", r#"["body","x"]"#, "Extra"),
        (
            r#"{"records":[{"tx_amount":1}]}"#.into(),
            "extra_forbidden",
            r#"["body","records",0,"tx_amount"]"#,
            "did you mean \"TX_AMOUNT\"",
        ),
        (
            r#"{"records":[{"TX_AMOUNT":1}]}"#.into(),
            "missing",
            r#"["body","records",0,"TX_DURING_WEEKEND"]"#,
            "Field required",
        ),
    ];
    for (body, kind, loc, msg) in cases {
        let (status, answer) = server.predict(&body);
        assert_eq!(status, 422, "{body}: {answer}");
        let found = detail(&answer);
        assert!(found.0 == kind && found.1.starts_with(loc) && found.2.contains(msg), "{body}: {found:?}");
    }
    let many = |rows: usize| format!(r#"{{"data":[{}]}}"#, vec!["[1,0,0,1,0.5]"; rows].join(","));
    assert_eq!(server.predict(&many(50)).0, 200);
    assert_eq!(server.predict(&many(51)).0, 413);
    assert_eq!(server.predict(&many(5000)).0, 413);
    assert_eq!(server.predict(GOOD).0, 200, "the server goes on");
}

#[test]
fn a_new_version_goes_live_and_a_damaged_one_is_refused() {
    let state = tempfile::tempdir().unwrap();
    std::fs::copy(trained().join("payments.parquet"), state.path().join("payments.parquet")).unwrap();
    train(state.path(), &["--stage", "Production"]);
    let server = Server::start(state.path(), &[]);
    let live = |version: &str| {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(20) {
            let metrics = server.get("/metrics").1;
            let marker = format!("version=\"{version}\"");
            if metrics
                .lines()
                .any(|line| line.starts_with("serin_model_info") && line.contains(&marker) && line.ends_with(" 1"))
            {
                return true;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        false
    };
    assert!(live("1"));
    train(state.path(), &["--stage", "Production", "--set", "max_depth=2"]);
    assert!(live("2"), "the registry's newest Production version is served");

    // Version 3 is registered, damaged, and only then promoted: by swapping two columns of its signature.
    let third = train(state.path(), &[]);
    let manifest_path = std::path::Path::new(third["package"].as_str().unwrap()).join("serin.json");
    let mut manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(&manifest_path).unwrap()).unwrap();
    manifest["signature"].as_array_mut().unwrap().swap(0, 3);
    std::fs::write(&manifest_path, manifest.to_string()).unwrap();
    let refused =
        serin(&["serve", "--port", "0", "-m", "models:/fraud_detection/3", "--state", state.path().to_str().unwrap()]);
    assert!(!refused.status.success() && text(&refused).contains("does not match its signature"), "{}", text(&refused));
    assert!(
        text(&refused).contains("TX_AMOUNT") && text(&refused).contains("CUSTOMER_ID_NB_TX_7DAY_WINDOW"),
        "{}",
        text(&refused)
    );
    assert_eq!(server.predict(GOOD).0, 200);
    assert!(live("2"));
}

#[test]
fn sigterm_lets_a_request_under_way_end() {
    let mut server = Server::start(trained(), &[]);
    let mut stream = TcpStream::connect(&server.address).unwrap();
    let (head, tail) = GOOD.split_at(20);
    let length = GOOD.len();
    write!(stream, "POST /predict HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n")
        .unwrap();
    // It asks for the body: the request is under way.
    let mut going_on = [0; 25];
    stream.read_exact(&mut going_on).unwrap();
    assert_eq!(&going_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let address = server.address.clone();
    let finish = std::thread::spawn({
        let address = address.clone();
        move || {
            // Until it listens no more: it has heard the signal.
            let start = Instant::now();
            while TcpStream::connect(&address).is_ok() {
                assert!(start.elapsed() < Duration::from_secs(20), "it still listens");
                std::thread::sleep(Duration::from_millis(20));
            }
            stream.write_all(tail.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        }
    });
    assert!(server.terminate().success());
    assert!(finish.join().unwrap().starts_with("HTTP/1.1 200"));
    assert!(TcpStream::connect(address).is_err(), "nothing listens any more");
}

#[test]
fn a_missing_model_says_what_there_is() {
    let state = trained().to_str().unwrap();
    let out = serin(&["serve", "--port", "0", "-m", "models:/fraud_detection@nobody", "--state", state]);
    assert!(!out.status.success() && text(&out).contains("1 (Production)"), "{}", text(&out));
    let out = serin(&["serve", "--port", "0", "-m", "models:/other/1", "--state", state]);
    assert!(text(&out).contains("serin train"), "{}", text(&out));
    let waiting = Server::start(tempfile::tempdir().unwrap().path(), &["--wait-for-model"]);
    assert_eq!((waiting.get("/readyz").0, waiting.get("/healthz").0, waiting.predict(GOOD).0), (503, 200, 503));
}

#[test]
fn a_bare_xgboost_file_is_served() {
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/../serin-scoring/tests/fixtures/model.ubj");
    let server = Server::start(tempfile::tempdir().unwrap().path(), &["-m", fixture]);
    let row = vec!["0.5"; 30].join(",");
    assert_eq!(server.predict(&format!(r#"{{"data":[[{row}]]}}"#)).0, 200);
}
