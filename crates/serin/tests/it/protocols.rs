//! The scoring protocols beside each other: the same rows, the same scores.

use crate::peer::{Server, trained};
use serde_json::{Value, json};

const NAMES: [&str; 5] = [
    "TX_AMOUNT",
    "TX_DURING_WEEKEND",
    "TX_DURING_NIGHT",
    "CUSTOMER_ID_NB_TX_7DAY_WINDOW",
    "TERMINAL_ID_RISK_7DAY_WINDOW",
];

fn rows() -> Vec<Vec<f64>> {
    vec![vec![57.16, 1.0, 0.0, 3.0, 0.0], vec![5000.0, 0.0, 1.0, 9.0, 1.0], vec![0.1, 0.0, 0.0, 0.0, 0.3]]
}

fn records() -> Vec<Value> {
    rows()
        .iter()
        .map(|row| NAMES.iter().rev().zip(row.iter().rev()).map(|(k, v)| (*k, *v)).collect::<Value>())
        .collect()
}

fn server() -> Server {
    Server::start(trained(), &["--no-decision-log", "--max-rows", "50"])
}

fn json_post(server: &Server, path: &str, body: &Value) -> (u16, Value) {
    server.post(path, "application/json", &body.to_string())
}

#[test]
fn every_protocol_gives_the_same_scores() {
    let server = server();
    let (rows, records) = (rows(), records());
    let scores = |path: &str, body: &Value| {
        let (status, answer) = json_post(&server, path, body);
        assert_eq!(status, 200, "{body}: {answer}");
        answer
    };
    let reference = scores("/invocations", &json!({ "instances": rows }))["predictions"].clone();
    let as_f32: Vec<f32> = reference.as_array().unwrap().iter().map(|score| score.as_f64().unwrap() as f32).collect();
    assert!(as_f32[0] < as_f32[1]);
    let columns: Value = NAMES
        .iter()
        .enumerate()
        .map(|(i, name)| (*name, json!(rows.iter().map(|row| row[i]).collect::<Vec<_>>())))
        .collect();
    let swapped: Vec<Vec<f64>> = rows.iter().map(|row| row.iter().rev().copied().collect()).collect();
    for body in [
        json!({ "dataframe_split": { "columns": NAMES, "data": rows, "index": [0, 1, 2] } }),
        json!({ "dataframe_split": { "columns": NAMES.iter().rev().collect::<Vec<_>>(), "data": swapped } }),
        json!({ "dataframe_records": records }),
        json!({ "instances": records }),
        json!({ "inputs": columns, "params": { "x": 1 } }),
        json!({ "inputs": rows }),
    ] {
        assert_eq!(scores("/invocations", &body)["predictions"], reference, "{body}");
    }
    let lines: Vec<String> =
        rows.iter().map(|row| row.iter().map(f64::to_string).collect::<Vec<_>>().join(",")).collect();
    let csv = format!("{}\n{}\n", NAMES.join(","), lines.join("\n"));
    assert_eq!(server.post("/invocations", "text/csv; charset=utf-8", &csv).1["predictions"], reference);

    let flat: Vec<f64> = rows.concat();
    let tensor = |data: Value, datatype: &str| json!({ "id": "7", "inputs": [{ "name": "x", "shape": [3, 5], "datatype": datatype, "data": data }] });
    let by_column: Vec<Value> = NAMES.iter().enumerate().map(|(i, name)| json!({ "name": name, "shape": [3, 1], "datatype": "FP64", "data": rows.iter().map(|row| row[i]).collect::<Vec<_>>() })).collect();
    let predictions = scores("/predict", &json!({ "data": rows }))["predictions"].clone();
    for body in [tensor(json!(flat), "FP32"), tensor(json!(rows), "FP64"), json!({ "id": "7", "inputs": by_column })] {
        let answer = scores("/v2/models/fraud_detection/infer", &body);
        assert_eq!(
            (&answer["model_name"], &answer["model_version"], &answer["id"]),
            (&json!("fraud_detection"), &json!("1"), &json!("7"))
        );
        let score = &answer["outputs"][0];
        assert_eq!(
            (&score["name"], &score["datatype"], &score["shape"]),
            (&json!("score"), &json!("FP32"), &json!([3]))
        );
        let found: Vec<f32> =
            score["data"].as_array().unwrap().iter().map(|score| score.as_f64().unwrap() as f32).collect();
        assert_eq!(found, as_f32);
        assert_eq!(
            (&answer["outputs"][1]["name"], &answer["outputs"][1]["data"]),
            (&json!("prediction"), &predictions)
        );
    }
    let mut only = tensor(json!(flat), "FP32");
    only["outputs"] = json!([{ "name": "prediction" }]);
    assert_eq!(scores("/v2/models/fraud_detection/versions/1/infer", &only)["outputs"].as_array().unwrap().len(), 1);

    let transactions: Vec<Value> = records.iter().enumerate().map(|(i, features)| json!({ "transaction_id": format!("t{i}"), "entity": "card", "timestamp": "2026-11-25T10:00:00+01:00", "features": features })).collect();
    let made =
        scores("/v1/decisions", &json!({ "model": "fraud_detection", "transactions": transactions }))["decisions"]
            .clone();
    for (i, decision) in made.as_array().unwrap().iter().enumerate() {
        assert_eq!(decision["score"].as_f64().unwrap() as f32, as_f32[i]);
        assert_eq!(decision["action"] == "alert", predictions[i] == 1);
        assert_eq!((&decision["transaction_id"], &decision["model_version"]), (&json!(format!("t{i}")), &json!("1")));
    }
    assert_ne!(made[0]["decision_id"], made[1]["decision_id"]);
}

