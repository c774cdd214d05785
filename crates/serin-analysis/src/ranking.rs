//! Rows in the order of their scores, in time that grows with the number of rows alone.

/// Fewest rows for which counting digits is faster than comparing.
const FEW: usize = 2048;
const DIGIT_BITS: u32 = 11;
const DIGITS: u32 = 3;

/// Returns the numbers of the rows by ascending score, as [`f32::total_cmp`] orders -0, 0 and NaN; rows of one score keep their
/// order.
///
/// # Panics
/// With 2³² rows or more.
#[must_use]
pub(crate) fn ascending(scores: &[f32]) -> Vec<u32> {
    by_key(scores, total_order)
}

/// Returns the numbers of the rows by descending score, NaN as the lowest; rows of one score keep their order.
///
/// # Panics
/// With 2³² rows or more.
#[must_use]
pub(crate) fn descending(scores: &[f32]) -> Vec<u32> {
    by_key(scores, |score| !total_order(if score.is_nan() { f32::NEG_INFINITY } else { score }))
}

/// Returns the place of a score in the total order of floats, as the order of integers: all bits turn for the negative ones, the
/// sign for the others.
fn total_order(score: f32) -> u32 {
    let bits = score.to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

/// Sorts scores ascending, as [`f32::total_cmp`] orders them.
pub(crate) fn sort(scores: &mut [f32]) {
    if scores.len() < FEW {
        scores.sort_unstable_by(f32::total_cmp);
        return;
    }
    let mut keys: Vec<u32> = scores.iter().map(|score| total_order(*score)).collect();
    let mut moved = vec![0; keys.len()];
    let mut counts = [[0_usize; 1 << DIGIT_BITS]; DIGITS as usize];
    let digit_of = |key: u32, digit: usize| (key >> (digit as u32 * DIGIT_BITS)) as usize & ((1 << DIGIT_BITS) - 1);
    for key in &keys {
        counts.iter_mut().enumerate().for_each(|(digit, counts)| counts[digit_of(*key, digit)] += 1);
    }
    for (digit, places) in counts.iter_mut().enumerate() {
        // Scores of 0 to 1 share most of their highest digits; where they share all, nothing moves.
        if places.contains(&keys.len()) {
            continue;
        }
        let mut next = 0;
        for place in places.iter_mut() {
            next += std::mem::replace(place, next);
        }
        for key in &keys {
            let place = &mut places[digit_of(*key, digit)];
            moved[*place] = *key;
            *place += 1;
        }
        std::mem::swap(&mut keys, &mut moved);
    }
    scores.iter_mut().zip(keys).for_each(|(score, key)| *score = of_total_order(key));
}

/// Returns the score at a place of [`total_order`].
fn of_total_order(key: u32) -> f32 {
    f32::from_bits(if key >> 31 == 1 { key & !(1 << 31) } else { !key })
}

/// Returns two ascending lists as one. Runs of one list that lie between two scores of the other are copied as they are.
pub(crate) fn merged(mut a: Vec<f32>, b: &[f32]) -> Vec<f32> {
    let Some(&least) = b.first() else { return a };
    let below = a.partition_point(|score| *score <= least);
    if below == a.len() {
        a.extend_from_slice(b);
        return a;
    }
    let mut all = Vec::with_capacity(a.len() + b.len());
    let (mut left, mut right) = (&a[..], b);
    while let (Some(one), Some(other)) = (left.first(), right.first()) {
        let (run, rest) =
            if one <= other { left.split_at(run(left, *other)) } else { right.split_at(run(right, *one)) };
        all.extend_from_slice(run);
        *(if one <= other { &mut left } else { &mut right }) = rest;
    }
    all.extend_from_slice(left);
    all.extend_from_slice(right);
    all
}

/// Number of the first of ascending scores that are at most `score`; fast where they are few.
fn run(scores: &[f32], score: f32) -> usize {
    let mut step = 1;
    while step < scores.len() && scores[step] <= score {
        step *= 2;
    }
    let start = step / 2;
    start + scores[start..step.min(scores.len())].partition_point(|found| *found <= score)
}

fn by_key(scores: &[f32], key: impl Fn(f32) -> u32) -> Vec<u32> {
    assert!(u32::try_from(scores.len()).is_ok(), "{} rows are more than can be numbered", scores.len());
    let count = scores.len() as u32;
    let mut order: Vec<u32> = (0..count).collect();
    if scores.len() < FEW {
        order.sort_by_key(|row| key(scores[*row as usize]));
        return order;
    }
    let mut pairs: Vec<(u32, u32)> = scores.iter().zip(0..count).map(|(score, row)| (key(*score), row)).collect();
    let mut moved = vec![(0, 0); pairs.len()];
    for digit in 0..DIGITS {
        let of = |key: u32| (key >> (digit * DIGIT_BITS)) as usize & ((1 << DIGIT_BITS) - 1);
        let mut places = [0_usize; 1 << DIGIT_BITS];
        pairs.iter().for_each(|(key, _)| places[of(*key)] += 1);
        let mut next = 0;
        for place in &mut places {
            next += std::mem::replace(place, next);
        }
        for pair in &pairs {
            let place = &mut places[of(pair.0)];
            moved[*place] = *pair;
            *place += 1;
        }
        std::mem::swap(&mut pairs, &mut moved);
    }
    order.iter_mut().zip(pairs).for_each(|(place, (_, row))| *place = row);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_ordered_as_a_stable_sort_by_comparing_orders_them() {
        let odd = [f32::NAN, -f32::NAN, 0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, 1.0, f32::MIN_POSITIVE, -1.5];
        let mut state = 1_u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        for count in [0, 1, 2, FEW - 1, FEW, 3 * FEW] {
            let scores: Vec<f32> = (0..count)
                .map(|_| match random(4) {
                    0 => odd[random(odd.len() as u64) as usize],
                    1 => random(50) as f32 / 50.0,
                    _ => f32::from_bits(random(1 << 31) as u32 * 2 + random(2) as u32),
                })
                .collect();
            let rows = || (0..count as u32).collect::<Vec<u32>>();
            let (mut up, mut down) = (rows(), rows());
            let score = |row: &u32| scores[*row as usize];
            up.sort_by(|a, b| score(a).total_cmp(&score(b)));
            let lowest = |row: &u32| if score(row).is_nan() { f32::NEG_INFINITY } else { score(row) };
            down.sort_by(|a, b| lowest(b).total_cmp(&lowest(a)));
            let sorted: Vec<u32> = up.iter().map(|row| score(row).to_bits()).collect();
            assert_eq!((ascending(&scores), descending(&scores)), (up, down), "{count} rows");
            let mut found = scores.clone();
            sort(&mut found);
            assert_eq!(found.iter().map(|score| score.to_bits()).collect::<Vec<_>>(), sorted, "{count} rows");
            let mut numbers: Vec<f32> =
                scores.iter().copied().filter(|score| !score.is_nan()).map(|s| s + 0.0).collect();
            for share in [0, 1, 10, 50, 100] {
                let (mut a, mut b) = (Vec::new(), Vec::new());
                numbers.iter().for_each(|score| (if random(100) < share { &mut a } else { &mut b }).push(*score));
                sort(&mut a);
                sort(&mut b);
                sort(&mut numbers);
                assert_eq!(merged(a, &b), numbers, "{count} rows, {share} %");
            }
        }
    }
}
