//! `serin demo`: the whole way on one machine. Every number printed is computed in this run.

use super::{listening, load, say, serve, simulate, train};
use crate::cli::{Columns, Demo, FallbackOptions, LogOptions, Serve, State, ThresholdRule, Train};
use hyper::body::Bytes;
use serin_dataset::simulate::{FEATURES, Simulation};
use serin_dataset::{Dataset, read};
use std::time::{Duration, Instant};

const ALERT_RATE: f64 = 0.005;
/// What reasons call the columns that matter most.
const DESCRIPTIONS: [(&str, &str); 4] = [
    ("TX_AMOUNT", "Amount of the payment"),
    ("TX_DURING_NIGHT", "Paid at night"),
    ("TERMINAL_ID_RISK_7DAY_WINDOW", "Share of frauds at this terminal, last 7 days"),
    ("CUSTOMER_ID_AVG_AMOUNT_30DAY_WINDOW", "Average amount of this customer, last 30 days"),
];
const CONNECTIONS: usize = 4;
const TRAFFIC: Duration = Duration::from_secs(4);

pub(crate) async fn run(args: &Demo) -> anyhow::Result<()> {
    let start = Instant::now();
    let file = args.state.join("transactions.parquet");
    let simulation = Simulation {
        customers: args.customers,
        terminals: args.customers * 2,
        days: args.days,
        seed: args.seed,
        ..Simulation::default()
    };
    let rows = simulate::write(&simulation, &file)?;
    say(format_args!(
        "1. simulated {rows} transactions of {} days in {:.1} s -> {}",
        args.days,
        start.elapsed().as_secs_f64(),
        file.display()
    ));

    let state = State { state: args.state.clone(), tracking_uri: None };
    let training = training(&file.display().to_string(), state.clone());
    let outcome = train::train(&training).await?;
    let metric = |name: &str| outcome.metrics.get(name).copied().unwrap_or(f64::NAN);
    say(format_args!(
        "2. trained {} XGBoost rounds on {} rows in {:.1} s (reading: {:.1} s)",
        outcome.rounds, outcome.train_rows, outcome.fit_seconds, outcome.read_seconds
    ));
    say(format_args!(
        "   on {} later rows, known cards removed: AUC {:.3}, AP {:.3}, card precision@100 {:.3}, recall {:.2} at {:.2} % alerts",
        outcome.test_rows,
        metric("auc_roc"),
        metric("average_precision"),
        metric("card_precision_at_100"),
        metric("recall"),
        metric("alert_rate") * 100.0
    ));
    say(format_args!("   report: {}", format_args!("{}/report.html", outcome.package)));
    let version = outcome.version.unwrap_or_default();
    say(format_args!("3. registered as models:/fraud_detection/{version}, stage Production"));

    let serving = Serve {
        explore: None,
        monitor_every: 5.0,
        model: vec!["models:/fraud_detection/Production".into()],
        shadow: Vec::new(),
        canary: None,
        candidate: None,
        fast_canary: false,
        log: LogOptions::default(),
        fallback: FallbackOptions::default(),
        tls_cert: None,
        tls_key: None,
        state,
        host: std::net::Ipv4Addr::LOCALHOST.into(),
        port: args.port,
        poll: 2.0,
        wait_for_model: false,
        api_key_file: None,
        threads: None,
        max_connections: 4096,
        header_timeout: 30.0,
        request_timeout: 30.0,
        max_body_bytes: 8 << 20,
        max_rows: 10_000,
    };
    let listening = serve::start(&serving).await?;
    let url = format!("http://{}", listening.address);
    say(format_args!("4. serving on {url} (Swagger UI: {url}/docs)"));

    let traffic = read(&training.columns.data, &train::roles(&training.columns), &mut |_, _, _| {})?;
    let (bodies, sample) = bodies(&traffic);
    drop(traffic);
    let seen = load::send(listening.address, bodies, CONNECTIONS, TRAFFIC).await?;
    say(format_args!(
        "5. {} live payments in {:.1} s: {:.0} requests/s, p50 {:.3} ms, p99 {:.3} ms, {} alerts ({:.2} %) ({CONNECTIONS} connections, closed loop, client on the same cores)",
        seen.requests,
        seen.seconds,
        seen.requests as f64 / seen.seconds,
        seen.p50_ms,
        seen.p99_ms,
        seen.alerts,
        seen.alerts as f64 / seen.requests as f64 * 100.0
    ));
    say(format_args!(
        "   done after {:.1} s. These payments are simulated: real fraud is much harder.",
        start.elapsed().as_secs_f64()
    ));
    say(format_args!(
        "\nTry it:\n  curl -s {url}/predict -H 'content-type: application/json' -d '{}'\n\nYour own data:\n  serin train payments.csv --label is_fraud --time created_at --entity card_id --amount amount --alert-rate 0.005 --stage Production\n  serin serve -m models:/fraud_detection/Production",
        String::from_utf8_lossy(&sample)
    ));
    if !args.exit {
        say("\nServing until Ctrl-C.");
        listening::shutdown_signal().await;
    }
    listening.stop().await;
    Ok(())
}

fn training(file: &str, state: State) -> Train {
    Train {
        tag: Vec::new(),
        columns: Columns {
            data: file.to_owned(),
            label: "TX_FRAUD".into(),
            time: Some("TX_DATETIME".into()),
            entity: Some("CUSTOMER_ID".into()),
            amount: Some("TX_AMOUNT".into()),
            weight: None,
            features: Some(FEATURES.map(str::to_owned).to_vec()),
            exclude: Vec::new(),
        },
        rule: ThresholdRule { alert_rate: Some(ALERT_RATE), ..ThresholdRule::default() },
        train_from: None,
        train_days: None,
        delay_days: 7,
        test_days: 7,
        random_split: None,
        keep_known_cards: false,
        reference_rows: 50_000,
        set: Vec::new(),
        describe: DESCRIPTIONS.map(|(name, text)| (name.to_owned(), text.to_owned())).to_vec(),
        rounds: 100,
        early_stopping: None,
        model_name: "fraud_detection".into(),
        no_register: false,
        alias: Some("champion".into()),
        stage: Some("Production".into()),
        experiment: "fraud_detection".into(),
        json: false,
        state,
    }
}

/// The last day's payments as request bodies, and one of them to show.
fn bodies(traffic: &Dataset) -> (Vec<Bytes>, Bytes) {
    let width = traffic.width();
    let last_day = traffic.times.last().map_or(0, |last| last - 86_400_000);
    let bodies: Vec<Bytes> = (0..traffic.rows())
        .filter(|&row| traffic.times[row] > last_day)
        .map(|row| {
            let values: Vec<String> =
                traffic.features[row * width..(row + 1) * width].iter().map(f32::to_string).collect();
            Bytes::from(format!("{{\"data\":[[{}]]}}", values.join(",")))
        })
        .collect();
    let sample = bodies.first().cloned().unwrap_or_default();
    (bodies, sample)
}
