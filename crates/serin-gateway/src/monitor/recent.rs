//! The last rows that each model answered, as they were: for tests that need values, not counts.

use serin_models::LoadedModel;
use serin_scoring::{EncodedRow, EncodedRows};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// Rows that are kept of a model.
const ROWS: usize = 50_000;
/// Models whose rows are kept; those that answered longest ago go first.
const MODELS: usize = 4;

/// Rows of one model in a ring: memory grows with what comes, up to [`ROWS`].
#[derive(Debug)]
struct Ring {
    model: Arc<LoadedModel>,
    /// Row-major: the columns in the model's order, then the score.
    values: Vec<f32>,
    times: Vec<i64>,
    /// Row that is overwritten next.
    next: usize,
}

/// A copy of one model's rows, the order lost.
#[derive(Debug)]
pub(crate) struct Last {
    pub(crate) model: Arc<LoadedModel>,
    /// Row-major: the columns in the model's order, then the score.
    pub(crate) values: Vec<f32>,
    /// First and last event, epoch milliseconds.
    pub(crate) between_ms: (i64, i64),
}

/// Rows of every model that answered lately.
#[derive(Debug, Default)]
pub(crate) struct Recent(Mutex<VecDeque<Ring>>);

impl Recent {
    /// Takes rows of a model in the order in which they came.
    pub(crate) fn push(&self, model: &Arc<LoadedModel>, rows: &EncodedRows, scores: &[f32], times: &[i64]) {
        let mut rings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = rings.iter().position(|ring| ring.model.deciding.sha256 == model.deciding.sha256);
        let mut ring = place.and_then(|place| rings.remove(place)).unwrap_or_else(|| Ring {
            model: Arc::clone(model),
            values: Vec::new(),
            times: Vec::new(),
            next: 0,
        });
        let width = model.deciding.width;
        for ((features, score), time) in rows.rows().map(EncodedRow::values).zip(scores).zip(times) {
            if ring.times.len() < ROWS {
                ring.values.extend_from_slice(features);
                ring.values.push(*score);
                ring.times.push(*time);
                continue;
            }
            let row = &mut ring.values[ring.next * (width + 1)..(ring.next + 1) * (width + 1)];
            row[..width].copy_from_slice(features);
            row[width] = *score;
            ring.times[ring.next] = *time;
            ring.next = (ring.next + 1) % ROWS;
        }
        // The newest version of one name is at the end.
        rings.push_back(ring);
        if rings.len() > MODELS {
            rings.pop_front();
        }
    }

    /// Rows of the version of a model that answered last.
    pub(crate) fn of(&self, name: &str) -> Option<Last> {
        let rings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ring = rings.iter().rev().find(|ring| ring.model.name == name)?;
        let between_ms = (*ring.times.iter().min()?, *ring.times.iter().max()?);
        Some(Last { model: Arc::clone(&ring.model), values: ring.values.clone(), between_ms })
    }
}
