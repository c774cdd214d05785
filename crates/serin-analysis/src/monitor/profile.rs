//! What traffic looked like when the model was made, by season (hour of a working day or of a weekend day), and how much its
//! days differed.

use super::cells::are_values;
use super::{CellCounts, DAY_MS, Edges, Pane, SEASONS, Shares, SparseCounts, jensen_shannon, season, wasserstein};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Different values up to which numbers are compared as categories, as Evidently does with large references.
const FEW: usize = 5;
/// Number of rows from which a day counts as one.
pub(super) const DAY_ROWS: u64 = 200;

/// How two distributions of a column are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distance {
    /// 1-Wasserstein distance over the reference's standard deviation, without a unit.
    Wasserstein,
    /// Jensen-Shannon distance with natural logarithms, 0 to √ln 2.
    JensenShannon,
}

/// Distribution of one column, or of the score, on the reference's rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ColumnReference {
    /// Name of the column, or `score`.
    pub name: String,
    /// Distance by which live values are compared with the reference.
    pub distance: Distance,
    /// Edges of the column's cells.
    pub edges: Edges,
    /// Fraction of the model's total gain that the column has, 0 to 1; 0 for the score.
    pub importance: f64,
    /// True for a category, whose missing values are unknown ones where none was missing in training.
    pub is_category: bool,
    /// Population standard deviation of the whole reference, at least 0.001 (Evidently's floor).
    pub deviation: f64,
    /// Rows of the reference in each season, 0 to 47; all in season 0 where times are unknown.
    seasons: BTreeMap<u8, SparseCounts>,
    /// Distance of each day of the reference from the half of the days that it is not in (early or late), so that what
    /// changes within weeks is in it. Its noise is that of a day's rows.
    pub days: Vec<f64>,
    /// Fraction of missing values on each day, 0 to 1.
    pub missing_days: Vec<f64>,
}

/// Reference of a model: every column, the score and the alert rate, on rows that it was not trained on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MonitorProfile {
    /// Number of the file's layout; one above [`Self::FORMAT`] is refused.
    pub format: u32,
    /// Number of rows in the reference.
    pub rows: u64,
    /// Mean number of rows of a day.
    pub day_rows: f64,
    /// Reference of every column of the model, in the model's order.
    pub columns: Vec<ColumnReference>,
    /// Reference of the scores that the model gave.
    pub score: ColumnReference,
    /// Fraction of the rows that are alerts at the threshold, 0 to 1.
    pub alert_rate: f64,
    /// Fraction of the rows that are alerts on each day, 0 to 1.
    pub alert_days: Vec<f64>,
    /// For each day resampled from the reference's own hours, the largest ratio of a figure to its threshold; empty in
    /// packages of older serins.
    #[serde(default)]
    pub resampled: Vec<f32>,
}

/// One column of [`ReferenceRows`].
#[derive(Debug, Clone, PartialEq)]
pub struct Watched {
    /// Name of the column.
    pub name: String,
    /// Number of levels of a category; none for numbers.
    pub levels: Option<usize>,
    /// Total gain of the column in the model.
    pub gain: f64,
}

/// Rows that the model was not trained on.
#[derive(Debug, Clone, Copy)]
pub struct ReferenceRows<'a> {
    /// The columns, in the model's order.
    pub columns: &'a [Watched],
    /// Values of the columns, row-major, one value for each column in a row; NaN is missing.
    pub features: &'a [f32],
    /// Time of each row, epoch milliseconds; empty where times are unknown, which leaves seasons and days out.
    pub times: &'a [i64],
    /// Score that the model gives each row.
    pub scores: &'a [f32],
    /// Score from which the model alerts, inclusive.
    pub threshold: f32,
}

/// Bytes that are no profile that this serin reads.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// The bytes are no JSON of a profile.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// The layout is of a later serin; here is its number.
    #[error("format {0} is newer than this serin reads ({format})", format = MonitorProfile::FORMAT)]
    Newer(u32),
}

impl MonitorProfile {
    /// Number of the layout that this build writes.
    pub const FORMAT: u32 = 1;