#[test]
fn reasons_come_when_they_are_asked_for() {
    let server = server();
    let transactions: Vec<Value> = records().iter().map(|features| json!({ "features": features })).collect();
    let ask = |more: Value| {
        let mut body = json!({ "transactions": transactions });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (status, answer) = json_post(&server, "/v1/decisions", &body);
        (status, answer["decisions"].as_array().cloned().unwrap_or_default())
    };
    assert!(ask(json!({})).1.iter().all(|made| made["reasons"].is_null()));
    for made in ask(json!({ "explain": "alerts" })).1 {
        assert_eq!(made["reasons"].is_array(), made["action"] == "alert", "{made}");
    }
    for made in ask(json!({ "explain": "all", "max_reasons": 3 })).1 {
        let reasons = made["reasons"].as_array().unwrap();
        let sizes: Vec<f64> = reasons.iter().map(|reason| reason["contribution"].as_f64().unwrap().abs()).collect();
        assert!(reasons.len() == 3 && sizes.is_sorted_by(|a, b| a >= b), "{made}");
        assert!(NAMES.contains(&reasons[0]["feature"].as_str().unwrap()));
        for reason in reasons {
            let description =
                if reason["feature"] == "TX_AMOUNT" { json!("Amount of the payment") } else { Value::Null };
            assert_eq!(reason["description"], description, "as the package says");
        }
    }
    assert_eq!(ask(json!({ "explain": "some" })).0, 422);
}

