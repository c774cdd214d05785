//! ADWIN: notices that the mean of a stream has changed, without being told over which time (Bifet and Gavaldà 2007, with
//! the parameters of River).

use std::collections::VecDeque;

/// Number of buckets of one size that are kept before two are merged.
const MOST: usize = 5;
/// Number of values between two looks for a change.
const CLOCK: u64 = 32;
/// Least number of values on each side of a cut.
const LEAST: u64 = 5;
/// Probability of a false alarm at a look.
const DELTA: f64 = 0.002;

#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    total: f64,
    /// Sum of squared differences from the bucket's mean.
    spread: f64,
}

/// A window that drops its old part when it no longer fits the new one. Memory is logarithmic in its length.
#[derive(Debug, Clone, Default)]
pub struct Adwin {
    /// Row i holds buckets of 2^i values, the oldest first.
    rows: Vec<VecDeque<Bucket>>,
    width: u64,
    total: f64,
    spread: f64,
    ticks: u64,
    changes: u64,
}

impl Adwin {
    /// Takes the next value and returns true if the mean has changed. A value that is not finite is ignored.
    pub fn push(&mut self, value: f64) -> bool {
        if !value.is_finite() {
            return false;
        }
        self.insert(value);
        self.ticks += 1;
        let changed = self.ticks.is_multiple_of(CLOCK) && self.width > 2 * LEAST && self.shrink();
        self.changes += u64::from(changed);
        changed
    }

    /// Mean of the values in the window; NaN while it is empty.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.total / self.width as f64
    }

    /// Number of changes noticed so far.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Number of values in the window.
    #[must_use]
    pub fn width(&self) -> u64 {
        self.width
    }

    fn insert(&mut self, value: f64) {
        if self.width > 0 {
            let away = value - self.mean();
            self.spread += self.width as f64 * away * away / (self.width + 1) as f64;
        }
        self.width += 1;
        self.total += value;
        if self.rows.is_empty() {
            self.rows.push(VecDeque::new());
        }
        self.rows[0].push_back(Bucket { total: value, spread: 0.0 });
        for row in 0.. {
            if self.rows[row].len() <= MOST {
                break;
            }
            let (Some(a), Some(b)) = (self.rows[row].pop_front(), self.rows[row].pop_front()) else { break };
            let size = (1u64 << row) as f64;
            let away = a.total / size - b.total / size;
            let merged = Bucket {
                total: a.total + b.total,
                spread: a.spread + b.spread + size * size * away * away / (2.0 * size),
            };
            if self.rows.len() == row + 1 {
                self.rows.push(VecDeque::new());
            }
            self.rows[row + 1].push_back(merged);
        }
    }

    fn drop_oldest(&mut self) {
        let Some(row) = self.rows.iter().rposition(|row| !row.is_empty()) else { return };
        let Some(oldest) = self.rows[row].pop_front() else { return };
        let size = 1u64 << row;
        self.width -= size;
        self.total -= oldest.total;
        if self.width > 0 {
            let away = oldest.total / size as f64 - self.mean();
            let between = size as f64 * self.width as f64 * away * away / (size + self.width) as f64;
            self.spread = (self.spread - oldest.spread - between).max(0.0);
        } else {
            (self.total, self.spread) = (0.0, 0.0);
        }
        while self.rows.last().is_some_and(VecDeque::is_empty) {
            self.rows.pop();
        }
    }

    fn shrink(&mut self) -> bool {
        let mut changed = false;
        while self.has_cut() {
            self.drop_oldest();
            changed = true;
        }
        changed
    }

    /// Returns whether some cut leaves two sides whose means differ by more than chance.
    fn has_cut(&self) -> bool {
        let n = self.width as f64;
        let variance = self.spread / n;
        let limit = (2.0 * n.ln() / DELTA).ln();
        let (mut old, mut total) = (0u64, 0.0);
        for (row, buckets) in self.rows.iter().enumerate().rev() {
            for bucket in buckets {
                old += 1 << row;
                total += bucket.total;
                let new = self.width - old;
                if new < LEAST {
                    return false;
                }
                if old < LEAST {
                    continue;
                }
                let away = total / old as f64 - (self.total - total) / new as f64;
                let m = 1.0 / ((old - LEAST) as f64 + 1.0) + 1.0 / ((new - LEAST) as f64 + 1.0);
                if away.abs() > (2.0 * m * variance * limit).sqrt() + 2.0 / 3.0 * m * limit {
                    return true;
                }
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(i: u64, percent: u64) -> f64 {
        // A full-period generator modulo 100: exactly `percent` in a hundred.
        f64::from(u8::from((i * 37 + (i / 100) * 13) % 100 < percent))
    }

    #[test]
    fn a_change_is_noticed_and_quiet_is_not() {
        let mut adwin = Adwin::default();
        assert!(!(0..20_000).any(|i| adwin.push(rate(i, 5))), "nothing changed");
        assert!(adwin.width() == 20_000 && (adwin.mean() - 0.05).abs() < 1e-9);
        let noticed = (0..2_000).position(|i| adwin.push(rate(i, 30)));
        assert!(noticed.is_some_and(|after| after < 500), "{noticed:?}");
        (0..3_000).for_each(|i| {
            adwin.push(rate(i, 30));
        });
        assert!((adwin.mean() - 0.3).abs() < 0.05, "the old part is gone: {}", adwin.mean());
        assert!(adwin.changes() > 0);
        assert!(!adwin.push(f64::NAN) && Adwin::default().mean().is_nan());
    }
}
