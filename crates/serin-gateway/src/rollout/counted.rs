//! Which transactions have counted in a rollout: a set that forgets, so that its memory has a bound.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Parts of the set, each with a lock of its own, so that threads that answer seldom meet.
const PARTS: usize = 64;
/// Keys of one generation of a part. With two generations the set remembers the last 524,288 keys at least and 1,048,576 at
/// most, in some 20 MB when it is full.
const KEYS: usize = 8_192;

/// What has counted in a rollout, shared by its steps.
pub(crate) type Counted = Arc<CountedKeys>;

/// Set of 64-bit keys that forgets the oldest ones.
#[derive(Debug)]
pub(crate) struct CountedKeys(Vec<Mutex<Generations>>);

/// Keys of one part: those of now, and those of before the last turn.
#[derive(Debug, Default)]
struct Generations {
    now: HashSet<u64>,
    before: HashSet<u64>,
}

impl Default for CountedKeys {
    fn default() -> Self {
        Self((0..PARTS).map(|_| Mutex::default()).collect())
    }
}

impl CountedKeys {
    /// Adds a key, which must be uniform over 64 bits; true if it was not there, or has been forgotten.
    pub(crate) fn is_first(&self, key: u64) -> bool {
        let part = &self.0[(key >> 32) as usize % PARTS];
        let mut keys = part.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.before.contains(&key) || !keys.now.insert(key) {
            return false;
        }
        if keys.now.len() >= KEYS {
            keys.before = std::mem::take(&mut keys.now);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys as a hash makes them.
    fn keys(count: u64) -> impl Iterator<Item = u64> {
        (1..=count).map(|number| {
            number.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31).wrapping_mul(0xBF58_476D_1CE4_E5B9)
        })
    }

    #[test]
    fn a_key_counts_once_and_the_set_stays_bounded() {
        let counted = CountedKeys::default();
        assert!(keys(100_000).all(|key| counted.is_first(key)));
        assert!(keys(100_000).all(|key| !counted.is_first(key)));
        let most = (2 * PARTS * KEYS) as u64;
        keys(2 * most).skip(100_000).for_each(|key| {
            counted.is_first(key);
        });
        let kept: usize =
            counted.0.iter().map(|part| part.lock().map_or(0, |keys| keys.now.len() + keys.before.len())).sum();
        assert!(kept as u64 <= most, "{kept}");
        assert!(counted.is_first(keys(1).next().unwrap_or_default()), "the first one is forgotten");
        let last: Vec<u64> = keys(2 * most).skip((2 * most - 100_000) as usize).collect();
        assert!(last.iter().all(|key| !counted.is_first(*key)), "the last ones are not");
    }
}
