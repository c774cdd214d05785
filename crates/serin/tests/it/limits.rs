//! Too many, too slow, too large: the server goes on.

use crate::peer::{Server, serin, text, trained};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const GOOD: &str = r#"{"data":[[57.16,1,0,3,0.0]]}"#;

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(&server.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

fn request() -> String {
    format!("POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{GOOD}", GOOD.len())
}

/// What comes until the server has nothing more to say for now.
fn some(stream: &mut TcpStream) -> String {
    let mut buffer = [0; 4096];
    let count = stream.read(&mut buffer).unwrap_or(0);
    String::from_utf8_lossy(&buffer[..count]).into_owned()
}

#[test]
fn beyond_its_connections_the_server_refuses_at_once_and_recovers() {
    let server = Server::start(trained(), &["--no-decision-log", "--max-connections", "20"]);
    let mut held: Vec<TcpStream> = (0..20).map(|_| connect(&server)).collect();
    for stream in &mut held {
        stream.write_all(request().as_bytes()).unwrap();
        assert!(some(stream).starts_with("HTTP/1.1 200"), "those that are in are answered");
    }
    for _ in 0..50 {
        let mut refused = connect(&server);
        let _ = refused.write_all(request().as_bytes());
        let mut answer = String::new();
        let _ = refused.read_to_string(&mut answer);
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: 1"), "{answer}");
    }
    held[0].write_all(request().as_bytes()).unwrap();
    assert!(some(&mut held[0]).starts_with("HTTP/1.1 200"), "and stay so");
    drop(held);
    // The server hears of it when it next reads from them.
    let start = Instant::now();
    let is_answered = || {
        let mut stream = connect(&server);
        stream.write_all(request().as_bytes()).is_ok() && some(&mut stream).starts_with("HTTP/1.1 200")
    };
    while !is_answered() {
        assert!(start.elapsed() < Duration::from_secs(20), "connections that are gone are counted");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(server.predict(GOOD).0, 200);
}

#[test]
fn slow_connections_are_closed_and_cost_the_others_nothing() {
    let server = Server::start(trained(), &["--no-decision-log", "--header-timeout", "1", "--request-timeout", "1.5"]);
    let mut slow: Vec<TcpStream> = (0..300).map(|_| connect(&server)).collect();
    for (i, stream) in slow.iter_mut().enumerate() {
        // Nothing, half a head, or a head without its body.
        let sent = [
            "",
            "POST /predict HTTP/1.1\r\nhost: x\r\nconte",
            "POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\n{\"da",
        ];
        stream.write_all(sent[i % 3].as_bytes()).unwrap();
    }
    assert_eq!(server.predict(GOOD).0, 200, "while they dawdle");
    for (i, stream) in slow.iter_mut().enumerate() {
        let mut answer = Vec::new();
        let ended = stream.read_to_end(&mut answer);
        assert!(
            !ended.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock),
            "connection {i} is still open"
        );
        if i % 3 == 2 {
            assert!(
                answer.starts_with(b"HTTP/1.1 408"),
                "connection {i}: {ended:?} {}",
                String::from_utf8_lossy(&answer)
            );
        }
    }
    assert_eq!(server.predict(GOOD).0, 200);
}

#[test]
fn pipelined_and_chunked_requests_are_answered_in_order() {
    let server = Server::start(trained(), &["--no-decision-log"]);
    let mut stream = connect(&server);
    let (a, b) = GOOD.split_at(9);
    let chunked = format!(
        "POST /predict HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{a}\r\n{:x}\r\n{b}\r\n0\r\n\r\n",
        a.len(),
        b.len()
    );
    let bad = "POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}";
    stream
        .write_all(
            [
                request(),
                chunked,
                bad.to_owned(),
                "GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_owned(),
            ]
            .concat()
            .as_bytes(),
        )
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let statuses: Vec<&str> = answer.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(statuses, ["200", "200", "422", "200"], "{answer}");

    let mut large = connect(&server);
    let head = format!("POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", 1_u64 << 40);
    large.write_all(head.as_bytes()).unwrap();
    assert!(some(&mut large).starts_with("HTTP/1.1 413"), "refused by what it says, before it is sent");
}

#[test]
fn with_keys_only_health_is_open() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys");
    std::fs::write(&file, "# the shop's\nkey-of-the-shop-0123456789\nkey-of-the-bank-0123456789\n").unwrap();
    let server = Server::start(trained(), &["--no-decision-log", "--api-key-file", file.to_str().unwrap()]);
    for path in ["/", "/healthz", "/readyz", "/ping", "/v2/health/ready"] {
        assert_eq!(server.get(path).0, 200, "{path}");
    }
    for path in [
        "/metrics",
        "/v1/models",
        "/v2/models/fraud_detection",
        "/docs/",
        "/openapi.json",
        "/nothing",
        "//healthz",
        "/healthz/",
    ] {
        assert_eq!(server.get(path).0, 401, "{path}");
    }
    let ask = |headers: &str| {
        let mut stream = connect(&server);
        let head =
            format!("POST /predict HTTP/1.1\r\nhost: x\r\n{headers}content-length: {}\r\n\r\n{GOOD}", GOOD.len());
        stream.write_all(head.as_bytes()).unwrap();
        some(&mut stream)
    };
    for headers in [
        "authorization: Bearer key-of-the-shop-0123456789\r\n",
        "x-api-key: key-of-the-bank-0123456789\r\n",
        "Authorization: bearer  key-of-the-bank-0123456789\r\n",
    ] {
        assert!(ask(headers).starts_with("HTTP/1.1 200"), "{headers}");
    }
    for headers in [
        "",
        "authorization: Bearer \r\n",
        "authorization: Bearer key-of-the-shop-012345678\r\n",
        "authorization: Basic a2V5\r\n",
        "x-api-key: # the shop's\r\n",
    ] {
        let answer = ask(headers);
        assert!(
            answer.starts_with("HTTP/1.1 401") && answer.contains("www-authenticate: Bearer"),
            "{headers}: {answer}"
        );
    }
    std::fs::write(&file, "too-short\n").unwrap();
    let refused = serin(&[
        "serve",
        "--port",
        "0",
        "--state",
        trained().to_str().unwrap(),
        "--api-key-file",
        file.to_str().unwrap(),
    ]);
    assert!(!refused.status.success() && text(&refused).contains("line 1") && !text(&refused).contains("too-short\n"));
}
