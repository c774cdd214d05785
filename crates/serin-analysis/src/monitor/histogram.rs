//! A window of live traffic beside its reference, in few bars: for people who look.

use super::profile::ColumnReference;
use super::{CellCounts, MonitorProfile, Pane, SEASONS, season};

/// Different values up to which each is a bar of its own.
const FEW: usize = 12;

/// One bar: values from `from` and below `to`, or exactly `from` where both are the same.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bin {
    /// Lower end, inclusive; minus infinity of the first bar of many values, NaN of the bar for values that the reference
    /// does not know.
    pub from: f64,
    /// Upper end, exclusive; infinity of the last bar of many values, and of the bar for values that the reference does not
    /// know.
    pub to: f64,
    /// Fraction of the reference's rows in the bar, 0 to 1, its hours weighted as the window's are.
    pub reference: f64,
    /// Fraction of the window's rows in the bar, 0 to 1.
    pub live: f64,
}

/// A column in about `bins` bars; `column` counts from 0, the score follows the last one. None where either side has no
/// values, or there is no such column.
#[must_use]
pub fn histogram(profile: &MonitorProfile, panes: &[Pane], column: usize, bins: usize) -> Option<Vec<Bin>> {
    let of: &ColumnReference =
        if column == profile.columns.len() { &profile.score } else { profile.columns.get(column)? };
    let (mut counts, mut mix) = (CellCounts::new(&of.edges), [0.0; SEASONS]);
    for pane in panes {
        counts.merge(if column == profile.columns.len() { &pane.score } else { &pane.columns[column] });
        mix[season(pane.from_ms)] += pane.rows() as f64;
    }
    let (reference, live) = (of.matched(&mix)?.0, counts.shares()?);
    let [reference, live] = [&reference, &live].map(|shares| shares.masses(&of.edges).collect::<Vec<_>>());
    let edges = of.edges.values();
    let mut bars: Vec<Bin> = if edges.len() <= FEW {
        let bar = |edge: &f32| Bin { from: f64::from(*edge), to: f64::from(*edge), reference: 0.0, live: 0.0 };
        edges.iter().map(bar).chain([Bin { from: f64::NAN, to: f64::INFINITY, reference: 0.0, live: 0.0 }]).collect()
    } else {
        let (low, high) = (quantile(&reference, 0.005), quantile(&reference, 0.995));
        let wide = (high - low) / bins as f64;
        let edge = |place: usize| match place {
            0 => f64::NEG_INFINITY,
            place if place == bins => f64::INFINITY,
            place => low + wide * place as f64,
        };
        (0..bins).map(|place| Bin { from: edge(place), to: edge(place + 1), reference: 0.0, live: 0.0 }).collect()
    };
    let last = bars.len() - 1;
    for (masses, side) in [(reference, 0), (live, 1)] {
        for (value, share) in masses {
            let holds = |bar: &Bin| bar.from == value && bar.to == value || (bar.from <= value && value < bar.to);
            let place = bars.iter().position(holds).unwrap_or(last);
            let bar = &mut bars[place];
            *(if side == 0 { &mut bar.reference } else { &mut bar.live }) += share;
        }
    }
    // Values that nobody knew are shown where there are some.
    bars.retain(|bar| !bar.from.is_nan() || bar.live > 0.0);
    Some(bars)
}

/// Returns the value up to which this share of the mass lies; `masses` are (value, share), ascending by value.
fn quantile(masses: &[(f64, f64)], share: f64) -> f64 {
    let mut below = 0.0;
    for (value, mass) in masses {
        below += mass;
        if below >= share {
            return *value;
        }
    }
    masses.last().map_or(0.0, |(value, _)| *value)
}

#[cfg(test)]
mod tests {
    use super::super::profile::{ReferenceRows, Watched};
    use super::*;

    #[test]
    fn both_sides_add_up_to_one_and_stand_where_their_values_are() {
        let (mut features, mut scores) = (Vec::new(), Vec::new());
        for i in 0..1000 {
            features.extend([i as f32, (i % 3) as f32]);
            scores.push(i as f32 / 1000.0);
        }
        let columns = ["amount", "kind"].map(|name| Watched { name: name.to_owned(), levels: None, gain: 1.0 });
        let rows =
            ReferenceRows { columns: &columns, features: &features, times: &[], scores: &scores, threshold: 0.9 };
        let profile = MonitorProfile::of(&rows);
        let mut pane = Pane::new(&profile, 0);
        for _ in 0..10 {
            pane.add(&profile, &[5e6, 7.0], 0.999, true);
            pane.add(&profile, &[500.0, 1.0], 0.0, false);
        }
        let panes = [pane];
        let amounts = histogram(&profile, &panes, 0, 20).expect("bars");
        for side in [|bar: &Bin| bar.reference, |bar: &Bin| bar.live] {
            assert!((amounts.iter().map(side).sum::<f64>() - 1.0).abs() < 1e-9);
        }
        assert_eq!(amounts.last().map(|bar| bar.live), Some(0.5));
        let kinds = histogram(&profile, &panes, 1, 20).expect("bars");
        assert_eq!(kinds.len(), 4, "three known values and the unknown one");
        assert_eq!((kinds[1].live, kinds[3].live, kinds[3].reference), (0.5, 0.5, 0.0));
        assert_eq!(histogram(&profile, &panes, 2, 10).expect("the score").last().map(|bar| bar.live), Some(0.5));
        assert_eq!(histogram(&profile, &panes, 3, 10), None);
        assert_eq!(histogram(&profile, &[], 0, 10), None);
    }
}
