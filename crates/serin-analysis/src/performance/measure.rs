//! Figures of a tally: sorted scores, of which only those between two labels are looked at one by one.

use super::calibration::{Calibration, Pooling};
use super::tally::{Known, Tally};
use super::{DAY_MS, Estimate, POINTS, Performance, Reliability};
use crate::classification::{Confusion, Step, card_precision, figures_of, likelihood};
use crate::curves::precision_recall;
use crate::ranking;
use std::collections::BTreeMap;

/// Number of bins of the reliability curve.
const BINS: usize = 10;

impl Tally {
    /// Counts what was added. Sums over rows with a label are taken in the order of time, then of decision, as `serin evaluate`
    /// takes them in that of its file; those over rows without one in the order of the scores.
    #[must_use]
    pub fn measured(mut self) -> Performance {
        let counted = self.known.len() + self.genuine.iter().map(Vec::len).sum::<usize>();
        let frauds = self.known.iter().filter(|known| known.fraud).count() as u64;
        let mut measured = Performance {
            decisions: self.decisions,
            matured: self.matured,
            labelled: counted as u64,
            frauds,
            explored: self.known.iter().filter(|known| known.row.explored.is_some()).count() as u64,
            held: self.held,
            alerts: self.alerts,
            metrics: BTreeMap::new(),
            reliability: Vec::new(),
            precision_recall: Vec::new(),
            estimate: None,
        };
        if counted == 0 {
            return measured;
        }
        self.genuine.iter_mut().for_each(|scores| ranking::sort(scores));
        self.known.sort_unstable_by(order);
        let passed = self.genuine[0].len();
        let genuine = ranking::merged(std::mem::take(&mut self.genuine[0]), &self.genuine[1]);
        let ranked = Ranked { genuine: &genuine, known: &self.known };
        let steps = ranked.steps();
        // Which cards come first says nothing of those that were held.
        let has_cards = self.has_cards && measured.explored + measured.held == 0;
        measured.metrics = self.metrics(&ranked, passed, &steps, has_cards);
        measured.metrics.retain(|_, value| !value.is_nan());
        measured.reliability = ranked.reliability();
        if frauds > 0 {
            let curve = precision_recall(&steps);
            let every = curve.len().div_ceil(POINTS - 1);
            let last = curve.len() - 1;
            measured.precision_recall = curve
                .into_iter()
                .enumerate()
                .filter(|(i, _)| i % every == 0 || *i == last)
                .map(|(_, point)| point)
                .collect();
            let calibration = ranked.calibration();
            measured.estimate = Some(self.estimate(genuine, &calibration));
        }
        measured
    }

