//! Training and test rows. In time, because tomorrow's frauds must not teach yesterday's model.

use crate::Dataset;
use crate::random::Random;
use std::collections::HashSet;

const DAY_MS: i64 = 86_400_000;

/// Row numbers of a split, each list ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// Numbers of the rows to train on.
    pub train: Vec<usize>,
    /// Numbers of the rows to evaluate on.
    pub test: Vec<usize>,
}

/// Error that says why a split is impossible.
#[derive(Debug, thiserror::Error)]
pub enum SplitError {
    /// No time column was read.
    #[error("a time split needs a time column: name it with --time, or ask for --random-split")]
    NoTime,
    /// A side has no rows.
    #[error("the {0} window {1} holds no rows; the data runs from {2}")]
    Empty(&'static str, String, String),
}

/// Train window, label delay, test window, as the Fraud Detection Handbook cuts them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeSplit {
    /// Start of the training window, epoch milliseconds.
    pub train_from_ms: i64,
    /// Length of the training window, days.
    pub train_days: u32,
    /// Days until labels are known; rows in between belong to neither side.
    pub delay_days: u32,
    /// Length of the test window, days.
    pub test_days: u32,
    /// True to drop test rows of entities whose fraud was already known on that day.
    pub drop_known_entities: bool,
}

impl TimeSplit {
    /// The last `test_days`, before them the delay, and everything earlier for training.
    ///
    /// # Errors
    /// Without times.
    pub fn at_the_end(dataset: &Dataset, delay_days: u32, test_days: u32) -> Result<Self, SplitError> {
        let (Some(&first), Some(&last)) = (dataset.times.iter().min(), dataset.times.iter().max()) else {
            return Err(SplitError::NoTime);
        };
        let start = first.div_euclid(DAY_MS) * DAY_MS;
        let days = (last - start).div_euclid(DAY_MS) + 1;
        let train_days = u32::try_from(days - i64::from(delay_days + test_days)).unwrap_or(0);
        Ok(Self { train_from_ms: start, train_days, delay_days, test_days, drop_known_entities: true })
    }

    /// Rows after the training window up to the end of the test window, whatever is known of their cards: what live
    /// traffic will look like to a model that has not seen it.
    #[must_use]
    pub fn after_training(&self, dataset: &Dataset) -> Vec<usize> {
        let from = self.train_from_ms + i64::from(self.train_days) * DAY_MS;
        let until = from + i64::from(self.delay_days + self.test_days) * DAY_MS;
        (0..dataset.rows()).filter(|&row| (from..until).contains(&dataset.times[row])).collect()
    }

    /// Rows of each side.
    ///
    /// # Errors
    /// Without times, or with an empty side.
    pub fn split(&self, dataset: &Dataset) -> Result<Split, SplitError> {
        if dataset.times.is_empty() {
            return Err(SplitError::NoTime);
        }
        let train_end = self.train_from_ms + i64::from(self.train_days) * DAY_MS;
        let test_from = train_end + i64::from(self.delay_days) * DAY_MS;
        let test_end = test_from + i64::from(self.test_days) * DAY_MS;
        let within = |from: i64, to: i64| {
            (0..dataset.rows()).filter(|&row| (from..to).contains(&dataset.times[row])).collect::<Vec<usize>>()
        };
        let train = within(self.train_from_ms, train_end);
        let mut test = within(test_from, test_end);
        if self.drop_known_entities && !dataset.entities.is_empty() {
            test = self.without_known(dataset, test, test_from);
        }
        for (name, rows, from, to) in
            [("training", &train, self.train_from_ms, train_end), ("test", &test, test_from, test_end)]
        {
            if rows.is_empty() {
                let last = dataset.times.iter().max().copied().unwrap_or(0);
                let first = dataset.times.iter().min().copied().unwrap_or(0);
                return Err(SplitError::Empty(name, span(from, to), span(first, last)));
            }
        }
        Ok(Split { train, test })
    }

