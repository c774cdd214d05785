//! Champion and challenger on the same rows.

use serin_analysis::performance::{Comparison, PairedRow, compare};
use serin_dataset::Dataset;
use serin_models::LoadedModel;
use serin_scoring::{Translation, TranslationError};
use std::time::Instant;

/// Number of bootstrap samples that the intervals come from.
const RESAMPLES: usize = 1000;
/// Rows whose scoring is timed at once.
const TIMED: usize = 512;

/// Scores of one model on the rows, and what it took.
struct Scored {
    /// Scores, 0 to 1, one a row.
    scores: Vec<f32>,
    /// Score from which a row is an alert.
    threshold: f32,
    /// Microseconds a row of the fastest block of [`TIMED`] rows, as what else runs on the machine is not the model's doing.
    microseconds: f64,
}

fn score(model: &LoadedModel, rows: &Dataset) -> Result<Scored, TranslationError> {
    let package = &model.package;
    let translation = Translation::between(&rows.signature, &package.signature)?;
    let mut features = Vec::with_capacity(rows.rows() * translation.width());
    for row in rows.features.chunks_exact(rows.width()) {
        translation.append(row, &mut features);
    }
    let mut scores = vec![0.0; rows.rows()];
    let mut fastest = f64::INFINITY;
    for (features, scores) in features.chunks(TIMED * translation.width().max(1)).zip(scores.chunks_mut(TIMED)) {
        let start = Instant::now();
        package.forest.margins_into(features, scores);
        package.forest.scores_from_margins(scores);
        fastest = fastest.min(start.elapsed().as_secs_f64() * 1e6 / scores.len() as f64);
    }
    let microseconds = if fastest.is_finite() { fastest } else { 0.0 };
    Ok(Scored { scores, threshold: package.threshold, microseconds })
}

/// Compares champion and challenger on the same rows; also returns the microseconds a row of each. There is no comparison
/// where the rows do not allow one.
pub(super) fn judge(
    [champion, challenger]: [&LoadedModel; 2],
    rows: &Dataset,
    review_cost: f64,
) -> Result<(Option<Comparison>, [f64; 2]), TranslationError> {
    let [a, b] = [score(champion, rows)?, score(challenger, rows)?];
    let paired: Vec<PairedRow> = (0..rows.rows())
        .map(|row| PairedRow {
            fraud: rows.labels[row] == 1.0,
            amount: rows.amounts.get(row).copied().unwrap_or(0.0),
            scores: [a.scores[row], b.scores[row]],
            alerts: [a.scores[row] >= a.threshold, b.scores[row] >= b.threshold],
            weight: rows.weights.get(row).copied().map_or(1.0, f64::from),
        })
        .collect();
    Ok((compare(&paired, review_cost, RESAMPLES, 0), [a.microseconds, b.microseconds]))
}