    fn metrics(
        &self,
        ranked: &Ranked<'_>,
        passed: usize,
        steps: &[Step],
        has_cards: bool,
    ) -> BTreeMap<&'static str, f64> {
        let review_cost = self.rules.review_cost;
        let (passed, alerts) = (passed as f64, self.genuine[1].len() as f64);
        let mut confusion = Confusion { false_positives: alerts, true_negatives: passed, ..Confusion::default() };
        let (mut cost, mut without) = (review_cost * alerts, 0.0);
        let (mut weights, mut frauds) = (passed + alerts, 0.0);
        let Sums { mut scores, mut squares, mut log_loss } = Sums::of(ranked.genuine);
        let mut known: Vec<&Known> = ranked.known.iter().collect();
        known.sort_by_key(|known| (known.row.at_ms, known.row.decision));
        for Known { row, fraud } in known {
            let weight = row.weight();
            confusion.add(row.alert, *fraud, weight);
            let label = f64::from(u8::from(*fraud));
            weights += weight;
            frauds += label * weight;
            scores += f64::from(row.score) * weight;
            squares += (f64::from(row.score) - label).powi(2) * weight;
            log_loss -= likelihood(row.score, *fraud).ln() * weight;
            if row.alert {
                cost += review_cost * weight;
            } else if *fraud {
                cost += row.amount * weight;
            }
            if *fraud {
                without += row.amount * weight;
            }
        }
        let mut found = figures_of(steps, (log_loss / weights, squares / weights), &confusion);
        found.insert("fraud_rate", frauds / weights);
        if frauds > 0.0 {
            found.insert("expected_over_observed_frauds", scores / frauds);
        }
        if has_cards {
            found.insert("card_precision", self.card_precision());
        }
        if self.has_amounts {
            found.insert("cost", cost);
            found.insert("cost_without_model", without);
        }
        found
    }

    fn card_precision(&self) -> f64 {
        let (mut scores, mut labels, mut days, mut cards) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let genuine =
            self.days.iter().flat_map(|(day, top)| top.rows.iter().map(|(card, score)| (*day, *card, *score)));
        let known = self.known.iter().map(|Known { row, fraud }| {
            ((row.at_ms.div_euclid(DAY_MS), row.card, row.score), f32::from(u8::from(*fraud)))
        });
        for ((day, card, score), label) in genuine.map(|row| (row, 0.0)).chain(known) {
            scores.push(score);
            labels.push(label);
            days.push(day);
            cards.push(card);
        }
        card_precision(&scores, &labels, &days, &cards, self.rules.cards)
    }

    fn estimate(mut self, mut genuine: Vec<f32>, calibration: &Calibration) -> Estimate {
        let mut alerts = (self.genuine[1].len() + self.others[1].len()) as f64;
        let mut caught = 0.0;
        for Known { row, .. } in self.known.iter().filter(|known| known.row.alert && !known.row.score.is_nan()) {
            alerts += 1.0;
            caught += calibration.probability(row.score);
        }
        // Where no fraud is expected, scores need no order.
        let least = calibration.least();
        for scores in &mut self.others {
            scores.retain(|score| *score >= least);
            ranking::sort(scores);
        }
        for scores in [&self.genuine[1], &self.others[1]] {
            caught +=
                by_block(scores, calibration).map(|(rows, probability)| rows.len() as f64 * probability).sum::<f64>();
        }
        genuine.drain(..genuine.partition_point(|score| *score < least));
        let mut known: Vec<f32> =
            self.known.iter().map(|known| known.row.score).filter(|score| *score >= least).collect();
        known.reverse();
        let [others, other_alerts] = std::mem::take(&mut self.others);
        let all = ranking::merged(ranking::merged(genuine, &ranking::merged(others, &other_alerts)), &known);
        let frauds: f64 = by_block(&all, calibration).map(|(rows, probability)| rows.len() as f64 * probability).sum();
        let average_precision = expected_average_precision(&all, calibration) / frauds;
        Estimate { frauds, precision: caught / alerts, recall: caught / frauds, average_precision }
    }
}

/// Order of the rows with labels: the highest score first, NaN last, then the earliest. Rows that are equal in it are equal in all.
fn order(a: &Known, b: &Known) -> std::cmp::Ordering {
    let lowest = |known: &Known| if known.row.score.is_nan() { f32::NEG_INFINITY } else { known.row.score };
    let is_nan = |known: &Known| known.row.score.is_nan();
    let rest = |known: &Known| (known.row.at_ms, known.row.decision, known.fraud, known.row.alert, known.row.card);
    let (first, second) = (lowest(b).total_cmp(&lowest(a)).then(is_nan(a).cmp(&is_nan(b))), || rest(a).cmp(&rest(b)));
    let weight = |known: &Known| known.row.weight();
    first.then_with(second).then(a.row.amount.total_cmp(&b.row.amount)).then(weight(a).total_cmp(&weight(b)))
}

/// Sums over scores of genuine rows.
struct Sums {
    scores: f64,
    squares: f64,
    /// Sum of the negative logarithms of the probability that each score gives to "genuine".
    log_loss: f64,
}