    /// On test day i (from 0) the frauds up to `delay_days` + 1 days before it are known.
    fn without_known(&self, dataset: &Dataset, test: Vec<usize>, test_from: i64) -> Vec<usize> {
        let mut frauds: Vec<(i64, u64)> = (0..dataset.rows())
            .filter(|&row| dataset.labels[row] == 1.0 && dataset.times[row] >= self.train_from_ms)
            .map(|row| (dataset.times[row], dataset.entities[row]))
            .collect();
        frauds.sort_unstable();
        let mut by_day: Vec<Vec<usize>> = vec![Vec::new(); self.test_days as usize];
        for row in test {
            by_day[((dataset.times[row] - test_from) / DAY_MS) as usize].push(row);
        }
        let mut known = HashSet::new();
        let mut next = 0;
        let mut kept = Vec::new();
        for (day, rows) in (0..).zip(by_day) {
            let known_until = test_from + (day - i64::from(self.delay_days)) * DAY_MS;
            while next < frauds.len() && frauds[next].0 < known_until {
                known.insert(frauds[next].1);
                next += 1;
            }
            kept.extend(rows.into_iter().filter(|&row| !known.contains(&dataset.entities[row])));
        }
        kept.sort_unstable();
        kept
    }
}

fn span(from: i64, to: i64) -> String {
    let date = |ms: i64| {
        jiff::Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |t| t.strftime("%Y-%m-%d").to_string())
    };
    format!("{} to {}", date(from), date(to))
}

/// Rows drawn without regard to time: only for data that has none.
#[must_use]
pub fn random_split(rows: usize, test_share: f64, seed: u64) -> Split {
    let mut random = Random::new(seed, 100, 0);
    let (test, train) = (0..rows).partition(|_| random.unit() < test_share);
    Split { train, test }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serin_scoring::{Column, ColumnKind, Signature};

    fn dataset(rows: &[(i64, u64, f32)]) -> Dataset {
        Dataset {
            signature: Signature {
                columns: vec![Column { name: "x".into(), kind: ColumnKind::Number, nullable: false }],
            },
            features: vec![0.0; rows.len()],
            labels: rows.iter().map(|r| r.2).collect(),
            times: rows.iter().map(|r| r.0 * DAY_MS).collect(),
            entities: rows.iter().map(|r| r.1).collect(),
            amounts: vec![],
            weights: vec![],
        }
    }

    #[test]
    fn a_fraud_is_known_only_after_the_delay() {
        // Card 1 commits fraud on day 0 (training), card 2 on day 1 (in the delay).
        let data =
            dataset(&[(0, 1, 1.0), (0, 9, 0.0), (1, 2, 1.0), (3, 1, 0.0), (3, 2, 0.0), (4, 2, 0.0), (4, 3, 0.0)]);
        let split =
            TimeSplit { train_from_ms: 0, train_days: 1, delay_days: 2, test_days: 2, drop_known_entities: true };
        let split = split.split(&data).expect("both sides have rows");
        assert_eq!(split.train, [0, 1]);
        assert_eq!(split.test, [4, 6], "card 2 is known from day 4 on, card 1 always");
    }

    #[test]
    fn an_empty_window_says_what_there_is() {
        let data = dataset(&[(0, 1, 0.0), (1, 1, 1.0)]);
        let split =
            TimeSplit { train_from_ms: 0, train_days: 1, delay_days: 7, test_days: 7, drop_known_entities: false };
        let error = split.split(&data).expect_err("no test rows").to_string();
        assert!(
            error.contains("test window 1970-01-09 to 1970-01-16") && error.contains("1970-01-01 to 1970-01-02"),
            "{error}"
        );
    }

    #[test]
    fn a_random_split_is_seeded() {
        assert_eq!(random_split(1000, 0.3, 5), random_split(1000, 0.3, 5));
        assert!((250..350).contains(&random_split(1000, 0.3, 5).test.len()));
    }
}