    /// Returns a profile with the same cells and thresholds whose reference is these hours.
    pub(super) fn with_seasons_of(&self, hours: &[&Pane]) -> Self {
        let of = |column: &ColumnReference, counts: &dyn Fn(&Pane) -> &CellCounts| {
            let mut seasons: BTreeMap<u8, CellCounts> = BTreeMap::new();
            for hour in hours {
                let sum = seasons.entry(season(hour.from_ms) as u8).or_insert_with(|| CellCounts::new(&column.edges));
                sum.merge(counts(hour));
            }
            let seasons = seasons.into_iter().map(|(season, counts)| (season, counts.sparse())).collect();
            ColumnReference { seasons, ..column.clone() }
        };
        let columns = self.columns.iter().enumerate();
        Self {
            columns: columns.map(|(place, column)| of(column, &|hour: &Pane| &hour.columns[place])).collect(),
            score: of(&self.score, &|hour| &hour.score),
            ..self.clone()
        }
    }

    /// Returns the factor by which all thresholds are raised, for this many days between two alarms.
    pub(super) fn factor(&self, days_between_alarms: f64) -> f64 {
        factor(&self.resampled, days_between_alarms)
    }

    /// Number of rows that the reference has in hours like those from `from_ms` and before `until_ms` (epoch milliseconds, whole
    /// hours); none where its times are unknown. Working days are taken for five of seven of its days. At most 35 days are
    /// counted.
    pub(super) fn expected_rows(&self, from_ms: i64, until_ms: i64) -> Option<f64> {
        if !self.score.is_timed() || self.day_rows <= 0.0 {
            return None;
        }
        let days = self.rows as f64 / self.day_rows;
        let rows_of = |season: u8| {
            let mut counts = CellCounts::new(&self.score.edges);
            self.score.seasons.get(&season).map_or(0.0, |stored| {
                counts.merge_sparse(stored);
                counts.rows() as f64
            })
        };
        let seasons: Vec<f64> = (0..SEASONS as u8).map(rows_of).collect();
        let hours = (until_ms.saturating_sub(from_ms) / super::HOUR_MS).clamp(0, 24 * 35);
        let expected = (0..hours).map(|hour| {
            let season = season(from_ms + hour * super::HOUR_MS);
            let share = if season < 24 { 5.0 / 7.0 } else { 2.0 / 7.0 };
            seasons[season] / (days * share)
        });
        Some(expected.sum())
    }

    /// Reads the JSON profile that a model package holds.
    ///
    /// # Errors
    /// Returns an error when the bytes are no valid profile, or one of a later format.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ProfileError> {
        let profile: Self = serde_json::from_slice(bytes)?;
        if profile.format > Self::FORMAT {
            return Err(ProfileError::Newer(profile.format));
        }
        Ok(profile)
    }
}

/// Returns the factor, at least 1, by which, for `exceeded` with one value for each resampled day, all thresholds are raised so that one resampled day in the stated number exceeds
/// one.
pub(super) fn factor(exceeded: &[f32], days_between_alarms: f64) -> f64 {
    let mut sorted = exceeded.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    let allowed = (sorted.len() as f64 / days_between_alarms.max(1.0)) as usize;
    sorted.len().checked_sub(allowed + 1).map_or(1.0, |place| f64::from(sorted[place]).max(1.0))
}

impl ColumnReference {
    pub(super) fn of(name: &str, levels: Option<usize>, importance: f64, values: &[f32], times: &[i64]) -> Self {
        let edges = levels.map_or_else(|| Edges::of(values), Edges::of_codes);
        let few = levels.is_some() || edges.values().len() <= FEW;
        let mut seasons: BTreeMap<u8, CellCounts> = BTreeMap::new();
        let mut days: BTreeMap<i64, BTreeMap<u8, CellCounts>> = BTreeMap::new();
        for (row, value) in values.iter().enumerate() {
            let at = times.get(row).copied();
            let season = at.map_or(0, |at| season(at) as u8);
            seasons.entry(season).or_insert_with(|| CellCounts::new(&edges)).add(&edges, *value);
            if let Some(at) = at {
                let day = days.entry(at.div_euclid(DAY_MS)).or_default();
                day.entry(season).or_insert_with(|| CellCounts::new(&edges)).add(&edges, *value);
            }
        }
        let present = values.iter().filter(|value| value.is_finite()).map(|value| f64::from(*value));
        let n = present.clone().count().max(1) as f64;
        let mean = present.clone().sum::<f64>() / n;
        let variance = present.map(|value| (value - mean).powi(2)).sum::<f64>() / n;
        let mut made = Self {
            name: name.to_owned(),
            distance: if few { Distance::JensenShannon } else { Distance::Wasserstein },
            edges,
            importance,
            is_category: levels.is_some(),
            deviation: variance.sqrt().max(0.001),
            seasons: BTreeMap::new(),
            days: Vec::new(),
            missing_days: Vec::new(),
        };
        let rows = |day: &BTreeMap<u8, CellCounts>| day.values().map(CellCounts::rows).sum::<u64>();
        let all: Vec<&BTreeMap<u8, CellCounts>> = days.values().collect();
        let halves = all.split_at(all.len() / 2);
        let sum = |half: &[&BTreeMap<u8, CellCounts>]| {
            let mut sums: BTreeMap<u8, CellCounts> = BTreeMap::new();
            for (season, counts) in half.iter().flat_map(|day| day.iter()) {
                sums.entry(*season).or_insert_with(|| CellCounts::new(&made.edges)).merge(counts);
            }
            sums
        };
        let others = [sum(halves.1), sum(halves.0)];
        for (number, day) in all.iter().enumerate().filter(|(_, day)| rows(day) >= DAY_ROWS) {
            let others = &others[usize::from(number >= halves.0.len())];
            let missing = day.values().map(|counts| counts.missing).sum::<u64>();
            made.missing_days.push(missing as f64 / rows(day) as f64);
            made.days.extend(made.distance_of_a_day(day, others));
        }
        made.seasons = seasons.into_iter().map(|(season, counts)| (season, counts.sparse())).collect();
        made
    }