impl Sums {
    fn of(genuine: &[f32]) -> Self {
        let mut sums = Self { scores: 0.0, squares: 0.0, log_loss: 0.0 };
        // One logarithm for sixteen: a product of so many factors, none below float64's epsilon, is far from its least number.
        for scores in genuine.chunks(16) {
            let mut product = 1.0;
            for score in scores {
                let value = f64::from(*score);
                sums.scores += value;
                sums.squares += value * value;
                product *= likelihood(*score, false);
            }
            sums.log_loss -= f64::ln(product);
        }
        sums
    }
}

/// Counted rows in the order of their scores.
struct Ranked<'a> {
    /// Scores of genuine rows that count once, ascending, without NaN.
    genuine: &'a [f32],
    /// Other rows by [`order`]: descending.
    known: &'a [Known],
}

impl Ranked<'_> {
    /// Counts at falling thresholds. Genuine rows between two scores with a label are one step: precision falls there and recall
    /// stands, so that no figure is another one than with a step for each.
    fn steps(&self) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::new();
        let (mut true_positives, mut false_positives, mut left) = (0.0, 0.0, self.genuine.len());
        for tied in self.known.chunk_by(|a, b| threshold(a) == threshold(b)) {
            let score = threshold(&tied[0]);
            let above = last_kept(self.genuine, left, |genuine| genuine <= score);
            if above < left {
                false_positives += (left - above) as f64;
                steps.push(Step { threshold: self.genuine[above], true_positives, false_positives });
            }
            left = last_kept(self.genuine, above, |genuine| genuine < score);
            false_positives += (above - left) as f64;
            for Known { row, fraud } in tied {
                *(if *fraud { &mut true_positives } else { &mut false_positives }) += row.weight();
            }
            steps.push(Step { threshold: score, true_positives, false_positives });
        }
        if left > 0 {
            false_positives += left as f64;
            steps.push(Step { threshold: self.genuine[0], true_positives, false_positives });
        }
        steps
    }

    /// Rows with a label whose score is a number.
    fn numbers(&self) -> &[Known] {
        &self.known[..self.known.partition_point(|known| !known.row.score.is_nan())]
    }

    fn calibration(&self) -> Calibration {
        let (mut pooling, mut rest) = (Pooling::default(), self.genuine);
        for tied in self.numbers().chunk_by(|a, b| a.row.score == b.row.score).rev() {
            let score = tied[0].row.score;
            let (below, from) = rest.split_at(rest.partition_point(|genuine| *genuine < score));
            if let Some(least) = below.first() {
                pooling.add_genuine_from(*least, below.len() as f64);
            }
            let (equal, above) = from.split_at(from.partition_point(|genuine| *genuine <= score));
            rest = above;
            if !equal.is_empty() {
                pooling.add(score, equal.len() as f64, 0.0);
            }
            for Known { row, fraud } in tied {
                pooling.add(score, row.weight(), f64::from(u8::from(*fraud)) * row.weight());
            }
        }
        if let Some(least) = rest.first() {
            pooling.add_genuine_from(*least, rest.len() as f64);
        }
        pooling.fitted()
    }

    /// Returns bins of as many rows each, ascending by score; of rows with one score those without a label come first.
    fn reliability(&self) -> Vec<Reliability> {
        let known = self.numbers();
        let count = self.genuine.len() + known.len();
        let bins = BINS.min(count);
        // Counted from the lowest: place of a row with a label among all.
        let labelled = |place: usize| &known[known.len() - 1 - place];
        let place_of = |place: usize| {
            let score = labelled(place).row.score;
            place + self.genuine.partition_point(|genuine| *genuine <= score)
        };
        let split = |rank: usize| {
            let (mut low, mut high) = (0, known.len());
            while low < high {
                let middle = usize::midpoint(low, high);
                if place_of(middle) < rank { low = middle + 1 } else { high = middle }
            }
            (rank - low, low)
        };
        let bin = |number: usize| {
            let (start, end) = (split(number * count / bins), split((number + 1) * count / bins));
            let genuine = &self.genuine[start.0..end.0];
            let (mut all, mut observed) = (genuine.len() as f64, 0.0);
            let mut expected: f64 = genuine.iter().map(|score| f64::from(*score)).sum();
            for Known { row, fraud } in (start.1..end.1).map(labelled) {
                let weight = row.weight();
                all += weight;
                expected += f64::from(row.score) * weight;
                observed += f64::from(u8::from(*fraud)) * weight;
            }
            let rows = (genuine.len() + end.1 - start.1) as u64;
            Reliability { rows, expected: expected / all, observed: observed / all }
        };
        (0..bins).map(bin).collect()
    }
}

