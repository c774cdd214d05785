//! Retrainings are of the model that gives the reason.

use crate::house::{DAY, HOUR, House, MONDAY, clock, deciding, decision, hours, log_of};
use serde_json::json;
use serin_control::{Launcher, RetrainingOrder};
use serin_decisions::{DecisionIds, DecisionLog, LogLimits};
use serin_tracking::{LabelSource, LabelSubject, NewLabel};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

#[derive(Debug, Default)]
struct Orders(Mutex<Vec<RetrainingOrder>>);

impl Launcher for Orders {
    fn retrain(
        &self,
        order: RetrainingOrder,
    ) -> Pin<Box<dyn Future<Output = Result<(), serin_control::RetrainingFailure>> + Send>> {
        self.0.lock().unwrap().push(order);
        Box::pin(async { Ok(()) })
    }
}

// R31: labels of a busy model trained its neighbour, and a late file with old dates trained nobody.
#[tokio::test]
async fn new_labels_set_off_the_retraining_of_the_model_whose_decisions_they_label() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), clock!());
    let settings = json!({ "retraining": { "enabled": true, "on_labels": 5 } });
    let house = House::open(folder.path(), clock, settings).await;
    let (log, _) = DecisionLog::open(&log_of(folder.path()), LogLimits::default(), clock.read).unwrap();
    let ids = DecisionIds::default();
    for (number, model) in ["busy", "quiet"].into_iter().enumerate() {
        house.register_watched(model).await;
        house.traffic(model, hours(MONDAY - DAY, MONDAY + 15 * HOUR), 1.0).await;
        let deciding = deciding(model, number as u8 + 1);
        for payment in 0..10 {
            let transaction_id = format!("{model}-{payment}");
            // Sent twice: it is one transaction.
            for _ in 0..2 {
                let made = decision(ids.next(MONDAY), &transaction_id, MONDAY - 30 * DAY);
                log.append(&deciding, &[made]).unwrap();
            }
        }
    }
    log.flush().unwrap();
    let orders = Arc::new(Orders::default());
    let mut jobs = house.jobs_with(Arc::clone(&orders) as Arc<dyn Launcher>);
    jobs.round().await;

    let label = |id: String| NewLabel {
        subject: LabelSubject::Transaction(id),
        fraud: false,
        source: LabelSource::Analyst,
        occurred_at_ms: None,
        // A late file: known long before it came.
        known_at_ms: Some(MONDAY - 20 * DAY),
        amount: None,
    };
    let labels = (0..8).map(|i| label(format!("busy-{i}"))).chain((0..4).map(|i| label(format!("quiet-{i}"))));
    clock.set(MONDAY + 12 * HOUR + HOUR / 2);
    house.store.put_labels(labels.collect(), clock.now()).await.unwrap();
    clock.set(MONDAY + 13 * HOUR);
    jobs.round().await;
    let told: Vec<(String, &str)> =
        orders.0.lock().unwrap().iter().map(|order| (order.model.clone(), order.cause)).collect();
    assert_eq!(told, [("busy".to_owned(), "labels")]);
    assert!(orders.0.lock().unwrap()[0].reason.starts_with("8 new labels"), "{orders:?}");

    // One more of its own, and the quiet model has its five.
    house.store.put_labels(vec![label("quiet-9".into()), label("nobody-1".into())], clock.now() + 1).await.unwrap();
    clock.set(MONDAY + 14 * HOUR);
    jobs.round().await;
    assert!(orders.0.lock().unwrap().iter().any(|order| order.model == "quiet"), "{orders:?}");
}