#[test]
fn each_protocol_says_what_is_wrong_in_its_own_form() {
    let server = server();
    let good = json!({ "TX_AMOUNT": 1, "TX_DURING_WEEKEND": 0, "TX_DURING_NIGHT": 0, "CUSTOMER_ID_NB_TX_7DAY_WINDOW": 1, "TERMINAL_ID_RISK_7DAY_WINDOW": 0 });
    let mut bad = good.clone();
    bad["TX_AMOUNT"] = json!("x");
    let many = vec![good.clone(); 51];
    for (body, status, text) in [
        (json!({}), 400, "exactly one of"),
        (json!([1]), 400, "exactly one of"),
        (json!({ "instances": [], "inputs": [] }), 400, "exactly one of"),
        (json!({ "instances": [] }), 400, "no row"),
        (json!({ "instances": [good], "other": 1 }), 400, "other"),
        (json!({ "instances": [bad] }), 400, "instances.0.TX_AMOUNT: Input should be a valid number"),
        (json!({ "instances": [[1, 2]] }), 400, "5 values, not 2"),
        (json!({ "instances": [good, [1]] }), 400, "dictionary"),
        (json!({ "dataframe_split": { "columns": ["TX_AMOUNT"], "data": [[1, 2]] } }), 400, "no list of 1 values"),
        (json!({ "dataframe_split": { "columns": ["tx_amount"], "data": [[1]] } }), 400, "did you mean"),
        (json!({ "dataframe_split": 5 }), 400, "wrong form"),
        (json!({ "inputs": { "TX_AMOUNT": [1, 2], "TX_DURING_NIGHT": [1] } }), 400, "another number of values"),
        (json!({ "dataframe_records": many }), 413, "at most 50"),
    ] {
        let (found, answer) = json_post(&server, "/invocations", &body);
        assert!(found == status && answer["message"].as_str().unwrap().contains(text), "{body}: {found} {answer}");
        assert!(matches!(answer["error_code"].as_str(), Some("BAD_REQUEST" | "INVALID_PARAMETER_VALUE")), "{answer}");
    }
    assert_eq!(server.post("/invocations", "application/xml", "<x/>").0, 415);
    assert_eq!(server.post("/invocations", "application/json", "{").0, 400);
    assert_eq!(server.post("/invocations", "text/csv", "TX_AMOUNT\n").0, 400);

    let infer = "/v2/models/fraud_detection/infer";
    let input = |shape: Value, datatype: &str, data: Value| json!({ "inputs": [{ "name": "x", "shape": shape, "datatype": datatype, "data": data }] });
    for (path, body, status, text) in [
        (
            "/v2/models/other/infer",
            input(json!([1, 5]), "FP32", json!([1, 1, 1, 1, 1])),
            404,
            "there is: fraud_detection",
        ),
        (
            "/v2/models/fraud_detection/versions/9/infer",
            input(json!([1, 5]), "FP32", json!([1, 1, 1, 1, 1])),
            404,
            "version 1 does",
        ),
        (infer, json!({}), 400, "inputs"),
        (infer, json!({ "inputs": [] }), 400, "no row"),
        (infer, input(json!([1, 4]), "FP32", json!([1, 1, 1, 1])), 400, "has 4 columns, the model 5"),
        (infer, input(json!([1, 5]), "FP32", json!([1, 1, 1, 1])), 400, "its shape"),
        (infer, input(json!([18446744073709551615_u64, 5]), "FP32", json!([1])), 413, "at most"),
        (infer, input(json!([1, 5]), "COMPLEX", json!([1, 1, 1, 1, 1])), 400, "datatype"),
        (infer, input(json!([1, 5]), "FP32", json!([1, 1, "a", 1, 1])), 400, "x.0.2"),
        (infer, input(json!([1]), "FP32", json!([1])), 400, "no column"),
        (
            infer,
            json!({ "inputs": [{ "name": "TX_AMOUNT", "shape": [1], "datatype": "FP32", "data": [1] }] }),
            400,
            "Field required",
        ),
    ] {
        let (found, answer) = json_post(&server, path, &body);
        assert!(found == status && answer["error"].as_str().unwrap().contains(text), "{body}: {found} {answer}");
    }
    for (body, loc, text) in [
        (json!({ "transactions": [] }), "transactions", "at least 1"),
        (json!({ "transactions": [{ "features": bad }] }), "TX_AMOUNT", "valid number"),
        (json!({ "transactions": [{ "features": good, "timestamp": "yesterday" }] }), "timestamp", "RFC 3339"),
        (json!({ "transactions": [{ "features": good, "timestamp": "2026-11-25T10:00:00" }] }), "timestamp", "zone"),
        (json!({ "transactions": [{ "features": good, "entity": "x".repeat(256) }] }), "entity", "255 bytes"),
        (json!({ "transactions": [{ "features": good, "when": 1 }] }), "body", "unknown field"),
        (json!({}), "body", "missing field"),
    ] {
        let (status, answer) = json_post(&server, "/v1/decisions", &body);
        let detail = &answer["detail"][0];
        let said = detail["loc"].to_string().contains(loc)
            && (detail["msg"].as_str().unwrap().contains(text) || loc == "timestamp");
        assert!(status == 422 && said, "{body}: {answer}");
    }
    assert_eq!(
        json_post(&server, "/v1/decisions", &json!({ "model": "x", "transactions": [{ "features": good }] })).0,
        404
    );
    assert_eq!(server.predict(r#"{"data":[[1,0,0,1,0.5]]}"#).0, 200, "the server goes on");
}

#[test]
fn models_are_listed_and_answer_by_name() {
    let bare = concat!(env!("CARGO_MANIFEST_DIR"), "/../serin-scoring/tests/fixtures/model.ubj");
    let server = Server::start(trained(), &["--no-decision-log", "-m", "models:/fraud_detection/1", "-m", bare]);
    let models: Value = serde_json::from_str(&server.get("/v1/models").1).unwrap();
    let names: Vec<&str> =
        models["models"].as_array().unwrap().iter().map(|model| model["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["fraud_detection", "model"]);
    let first = &models["models"][0];
    assert!(
        first["version"] == "1" && first["loaded_at_ms"].as_i64().unwrap() > 0 && first["refused"].is_null(),
        "{first}"
    );
    assert_eq!(first["columns"].as_array().unwrap().len(), 5);
    assert_eq!(first["sha256"].as_str().unwrap().len(), 64);
    let wide = json!({ "inputs": [{ "name": "x", "shape": [1, 30], "datatype": "FP32", "data": vec![0.5; 30] }] });
    assert_eq!(json_post(&server, "/v2/models/model/infer", &wide).0, 200);
    assert_eq!(json_post(&server, "/v2/models/fraud_detection/infer", &wide).0, 400);
    for (path, part) in [
        ("/v2", "serin"),
        ("/v2/health/live", "true"),
        ("/v2/health/ready", "true"),
        ("/v2/models/model", "[-1,30]"),
        ("/v2/models/fraud_detection/versions/1", "TX_AMOUNT"),
        ("/v2/models/fraud_detection/ready", "true"),
        ("/v2/models/fraud_detection/versions/1/ready", "true"),
        ("/ping", ""),
        ("/health", ""),
        ("/version", "3."),
    ] {
        let (status, answer) = server.get(path);
        assert!(status == 200 && answer.contains(part), "{path}: {status} {answer}");
    }
    assert_eq!(server.get("/v2/models/fraud_detection/versions/2/ready").0, 404);
    assert_eq!(server.get("/v2/models/nobody").0, 404);
    let twice = crate::peer::serin(&["serve", "--port", "0", "-m", bare, "-m", bare]);
    assert!(!twice.status.success() && crate::peer::text(&twice).contains("two models have the name"));
}