/// Score at which a row becomes an alert; that of a row without a number is the lowest.
fn threshold(known: &Known) -> f32 {
    if known.row.score.is_nan() { f32::NEG_INFINITY } else { known.row.score }
}

/// Number of the first of `count` ascending scores that `keeps` holds for; it holds up to some score and for none above. Fast where
/// that is near the end.
fn last_kept(scores: &[f32], count: usize, keeps: impl Fn(f32) -> bool) -> usize {
    let mut step = 1;
    let mut end = count;
    while step <= count && !keeps(scores[count - step]) {
        end = count - step;
        step *= 2;
    }
    let start = count.saturating_sub(step);
    start + scores[start..end].partition_point(|score| keeps(*score))
}

/// Splits ascending scores at the blocks of a calibration, each with the probability of fraud that it means.
fn by_block<'a>(scores: &'a [f32], calibration: &'a Calibration) -> impl DoubleEndedIterator<Item = (&'a [f32], f64)> {
    let blocks = calibration.blocks();
    (0..blocks.len()).map(move |block| {
        let place = |block: usize| match blocks.get(block) {
            // Scores below the first block are in it.
            Some(_) if block == 0 => 0,
            Some((least, _)) => scores.partition_point(|score| score < least),
            None => scores.len(),
        };
        (&scores[place(block)..place(block + 1)], blocks[block].1)
    })
}

