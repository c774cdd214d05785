//! Figures of a page that are kept for a while, so that a log of millions of decisions is not counted for each look at the page.

use super::error::MonitoringError;
use serin_analysis::performance::Performance;
use std::sync::{Arc, Mutex, PoisonError};

/// Figures are kept so many times as long as counting them took: who looks again and again costs a twentieth of a core at most, and
/// where counting takes a moment, so does keeping.
const KEPT_FOR: i64 = 20;
/// Greatest number of pages whose figures are kept.
const MOST: usize = 32;

/// Figures of a page: one list by version, one by day, each with the names of its groups.
#[derive(Debug)]
pub(crate) struct PageFigures {
    /// Figures of each version, under its number.
    pub(crate) versions: Vec<(String, Performance)>,
    /// Figures of each day (UTC) and version, under `2026-11-26 version 3`.
    pub(crate) days: Vec<(String, Performance)>,
    /// Time at which counting began, epoch milliseconds.
    pub(crate) counted_ms: i64,
    /// Time that counting took, milliseconds.
    pub(crate) took_ms: i64,
}

impl PageFigures {
    /// Returns whether the figures may still be shown at `now_ms`, epoch milliseconds; never at a time before them.
    fn is_fresh(&self, now_ms: i64) -> bool {
        (0..=self.took_ms.saturating_mul(KEPT_FOR + 1)).contains(&(now_ms - self.counted_ms)) && self.took_ms > 0
    }
}

/// Model and number of days of a page.
type PageKey = (String, i64);

/// A page with its figures.
type KeptPage = (PageKey, Arc<PageFigures>);

/// Pages whose figures were counted last; those of the oldest go first.
#[derive(Debug, Clone, Default)]
pub struct KeptFigures {
    pages: Arc<Mutex<Vec<KeptPage>>>,
    /// Held while figures are counted: one log is in memory at a time, and who waits finds them counted.
    counting: Arc<tokio::sync::Mutex<()>>,
}

impl KeptFigures {
    fn find(&self, page: &PageKey, now_ms: i64) -> Option<Arc<PageFigures>> {
        let pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        let found = pages.iter().find(|(key, found)| key == page && found.is_fresh(now_ms));
        found.map(|(_, found)| Arc::clone(found))
    }

    /// Returns the figures of a page, or counts and keeps them; `clock` shows epoch milliseconds.
    pub(crate) async fn of<C>(
        &self,
        page: PageKey,
        clock: impl Fn() -> i64,
        count: impl FnOnce() -> C,
    ) -> Result<Arc<PageFigures>, MonitoringError>
    where
        C: Future<Output = Result<[Vec<(String, Performance)>; 2], MonitoringError>>,
    {
        if let Some(kept) = self.find(&page, clock()) {
            return Ok(kept);
        }
        let _one_at_a_time = self.counting.lock().await;
        if let Some(kept) = self.find(&page, clock()) {
            return Ok(kept);
        }
        let counted_ms = clock();
        let [versions, days] = count().await?;
        let counted = Arc::new(PageFigures { versions, days, counted_ms, took_ms: clock() - counted_ms });
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        pages.retain(|(key, _)| *key != page);
        if pages.len() == MOST {
            pages.remove(0);
        }
        pages.push((page, Arc::clone(&counted)));
        Ok(counted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn page(model: &str) -> PageKey {
        (model.to_owned(), 90)
    }

    /// Looks at a page at a time; counting moves the clock by `takes` milliseconds. Returns when the figures shown were counted.
    async fn look(kept: &KeptFigures, model: &str, at_ms: i64, takes: i64) -> i64 {
        let now = Cell::new(at_ms);
        let count = async || {
            now.set(at_ms + takes);
            Ok([Vec::new(), Vec::new()])
        };
        kept.of(page(model), || now.get(), count).await.unwrap().counted_ms
    }

    #[tokio::test]
    async fn figures_are_kept_twenty_times_as_long_as_they_took() {
        let kept = KeptFigures::default();
        assert_eq!(look(&kept, "fraud", 1000, 100).await, 1000);
        assert_eq!(look(&kept, "fraud", 3100, 100).await, 1000, "twenty times a hundred after they were counted");
        assert_eq!(look(&kept, "other", 3100, 100).await, 3100, "another model is another page");
        assert_eq!(look(&kept, "fraud", 3101, 100).await, 3101);
        // Where counting takes no time, nothing is old.
        assert_eq!(look(&kept, "small", 5000, 0).await, 5000);
        assert_eq!(look(&kept, "small", 5000, 0).await, 5000);
        assert_eq!(look(&kept, "small", 5001, 0).await, 5001);
    }

    #[tokio::test]
    async fn a_clock_that_was_set_back_and_a_failure_keep_nothing() {
        let kept = KeptFigures::default();
        assert_eq!(look(&kept, "fraud", 10_000, 100).await, 10_000);
        assert_eq!(look(&kept, "fraud", 9000, 100).await, 9000);
        let fails = async || Err(MonitoringError::Interrupted("counting"));
        assert!(kept.of(page("away"), || 1, fails).await.is_err());
        assert_eq!(look(&kept, "away", 1, 100).await, 1);
    }

    #[tokio::test]
    async fn the_oldest_page_makes_room() {
        let kept = KeptFigures::default();
        for model in 0..=MOST {
            look(&kept, &model.to_string(), 1000, 100).await;
        }
        assert_eq!(kept.pages.lock().unwrap().len(), MOST);
        assert_eq!(look(&kept, "0", 1200, 100).await, 1200, "it was counted again");
        assert_eq!(look(&kept, "32", 1200, 100).await, 1000);
    }
}
