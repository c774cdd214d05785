//! Labels beside logged decisions: which frauds each of two models would have caught, and what the missed ones cost.

use anyhow::Context;
use anyhow::bail;
use serde_json::{Value, json};
use serin_analysis::classification::{average_precision, roc_auc, steps};
use serin_dataset::{Roles, keys_of, read};
use std::collections::HashMap;

/// What is known of a transaction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Label {
    fraud: f32,
    amount: f64,
}

/// Labels by transaction id; of several for one id the last counts.
#[derive(Debug, Default)]
pub(crate) struct Labels(HashMap<u64, Label>);

impl Labels {
    /// Reads `FILE[:ID,LABEL[,AMOUNT]]`: CSV or Parquet, columns `transaction_id` and `label` where none is named.
    pub(crate) fn read(argument: &str) -> anyhow::Result<Self> {
        let (file, columns) = argument.rsplit_once(':').unwrap_or((argument, "transaction_id,label"));
        let columns: Vec<&str> = columns.split(',').collect();
        let (id, label, amount) = match columns[..] {
            [id, label] => (id, label, None),
            [id, label, amount] => (id, label, Some(amount)),
            _ => bail!("--labels {argument}: write FILE or FILE:ID,LABEL or FILE:ID,LABEL,AMOUNT"),
        };
        let roles = Roles {
            label: label.to_owned(),
            entity: Some(id.to_owned()),
            amount: amount.map(str::to_owned),
            features: Some(Vec::new()),
            ..Roles::default()
        };
        let found = read(file, &roles, &mut |_, _, _| {})
            .with_context(|| format!("--labels {argument} (FILE:ID,LABEL,AMOUNT names its columns)"))?;
        let amounts = found.amounts.iter().copied().chain(std::iter::repeat(0.0));
        let labels = found.labels.iter().zip(amounts).map(|(fraud, amount)| Label { fraud: *fraud, amount });
        Ok(Self(found.entities.iter().copied().zip(labels).collect()))
    }

    pub(crate) fn of(&self, transaction_id: &str) -> Option<Label> {
        if self.0.is_empty() || transaction_id.is_empty() {
            return None;
        }
        keys_of(transaction_id).find_map(|key| self.0.get(&key)).copied()
    }
}

/// One side of the comparison.
#[derive(Debug, Default)]
struct Side {
    scores: Vec<f32>,
    alerts: u64,
    caught: u64,
    missed_amount: f64,
}

/// Labelled decisions, as they were made and as the other model makes them.
#[derive(Debug, Default)]
pub(crate) struct Labelled {
    labels: Vec<f32>,
    sides: [Side; 2],
}

impl Labelled {
    /// `sides` are score and action, logged and now.
    pub(crate) fn add(&mut self, label: Label, sides: [(f32, bool); 2]) {
        self.labels.push(label.fraud);
        for (side, (score, alert)) in self.sides.iter_mut().zip(sides) {
            side.scores.push(score);
            side.alerts += u64::from(alert);
            if label.fraud == 1.0 && alert {
                side.caught += 1;
            } else if label.fraud == 1.0 {
                side.missed_amount += label.amount;
            }
        }
    }

    pub(crate) fn json(&self) -> Value {
        let frauds = self.labels.iter().filter(|label| **label == 1.0).count();
        let [logged, now] = self.sides.each_ref().map(|side| {
            let steps = steps(&side.scores, &self.labels, &[]);
            let share = |part: u64, of: u64| if of == 0 { Value::Null } else { json!(part as f64 / of as f64) };
            // One class alone has no curve.
            let curve = |value: f64| if value.is_nan() { Value::Null } else { json!(value) };
            json!({
                "average_precision": curve(average_precision(&steps)), "roc_auc": curve(roc_auc(&steps)),
                "precision": share(side.caught, side.alerts), "recall": share(side.caught, frauds as u64),
                "alerts": side.alerts, "caught": side.caught, "missed_amount": side.missed_amount,
            })
        });
        json!({ "decisions": self.labels.len(), "frauds": frauds, "logged": logged, "now": now })
    }

    /// As a table; none where nothing is labelled.
    pub(crate) fn table(&self) -> Option<String> {
        let shown = self.json();
        let number =
            |value: &Value, digits: usize| value.as_f64().map_or("—".to_owned(), |n| format!("{n:.digits$}"));
        let row = |name: &str, key: &str, digits| {
            let [logged, now] = ["logged", "now"].map(|side| number(&shown[side][key], digits));
            format!("    {name:<22}{logged:>12}{now:>12}\n")
        };
        (!self.labels.is_empty()).then(|| {
            format!(
                "  labelled                {} decisions, {} frauds     logged         now\n{}{}{}{}{}",
                shown["decisions"],
                shown["frauds"],
                row("average precision", "average_precision", 4),
                row("precision", "precision", 4),
                row("recall", "recall", 4),
                row("frauds caught", "caught", 0),
                row("amount missed", "missed_amount", 2),
            )
        })
    }
}
