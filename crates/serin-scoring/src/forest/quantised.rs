//! Trees over byte ranks, 64 to a block: the layout that all fast paths share, and the portable path.
//!
//! A *table* turns a row into bytes: entry `i` is the rank of the table's i-th feature where a missing value
//! goes left (rank 0), entry `width + i` the same rank where a missing value goes right (255). A node names
//! the entry it reads and goes right where `table[entry] > node.rank`; NaN needs no branch. A table has at
//! most 255 thresholds a feature and 64 features; a forest with more is cut into several tables, each for a
//! run of consecutive trees. Idea: rank quantisation and bit-slicing as in QuickScorer and RapidScorer, turned
//! to perfect trees.

use super::blocks::Block;
use super::ranks::FeatureRanks;
use super::tree::{LEAF, Tree};
use std::collections::{BTreeMap, BTreeSet};

/// Perfect trees double with every level: deeper ones are walked.
const MAX_DEPTH: u32 = 8;
/// Ranks 0 to 255 fit a byte: at most 255 thresholds.
const MAX_RANKS: usize = 255;
pub(super) const MAX_WIDTH: usize = 64;

#[derive(Debug)]
pub(super) struct Quantised {
    pub(super) features: Vec<FeatureRanks>,
    pub(super) tables: Vec<Table>,
    /// Entries of the missing-left half of a table: 32 or 64.
    pub(super) width: usize,
}

#[derive(Debug)]
pub(super) struct Table {
    pub(super) entries: Vec<TableEntry>,
    pub(super) blocks: Vec<Block>,
}

#[derive(Debug)]
pub(super) struct TableEntry {
    /// Index into `Quantised::features`.
    pub(super) feature: usize,
    /// This table's rank for each rank over the whole forest; empty where the two are the same.
    pub(super) rank_of: Vec<u8>,
}

/// A row's bytes for one table.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(super) struct RankBytes(pub(super) [u8; 2 * MAX_WIDTH]);

type Thresholds = BTreeMap<usize, Vec<f32>>;

impl Quantised {
    /// None where a tree is categorical, too deep, or too wide, and for a forest without columns.
    pub(super) fn compile(trees: &[Tree], tree_outputs: &[u32], num_features: usize) -> Option<Self> {
        if num_features == 0 || trees.iter().any(|tree| tree.depth > MAX_DEPTH || tree.has_categories()) {
            return None;
        }
        let features: Vec<FeatureRanks> =
            thresholds(trees).into_iter().map(|(feature, thresholds)| FeatureRanks::new(feature, thresholds)).collect();
        if features.iter().any(|f| f.count >= usize::from(MISSING)) {
            return None;
        }
        let mut index = vec![usize::MAX; num_features];
        for (i, ranks) in features.iter().enumerate() {
            index[ranks.feature] = i;
        }
        let width = if features.len() <= 32 { 32 } else { MAX_WIDTH };

        let mut tables = Vec::new();
        let mut first = 0;
        while first < trees.len() {
            let used = longest_run(&trees[first..], &features, &index, width)?;
            let end = first + used.1;
            tables.push(Table::build(&trees[first..end], &tree_outputs[first..end], &used.0, &features, &index, width));
            first = end;
        }
        Some(Self { features, tables, width })
    }

    /// Ranks of a row over the whole forest; missing values are marked by `u16::MAX`.
    pub(super) fn ranks_portable(&self, row: &[f32], ranks: &mut [u16]) {
        for (feature, rank) in self.features.iter().zip(ranks) {
            let x = row[feature.feature];
            *rank = if x.is_nan() { MISSING } else { feature.rank(x) as u16 };
        }
    }

    pub(super) fn add_portable(&self, rows: &[f32], num_features: usize, margins: &mut [f32], outputs: usize) {
        let mut ranks = vec![0u16; self.features.len()];
        let mut bytes = RankBytes([0; 2 * MAX_WIDTH]);
        for (row, margins) in rows.chunks_exact(num_features).zip(margins.chunks_exact_mut(outputs)) {
            self.ranks_portable(row, &mut ranks);
            for table in &self.tables {
                table.fill(&ranks, self.width, &mut bytes);
                for block in &table.blocks {
                    block.add_portable(&bytes, margins);
                }
            }
        }
    }
}

pub(super) const MISSING: u16 = u16::MAX;

impl Table {
    fn build(
        trees: &[Tree],
        outputs: &[u32],
        used: &BTreeMap<usize, BTreeSet<usize>>,
        features: &[FeatureRanks],
        index: &[usize],
        width: usize,
    ) -> Self {
        let mut entry_of = vec![0usize; features.len()];
        let mut entries = Vec::with_capacity(used.len());
        for (entry, (&feature, thresholds)) in used.iter().enumerate() {
            entry_of[feature] = entry;
            let all = features[feature].count;
            let rank_of = if thresholds.len() == all {
                Vec::new()
            } else {
                let mut below = 0;
                (0..=all)
                    .map(|rank| {
                        below += u8::from(rank > 0 && thresholds.contains(&(rank - 1)));
                        below
                    })
                    .collect()
            };
            entries.push(TableEntry { feature, rank_of });
        }
        let blocks = trees
            .chunks(64)
            .zip(outputs.chunks(64))
            .map(|(trees, outputs)| {
                Block::build(trees, outputs, |node| {
                    let feature = index[node.feature as usize];
                    let threshold = features[feature].index_of(node.value);
                    let entry = &entries[entry_of[feature]];
                    let rank = if entry.rank_of.is_empty() { threshold as u8 } else { entry.rank_of[threshold] };
                    let half = if node.default_left { 0 } else { width };
                    ((entry_of[feature] + half) as u8, rank)
                })
            })
            .collect();
        Self { entries, blocks }
    }

    #[inline]
    pub(super) fn fill(&self, ranks: &[u16], width: usize, bytes: &mut RankBytes) {
        let (left, right) = bytes.0.split_at_mut(width);
        for ((entry, left), right) in self.entries.iter().zip(left).zip(right) {
            let rank = ranks[entry.feature];
            if rank == MISSING {
                (*left, *right) = (0, u8::MAX);
            } else {
                let byte = if entry.rank_of.is_empty() { rank as u8 } else { entry.rank_of[usize::from(rank)] };
                (*left, *right) = (byte, byte);
            }
        }
    }
}

fn thresholds(trees: &[Tree]) -> Thresholds {
    let mut thresholds = Thresholds::new();
    for node in trees.iter().flat_map(|tree| &tree.nodes).filter(|node| node.feature != LEAF) {
        thresholds.entry(node.feature as usize).or_default().push(node.value);
    }
    thresholds
}

/// As many trees from the front as one table can hold: the thresholds used, and how many trees.
fn longest_run(
    trees: &[Tree],
    features: &[FeatureRanks],
    index: &[usize],
    width: usize,
) -> Option<(BTreeMap<usize, BTreeSet<usize>>, usize)> {
    let mut used: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for (taken, tree) in trees.iter().enumerate() {
        let mut added = Vec::new();
        for node in tree.nodes.iter().filter(|node| node.feature != LEAF) {
            let feature = index[node.feature as usize];
            let threshold = features[feature].index_of(node.value);
            if used.entry(feature).or_default().insert(threshold) {
                added.push((feature, threshold));
            }
        }
        if used.len() > width || used.values().any(|set| set.len() > MAX_RANKS) {
            for (feature, threshold) in added {
                if let Some(set) = used.get_mut(&feature) {
                    set.remove(&threshold);
                }
            }
            used.retain(|_, set| !set.is_empty());
            return (taken > 0).then_some((used, taken));
        }
    }
    Some((used, trees.len()))
}