/// Sum over the thresholds of expected frauds gained times expected precision; divided by all expected frauds it is the average
/// precision.
fn expected_average_precision(ascending: &[f32], calibration: &Calibration) -> f64 {
    let (mut sum, mut seen, mut hits) = (0.0, 0.0, 0.0);
    for (rows, probability) in by_block(ascending, calibration).rev() {
        // Blocks ascend: below this one, nothing is expected either.
        if probability == 0.0 {
            break;
        }
        let mut end = rows.len();
        while end > 0 {
            // Rows of one score enter together.
            let score = rows[end - 1];
            let mut start = end - 1;
            while start > 0 && rows[start - 1] == score {
                start -= 1;
            }
            let count = (end - start) as f64;
            seen += count;
            hits += count * probability;
            sum += count * probability * hits / seen;
            end = start;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::super::{Explored, Maturity, MeasureRules, Scored};
    use super::*;
    use crate::classification::figures;

    const NOW: i64 = 40 * DAY_MS;

    struct Random(u64);

    impl Random {
        fn below(&mut self, end: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % end
        }

        /// A row of the last 40 days: few or many values of the score, some of them odd; one in `labelled` has a label.
        fn row(&mut self, labelled: u64, explores: bool) -> Scored {
            let score = match self.below(50) {
                0 => f32::NAN,
                1 => -0.0,
                2..20 => self.below(20) as f32 / 20.0,
                _ => self.below(1 << 24) as f32 / (1 << 24) as f32,
            };
            let alert = score >= 0.9;
            let explored = explores && alert;
            Scored {
                at_ms: self.below(40 * DAY_MS as u64) as i64,
                decision: 0,
                score,
                alert,
                explored: explored.then(|| Explored { propensity: 0.25, let_through: self.below(4) == 0 }),
                fraud: (self.below(labelled) == 0).then(|| self.below(100) as f32 / 100.0 < score * score),
                amount: self.below(5000) as f64 / 100.0,
                card: self.below(60),
            }
        }
    }

    fn tally(rows: &[Scored], maturity: Maturity) -> Tally {
        let frauds = rows.iter().filter(|row| row.fraud == Some(true)).count();
        let mut tally = Tally::by(MeasureRules { maturity, as_of_ms: NOW, review_cost: 2.5, cards: 5, frauds });
        rows.iter().for_each(|row| tally.add(row));
        tally
    }

    /// The figures row by row, as their definitions say.
    fn naive(rows: &[Scored], maturity: Maturity) -> (BTreeMap<&'static str, f64>, Option<Estimate>) {
        let label = |row: &Scored| maturity.label(row.at_ms, row.fraud, NOW).filter(|_| row.weight() > 0.0);
        let counted: Vec<(&Scored, f32)> =
            rows.iter().filter_map(|row| Some((row, f32::from(u8::from(label(row)?))))).collect();
        let scores: Vec<f32> = counted.iter().map(|(row, _)| row.score).collect();
        let labels: Vec<f32> = counted.iter().map(|(_, label)| *label).collect();
        let weights: Vec<f64> = counted.iter().map(|(row, _)| row.weight()).collect();
        let mut confusion = Confusion::default();
        let (mut cost, mut without) = (0.0, 0.0);
        for (row, label) in &counted {
            confusion.add(row.alert, *label == 1.0, row.weight());
            let loss = f64::from(*label) * row.amount * row.weight();
            cost += if row.alert { 2.5 * row.weight() } else { loss };
            without += loss;
        }
        let mut found = figures(&scores, &labels, &weights, &confusion);
        found.insert("cost", cost);
        found.insert("cost_without_model", without);
        let held = rows.iter().any(|row| row.weight() == 0.0 && maturity.is_matured(row.at_ms, NOW));
        let has_cards = counted.iter().any(|(row, _)| row.card != 0);
        if has_cards && !held && counted.iter().all(|(row, _)| row.explored.is_none()) {
            let days: Vec<i64> = counted.iter().map(|(row, _)| row.at_ms.div_euclid(DAY_MS)).collect();
            let cards: Vec<u64> = counted.iter().map(|(row, _)| row.card).collect();
            found.insert("card_precision", card_precision(&scores, &labels, &days, &cards, 5));
        }
        found.retain(|_, value| !value.is_nan());
        let calibration = Calibration::fit(&scores, &labels, &weights);
        let mut all: Vec<(f32, bool)> =
            rows.iter().map(|row| (row.score, row.alert)).filter(|(score, _)| !score.is_nan()).collect();
        all.sort_by(|a, b| b.0.partial_cmp(&a.0).unwrap());
        let expected =
            |rows: &[(f32, bool)]| rows.iter().map(|(score, _)| calibration.probability(*score)).sum::<f64>();
        let alerts: Vec<(f32, bool)> = all.iter().copied().filter(|(_, alert)| *alert).collect();
        let (frauds, caught) = (expected(&all), expected(&alerts));
        let (mut seen, mut hits, mut average_precision) = (0.0, 0.0, 0.0);
        for tied in all.chunk_by(|a, b| a.0 == b.0) {
            seen += tied.len() as f64;
            hits += expected(tied);
            average_precision += expected(tied) / frauds * hits / seen;
        }
        let estimate =
            Estimate { frauds, precision: caught / alerts.len() as f64, recall: caught / frauds, average_precision };
        (found, labels.contains(&1.0).then_some(estimate))
    }

    fn close(a: f64, b: f64) -> bool {
        a.is_nan() && b.is_nan() || (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0)
    }

    #[test]
    fn figures_are_those_of_their_definitions_however_rows_are_labelled() {
        let mut random = Random(1);
        for (count, labelled, explores) in
            [(0, 1, false), (1, 1, false), (7, 2, false), (500, 1, false), (6000, 3, true), (6000, 40, false)]
        {
            for unlabelled_is_genuine in [false, true] {
                let rows: Vec<Scored> = (0..count).map(|_| random.row(labelled, explores)).collect();
                let maturity = Maturity { unlabelled_is_genuine, ..Maturity::default() };
                // Without a number, a row has no loss: half the cases go without.
                for with_nan in [true, false] {
                    let rows: Vec<Scored> =
                        rows.iter().copied().filter(|row| with_nan || !row.score.is_nan()).collect();
                    let found = tally(&rows, maturity).measured();
                    let (mut expected, estimate) = naive(&rows, maturity);
                    if found.labelled == 0 {
                        expected.clear();
                    }
                    let own = ["fraud_rate", "expected_over_observed_frauds"];
                    let names: Vec<_> = found.metrics.keys().filter(|name| !own.contains(name)).collect();
                    assert_eq!(names, expected.keys().collect::<Vec<_>>(), "{count} {labelled} {with_nan}");
                    for (name, value) in &expected {
                        assert!(close(found.metrics[name], *value), "{name}: {} {value}", found.metrics[name]);
                    }
                    match (found.estimate, estimate) {
                        (None, None) => {}
                        (Some(found), Some(expected)) => {
                            let values = |e: Estimate| [e.frauds, e.precision, e.recall, e.average_precision];
                            let pairs = values(found).into_iter().zip(values(expected));
                            pairs.for_each(|(a, b)| assert!(close(a, b), "{found:?} {expected:?}"));
                        }
                        other => panic!("{other:?}"),
                    }
                    let binned: u64 = found.reliability.iter().map(|bin| bin.rows).sum();
                    assert!(binned <= found.labelled && (with_nan || binned == found.labelled));
                }
            }
        }
    }

    #[test]
    fn neither_order_nor_parts_change_a_bit() {
        let mut random = Random(2);
        for unlabelled_is_genuine in [false, true] {
            let maturity = Maturity { unlabelled_is_genuine, ..Maturity::default() };
            let mut rows: Vec<Scored> = (0..5000).map(|_| random.row(10, unlabelled_is_genuine)).collect();
            rows.retain(|row| !row.score.is_nan());
            let rules = tally(&rows, maturity).rules;
            let first = tally(&rows, maturity).measured();
            for _ in 0..5 {
                for place in (1..rows.len()).rev() {
                    rows.swap(place, random.below(place as u64 + 1) as usize);
                }
                let mut joined = Tally::by(rules);
                for part in rows.chunks(random.below(2000) as usize + 1) {
                    let mut tally = Tally::by(rules);
                    part.iter().for_each(|row| tally.add(row));
                    joined.join(tally);
                }
                assert_eq!(joined.measured(), first);
            }
        }
    }

    // Two thousand cards a day, of which those found leave: the list of each day is cut, and says the same.
    #[test]
    fn cards_are_the_same_where_only_the_highest_are_kept() {
        let mut random = Random(3);
        let maturity = Maturity { unlabelled_is_genuine: true, ..Maturity::default() };
        let mut rows: Vec<Scored> = (0..40_000).map(|_| random.row(1, false)).collect();
        for row in &mut rows {
            row.card = random.below(2000);
            row.at_ms %= 3 * DAY_MS;
            row.fraud = (row.score > 0.99 && random.below(8) == 0).then_some(true);
        }
        rows.retain(|row| !row.score.is_nan());
        let tally = tally(&rows, maturity);
        assert!(tally.days.iter().any(|(_, cards)| cards.rows.len() < 5000), "some list was cut");
        let found = tally.measured().metrics["card_precision"];
        assert_eq!(found, naive(&rows, maturity).0["card_precision"]);
        assert!(found > 0.0);
    }
}