    /// Returns the distance of a day from other days, hour by hour; none where they have no such hours.
    fn distance_of_a_day(&self, day: &BTreeMap<u8, CellCounts>, others: &BTreeMap<u8, CellCounts>) -> Option<f64> {
        let (mut reference, mut current) = (Vec::new(), CellCounts::new(&self.edges));
        for (season, counts) in day {
            if let Some(shares) = others.get(season).and_then(CellCounts::shares) {
                reference.push((counts.present() as f64, shares));
                current.merge(counts);
            }
        }
        let (low, _) = self.distance(&Shares::mixed(&reference)?, &current.shares()?);
        Some(low)
    }

    /// Returns the lower and upper bound of the distance; they are equal where it is known exactly.
    pub(super) fn distance(&self, reference: &Shares, current: &Shares) -> (f64, f64) {
        match self.distance {
            Distance::Wasserstein => {
                let (low, high) = wasserstein(&self.edges, reference, current);
                (low / self.deviation, high / self.deviation)
            }
            Distance::JensenShannon => {
                let score = jensen_shannon(reference, current);
                // Merged cells can only lower it.
                (score, if are_values(reference, current) { score } else { f64::INFINITY })
            }
        }
    }

    /// Returns the reference with the mix of hours of some rows (`mix` holds rows by season), and the fraction of those rows
    /// whose hours the reference has. A reference without times is returned whole.
    pub(super) fn matched(&self, mix: &[f64; SEASONS]) -> Option<(Shares, f64)> {
        let of = |season: u8| {
            let mut counts = CellCounts::new(&self.edges);
            counts.merge_sparse(self.seasons.get(&season)?);
            counts.shares()
        };
        let all: f64 = mix.iter().sum();
        let parts: Vec<(f64, Shares)> = (0..SEASONS as u8)
            .filter(|s| mix[usize::from(*s)] > 0.0)
            .filter_map(|s| Some((mix[usize::from(s)], of(s)?)))
            .collect();
        let seen: f64 = parts.iter().map(|(weight, _)| weight).sum();
        if self.is_timed() {
            return Some((Shares::mixed(&parts)?, seen / all));
        }
        Some((self.whole().shares()?, 1.0))
    }

    fn is_timed(&self) -> bool {
        !self.missing_days.is_empty()
    }

    /// Returns the fraction of the reference's rows in which the column is missing, 0 to 1; 0 without rows.
    pub(crate) fn missing_share(&self) -> f64 {
        let whole = self.whole();
        if whole.rows() == 0 { 0.0 } else { whole.missing as f64 / whole.rows() as f64 }
    }

    /// Returns a function that gives the fraction of the column's present values up to a given one; none where no value is
    /// present.
    pub(crate) fn cumulative(&self) -> Option<impl Fn(f32) -> f64> {
        let shares = self.whole().shares()?;
        Some(move |value| shares.at_most(&self.edges, value))
    }

    /// Sums the counts of all seasons.
    fn whole(&self) -> CellCounts {
        let mut whole = CellCounts::new(&self.edges);
        self.seasons.values().for_each(|season| whole.merge_sparse(season));
        whole
    }
}
