//! Decisions of one group as they are counted: what is known of each of the few that have a label, and the score alone of all
//! others, four bytes each.

use super::{DAY_MS, Maturity, Scored};

/// Rules by which decisions are measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MeasureRules {
    /// Rule for when labels are complete.
    pub maturity: Maturity,
    /// Point in time whose knowledge counts, epoch milliseconds.
    pub as_of_ms: i64,
    /// Cost of reviewing one alert, in the unit of the amounts.
    pub review_cost: f64,
    /// Number of cards looked at a day, for card precision.
    pub cards: usize,
    /// Number of rows known to be frauds, or more; card precision is exact up to it.
    pub frauds: usize,
}

/// Row whose outcome is more than "nobody has complained": it has a label, stands for others, or has no number as its score.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub(super) row: Scored,
    /// True if the row counts as a fraud, false if as genuine.
    pub(super) fraud: bool,
}

/// Decisions of one group while they are counted. The order in which rows are added, and tallies joined, changes no figure.
#[derive(Debug, Clone)]
pub struct Tally {
    pub(super) rules: MeasureRules,
    pub(super) decisions: u64,
    pub(super) matured: u64,
    pub(super) held: u64,
    pub(super) alerts: u64,
    /// True if the amount of some counted row is known.
    pub(super) has_amounts: bool,
    /// True if the card of some counted row is known.
    pub(super) has_cards: bool,
    pub(super) known: Vec<Known>,
    /// Two lists of scores, one a row, of matured rows without a label that count as genuine: without an alert, and alerts.
    pub(super) genuine: [Vec<f32>; 2],
    /// Two lists of scores, one a row, of rows that do not count: without an alert, and alerts.
    pub(super) others: [Vec<f32>; 2],
    /// Cards of the genuine rows by epoch day; the day of the last row is at `last_day`.
    pub(super) days: Vec<(i64, TopCards)>,
    last_day: usize,
}

impl Tally {
    /// Begins to count by these rules.
    #[must_use]
    pub fn by(rules: MeasureRules) -> Self {
        Self {
            rules,
            decisions: 0,
            matured: 0,
            held: 0,
            alerts: 0,
            has_amounts: false,
            has_cards: false,
            known: Vec::new(),
            genuine: [Vec::new(), Vec::new()],
            others: [Vec::new(), Vec::new()],
            days: Vec::new(),
            last_day: 0,
        }
    }

    /// Says that amounts are known, though rows without a label are added without theirs: figures in money are counted then.
    pub fn know_amounts(&mut self) {
        self.has_amounts = true;
    }

    /// Adds a decision. Only that of a fraud needs its amount.
    pub fn add(&mut self, row: &Scored) {
        let MeasureRules { maturity, as_of_ms, .. } = self.rules;
        self.decisions += 1;
        self.alerts += u64::from(row.alert);
        let is_matured = maturity.is_matured(row.at_ms, as_of_ms);
        let is_held = row.weight() == 0.0;
        self.matured += u64::from(is_matured);
        self.held += u64::from(is_matured && is_held);
        let label = if is_held { None } else { maturity.label(row.at_ms, row.fraud, as_of_ms) };
        // -0 and 0 are one score.
        let score = row.score + 0.0;
        let Some(fraud) = label else {
            if !score.is_nan() {
                self.others[usize::from(row.alert)].push(score);
            }
            return;
        };
        self.has_amounts |= row.amount != 0.0;
        self.has_cards |= row.card != 0;
        if row.fraud.is_some() || row.explored.is_some() || score.is_nan() {
            self.known.push(Known { row: Scored { score, ..*row }, fraud });
        } else {
            self.genuine[usize::from(row.alert)].push(score);
            self.add_card(row.at_ms.div_euclid(DAY_MS), row.card, score);
        }
    }

    fn add_card(&mut self, day: i64, card: u64, score: f32) {
        if self.days.get(self.last_day).is_none_or(|(last, _)| *last != day) {
            self.last_day = match self.days.binary_search_by_key(&day, |(known, _)| *known) {
                Ok(place) => place,
                Err(place) => {
                    let most = self.rules.cards.saturating_add(self.rules.frauds);
                    self.days.insert(place, (day, TopCards::of(most)));
                    place
                }
            };
        }
        self.days[self.last_day].1.add(card, score);
    }

    /// Takes in another tally by the same rules.
    pub fn join(&mut self, other: Self) {
        self.decisions += other.decisions;
        self.matured += other.matured;
        self.held += other.held;
        self.alerts += other.alerts;
        self.has_amounts |= other.has_amounts;
        self.has_cards |= other.has_cards;
        self.known.extend(other.known);
        let lists = self.genuine.iter_mut().chain(&mut self.others);
        for (mine, theirs) in lists.zip(other.genuine.into_iter().chain(other.others)) {
            if mine.is_empty() { *mine = theirs } else { mine.extend(theirs) }
        }
        for (day, cards) in other.days {
            match self.days.binary_search_by_key(&day, |(known, _)| *known) {
                Ok(place) => cards.rows.into_iter().for_each(|(card, score)| self.days[place].1.add(card, score)),
                Err(place) => self.days.insert(place, (day, cards)),
            }
        }
    }
}

/// Cards of one day with the highest scores. Of two cards with one score the lesser key comes first.
#[derive(Debug, Clone)]
pub(super) struct TopCards {
    /// Number of cards that are kept.
    most: usize,
    /// Cards and scores, a card once or several times.
    pub(super) rows: Vec<(u64, f32)>,
    /// The last card that was kept; those behind it are not needed.
    last: Option<(u64, f32)>,
}

impl TopCards {
    /// Fewest rows that are looked through for those to keep.
    const FEW: usize = 1024;

    fn of(most: usize) -> Self {
        Self { most, rows: Vec::new(), last: None }
    }

    fn add(&mut self, card: u64, score: f32) {
        if self.last.is_some_and(|(last, least)| score < least || score == least && card > last) {
            return;
        }
        self.rows.push((card, score));
        if self.rows.len() >= self.most.saturating_mul(2).max(Self::FEW) {
            self.keep_the_highest();
        }
    }

    fn keep_the_highest(&mut self) {
        let order = |a: &(u64, f32), b: &(u64, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        self.rows.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(order(a, b)));
        self.rows.dedup_by_key(|(card, _)| *card);
        if self.rows.len() > self.most {
            self.rows.sort_unstable_by(order);
            self.rows.truncate(self.most);
            self.last = self.rows.last().copied();
        }
    }
}
