//! Decisions by what stands in one of their columns, which is read with the whole decision.

use super::MonitoringError;
use super::groups::{Counting, Group, column_of};
use serin_analysis::performance::Tally;
use serin_decisions::{DecisionFiles, LoggedDecision};
use serin_scoring::{ColumnKind, Signature};
use std::collections::{BTreeMap, HashMap};

/// Most different values for which a column's segments are its values; with more, they are quarters of the rows.
const VALUES: usize = 10;

/// Tallies by segment of a column. Rows are kept until all are read: a segment may depend on all values.
pub(super) fn tallies(
    files: &DecisionFiles,
    counting: &Counting<'_>,
    column: &str,
) -> Result<BTreeMap<Group, Tally>, MonitoringError> {
    let (mut rows, mut segments) = (Vec::new(), Segments::of(column, counting.signatures));
    let query = counting.query;
    let report = files.read_of(&query.name, &[], query.since_ms.max(0), i64::MAX, |decision| {
        if counting.takes(decision.happened_at_ms(), decision.fallback) {
            rows.push(counting.scored(decision));
            segments.add(decision);
        }
        true
    })?;
    report.warn();
    let mut tallies = BTreeMap::new();
    for (row, name) in rows.iter().zip(segments.names()) {
        tallies.entry(Group::Segment(name)).or_insert_with(|| Tally::by(counting.rules)).add(row);
    }
    Ok(tallies)
}

/// Segments of a column, one a row in the order in which the rows came: each by the columns of the version that decided.
struct Segments<'a> {
    column: &'a str,
    signatures: &'a HashMap<[u8; 32], Signature>,
    /// Names of segments, each once, and the place of each.
    names: Vec<String>,
    places: HashMap<String, usize>,
    rows: Vec<SegmentRow>,
}

/// Segment of one row.
#[derive(Clone, Copy)]
enum SegmentRow {
    /// Place of its name in [`Segments::names`].
    Named(usize),
    /// Value of a column that is no category; its segment depends on the other values.
    Number(f32),
}

impl<'a> Segments<'a> {
    fn of(column: &'a str, signatures: &'a HashMap<[u8; 32], Signature>) -> Self {
        Self { column, signatures, names: Vec::new(), places: HashMap::new(), rows: Vec::new() }
    }

    fn add(&mut self, decision: &LoggedDecision<'_>) {
        let column = self.column;
        let row = match column_of(self.signatures, decision, column) {
            None => self.named(format!("{column} not in version {}", decision.model.version)),
            Some((_, value)) if value.is_nan() => self.named(format!("{column} missing")),
            Some((ColumnKind::Category { levels }, code)) => {
                let level = levels.get(code as usize).map_or("?", String::as_str);
                self.named(format!("{column}={level}"))
            }
            Some((_, value)) => SegmentRow::Number(value),
        };
        self.rows.push(row);
    }

    fn named(&mut self, name: String) -> SegmentRow {
        let next = self.names.len();
        let place = *self.places.entry(name).or_insert_with_key(|name| {
            self.names.push(name.clone());
            next
        });
        SegmentRow::Named(place)
    }

    /// Name of each row's segment. A number's is its value where there are few, else the quarter of the rows.
    fn names(self) -> impl Iterator<Item = String> {
        let column = self.column.to_owned();
        let number = |row: &SegmentRow| if let SegmentRow::Number(value) = row { Some(*value) } else { None };
        let mut sorted: Vec<f32> = self.rows.iter().filter_map(number).collect();
        sorted.sort_by(f32::total_cmp);
        let mut distinct = sorted.clone();
        distinct.dedup();
        let quarter = move |share: usize| sorted[(sorted.len() - 1) * share / 4];
        self.rows.into_iter().map(move |row| match row {
            SegmentRow::Named(place) => self.names[place].clone(),
            SegmentRow::Number(value) if distinct.len() <= VALUES => format!("{column}={value}"),
            SegmentRow::Number(value) => {
                let place = (1..4).take_while(|share| value > quarter(*share)).count();
                // Numbered, so that they stand in order.
                format!("{column} {}. quarter ({} to {})", place + 1, quarter(place), quarter(place + 1))
            }
        })
    }
}
