//! Labels beside re-scored decisions: which frauds each of two models caught, and the money of those it missed.

use serin_analysis::classification::{average_precision, roc_auc, steps};
use serin_dataset::{DatasetError, Roles, keys_of, read};
use std::collections::HashMap;

/// Names of the columns of a file of labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelColumns {
    /// Column with the caller's id of the transaction.
    pub transaction_id: String,
    /// Column with the label, 0/1 or true/false: 1 is fraud.
    pub label: String,
    /// Column with the money at stake; without it every amount is 0.
    pub amount: Option<String>,
}

/// Label of one transaction, as a file of labels has it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KnownLabel {
    /// 1 for a fraud, 0 for a genuine transaction.
    pub fraud: f32,
    /// Money at stake; 0 where the file has no amounts.
    pub amount: f64,
}

/// Labels by transaction id; of several for one id the last counts.
#[derive(Debug, Default)]
pub struct Labels(HashMap<u64, KnownLabel>);

impl Labels {
    /// Reads the CSV or Parquet files that `pattern` names.
    ///
    /// # Errors
    /// When a file cannot be read, or does not have the columns.
    pub fn read(pattern: &str, columns: &LabelColumns) -> Result<Self, DatasetError> {
        let roles = Roles {
            label: columns.label.clone(),
            entity: Some(columns.transaction_id.clone()),
            amount: columns.amount.clone(),
            features: Some(Vec::new()),
            ..Roles::default()
        };
        let rows = read(pattern, &roles, &mut |_, _, _| {})?;
        let amounts = rows.amounts.iter().copied().chain(std::iter::repeat(0.0));
        let labels = rows.labels.iter().zip(amounts).map(|(fraud, amount)| KnownLabel { fraud: *fraud, amount });
        Ok(Self(rows.entities.iter().copied().zip(labels).collect()))
    }

    /// Returns the label of a transaction; an empty id has none.
    #[must_use]
    pub fn of(&self, transaction_id: &str) -> Option<KnownLabel> {
        if self.0.is_empty() || transaction_id.is_empty() {
            return None;
        }
        keys_of(transaction_id).find_map(|key| self.0.get(&key)).copied()
    }
}

/// Scores and counts of one model over the labelled decisions.
#[derive(Debug, Default)]
struct ModelCounts {
    scores: Vec<f32>,
    alerts: u64,
    caught: u64,
    missed_amount: f64,
}

/// Labelled decisions, as they were made and as the other model makes them.
#[derive(Debug, Default)]
pub struct LabelledDecisions {
    labels: Vec<f32>,
    /// Counts of the logged decisions, then of the other model's.
    models: [ModelCounts; 2],
}

/// Figures of one model over the labelled decisions; none where the labels do not say.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelledFigures {
    /// Average precision, 0 to 1; none where one class alone is labelled.
    pub average_precision: Option<f64>,
    /// Area under the ROC curve, 0 to 1; none where one class alone is labelled.
    pub roc_auc: Option<f64>,
    /// Share of the alerts that are frauds; none without an alert.
    pub precision: Option<f64>,
    /// Share of the frauds that are alerts; none without a fraud.
    pub recall: Option<f64>,
    /// Number of alerts among the labelled decisions.
    pub alerts: u64,
    /// Number of frauds that are alerts.
    pub caught: u64,
    /// Money at stake in the frauds that are no alerts.
    pub missed_amount: f64,
}

impl LabelledDecisions {
    /// Adds a decision by its label: score and alert as they were logged, then as the other model gives them.
    pub fn add(&mut self, label: KnownLabel, outcomes: [(f32, bool); 2]) {
        self.labels.push(label.fraud);
        for (model, (score, alert)) in self.models.iter_mut().zip(outcomes) {
            model.scores.push(score);
            model.alerts += u64::from(alert);
            if label.fraud == 1.0 && alert {
                model.caught += 1;
            } else if label.fraud == 1.0 {
                model.missed_amount += label.amount;
            }
        }
    }

    /// Number of labelled decisions.
    #[must_use]
    pub fn decisions(&self) -> usize {
        self.labels.len()
    }

    /// Number of labelled decisions whose label is fraud.
    #[must_use]
    pub fn frauds(&self) -> usize {
        self.labels.iter().filter(|label| **label == 1.0).count()
    }

    /// Figures of the logged decisions, then of the other model's.
    #[must_use]
    pub fn figures(&self) -> [LabelledFigures; 2] {
        let frauds = self.frauds() as u64;
        self.models.each_ref().map(|model| {
            let steps = steps(&model.scores, &self.labels, &[]);
            let share = |part: u64, of: u64| (of > 0).then(|| part as f64 / of as f64);
            // One class alone has no curve.
            let curve = |value: f64| (!value.is_nan()).then_some(value);
            LabelledFigures {
                average_precision: curve(average_precision(&steps)),
                roc_auc: curve(roc_auc(&steps)),
                precision: share(model.caught, model.alerts),
                recall: share(model.caught, frauds),
                alerts: model.alerts,
                caught: model.caught,
                missed_amount: model.missed_amount,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_fraud_costs_its_amount_and_one_class_alone_has_no_curve() {
        let mut judged = LabelledDecisions::default();
        let fraud = KnownLabel { fraud: 1.0, amount: 250.0 };
        judged.add(fraud, [(0.9, true), (0.2, false)]);
        let [logged, now] = judged.figures();
        assert_eq!((logged.recall, logged.precision, logged.missed_amount), (Some(1.0), Some(1.0), 0.0));
        assert_eq!((now.recall, now.precision, now.missed_amount), (Some(0.0), None, 250.0));
        assert_eq!(now.roc_auc, None, "there is no genuine transaction");
        judged.add(KnownLabel { fraud: 0.0, amount: 10.0 }, [(0.1, false), (0.4, true)]);
        let [logged, now] = judged.figures();
        assert_eq!((logged.roc_auc, now.roc_auc), (Some(1.0), Some(0.0)));
        assert_eq!((judged.decisions(), judged.frauds(), now.precision), (2, 1, Some(0.0)));
    }

    #[test]
    fn the_last_label_of_a_transaction_counts() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("labels.csv");
        std::fs::write(&file, "tx,fraud,amount\n7,0,10\nx-8,1,2.5\n7,1,20\n").unwrap();
        let columns =
            LabelColumns { transaction_id: "tx".into(), label: "fraud".into(), amount: Some("amount".into()) };
        let labels = Labels::read(&file.display().to_string(), &columns).unwrap();
        assert_eq!(labels.of("7"), Some(KnownLabel { fraud: 1.0, amount: 20.0 }));
        assert_eq!(labels.of("x-8"), Some(KnownLabel { fraud: 1.0, amount: 2.5 }));
        assert_eq!((labels.of("9"), labels.of("")), (None, None));
        let none = LabelColumns { amount: None, ..columns };
        assert_eq!(Labels::read(&file.display().to_string(), &none).unwrap().of("7").unwrap().amount, 0.0);
    }
}
