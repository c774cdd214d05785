//! First step: what a model says of each row.

use super::{DecisionRequest, RequestContext};
use crate::fallback::ModelRole;
use serin_scoring::{EncodedRows, ScoringPackage};
use std::time::{Duration, Instant};

/// Rows scored between two looks at the clock: some 200 µs.
const BETWEEN_LOOKS: usize = 512;
/// Rows between two looks while a version is released, whose speed nobody knows yet.
const BETWEEN_LOOKS_OF_A_RELEASE: usize = 64;

/// Scores of one model for rows, and how long they took.
#[derive(Debug)]
pub(super) struct Scored {
    /// One entry for each row; NaN where the model has said nothing.
    scores: Vec<f32>,
    /// Rows that were scored in time: the first ones. The deadline was over before the others.
    in_time: usize,
    /// Moment at which scoring began; known where something is timed.
    began: Option<Instant>,
    /// Time that the first row took, scored alone; zero unless it was asked for.
    pub(super) first_row: Duration,
    /// True if the model itself has used up the time that the request had left when its scoring began.
    pub(super) is_late_by_itself: bool,
}

impl Scored {
    /// No row is scored: a model whose columns alone are used.
    fn nothing(rows: usize) -> Self {
        let scores = vec![f32::NAN; rows];
        Self { scores, in_time: rows, began: None, first_row: Duration::ZERO, is_late_by_itself: false }
    }

    /// Moment at which scoring began, where it was timed.
    pub(super) fn began(&self) -> Option<Instant> {
        self.began
    }

    /// Score of a row; none where it is not finite, or did not come in time.
    pub(super) fn score(&self, row: usize) -> Option<f32> {
        self.scores.get(row).copied().filter(|score| !score.is_nan())
    }

    /// One score for each row, NaN where there is none.
    pub(super) fn scores(&self) -> &[f32] {
        &self.scores
    }

    /// Whether the deadline was over before a row had its score.
    pub(super) fn is_late(&self, row: usize) -> bool {
        row >= self.in_time
    }
}

/// Scores the rows of a request with the model that answers. Where `timed`, the first row is scored alone and timed.
pub(super) fn score(request: &DecisionRequest<'_>, timed: bool) -> Scored {
    match request.answering.role {
        ModelRole::ColumnsOnly => Scored::nothing(request.rows.len()),
        ModelRole::Live | ModelRole::LastGood => {
            score_rows(&request.answering.model.package, request.rows, request.timing.context, timed, None)
        }
    }
}

/// Scores rows with a model of their signature until the request's time is over. A score that came after it is none: the
/// rows scored since the look before are dropped. Where `timed`, the first row is scored alone, so that a row of a batch is
/// timed as the row of a single request is: the others are slow together and would be no independent measurements.
///
/// `since` is the moment at which scoring of the request began, where another model has scored it before: what the request
/// had left then is what this model may use up, and more is a miss of its own.
pub(super) fn score_rows(
    package: &ScoringPackage,
    rows: &EncodedRows,
    context: RequestContext,
    timed: bool,
    since: Option<Instant>,
) -> Scored {
    let began = (timed || context.due.is_some()).then(Instant::now);
    let elapsed = || began.map_or(Duration::ZERO, |began| began.elapsed());
    let mut scored = Scored { scores: vec![f32::NAN; rows.len()], in_time: 0, began, ..Scored::nothing(0) };
    let mut is_over = context.is_over();
    while scored.in_time < rows.len() && !is_over {
        let most = match (timed, scored.in_time) {
            (true, 0) => 1,
            (true, _) => BETWEEN_LOOKS_OF_A_RELEASE,
            (false, _) => BETWEEN_LOOKS,
        };
        let first = scored.in_time;
        let end = (first + most).min(rows.len());
        package.scores_into(rows, first, &mut scored.scores[first..end]);
        is_over = context.is_over();
        if is_over {
            // What comes too late is nobody's word.
            scored.scores[first..end].fill(f32::NAN);
        } else {
            scored.in_time = end;
        }
        if first == 0 && timed {
            scored.first_row = elapsed();
        }
    }
    scored.is_late_by_itself = match (context.due, since.or(began)) {
        (Some(due), Some(since)) => elapsed() >= due.saturating_duration_since(since),
        _ => false,
    };
    scored
}

#[cfg(test)]
mod tests {
    use super::*;
    use serin_models::LoadedModel;
    use serin_scoring::ColumnValue;
    use serin_tracking::ResolvedModel;

    fn model() -> LoadedModel {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../serin-scoring/tests/fixtures/model.ubj").into();
        LoadedModel::load(&ResolvedModel { name: None, version: None, path }, 0).expect("the fixture loads")
    }

    fn rows(model: &LoadedModel, count: usize) -> EncodedRows {
        let mut encoder = model.package.encoder(count);
        for cell in 0..count * model.deciding.width {
            encoder.push(ColumnValue::Number((cell % 97) as f64)).expect("a number");
        }
        encoder.finish()
    }

    #[test]
    fn a_row_has_the_same_bits_alone_and_in_a_batch_of_any_length() {
        let model = model();
        let rows = rows(&model, 1200);
        let context = RequestContext::default();
        let plain = score_rows(&model.package, &rows, context, false, None);
        let timed = score_rows(&model.package, &rows, context, true, None);
        let bits = |scored: &Scored| scored.scores().iter().map(|score| score.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&plain), bits(&timed));
        for (row, encoded) in rows.rows().enumerate() {
            assert_eq!(plain.score(row), model.package.score(encoded), "row {row}");
        }
        assert!(!plain.is_late(1199) && !timed.is_late_by_itself);
    }

    // R5: whose fault a late row is.
    #[test]
    fn a_row_is_late_by_its_own_model_or_by_the_one_before() {
        let model = model();
        let rows = rows(&model, 3);
        let due = Instant::now();
        let context = RequestContext { due: Some(due), matched: false };
        let own = score_rows(&model.package, &rows, context, true, None);
        assert!((0..3).all(|row| own.is_late(row) && own.score(row).is_none()));
        assert!(own.is_late_by_itself, "nothing was left when it began");
        // A minute was left when the model before it began, which has used it up.
        let since = due.checked_sub(Duration::from_secs(60));
        let other = score_rows(&model.package, &rows, context, true, since);
        assert!(other.is_late(0) && !other.is_late_by_itself);
        let none =
            score_rows(&model.package, &EncodedRows::clone(&model.package.encoder(0).finish()), context, true, None);
        assert!(none.score(0).is_none());
    }
}
