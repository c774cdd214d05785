//! Trees over byte ranks, 64 to a block: the layout that all fast paths share, and the portable path.
//!
//! A *table* turns a row into bytes: entry `i` is the rank of the table's i-th feature where a missing value
//! goes left (rank 0), entry `width + i` the same rank where a missing value goes right (255). A node names
//! the entry it reads and goes right where `table[entry] > node.rank`; NaN needs no branch. A table has at
//! most 255 thresholds a feature and 64 features; a forest with more is cut into several tables, each for a
//! run of consecutive trees. Idea: rank quantisation and bit-slicing as in QuickScorer and RapidScorer, turned
//! to perfect trees.

use super::blocks::{Block, MAX_DEPTH};
use super::ranks::{MISSING, RankBytes, RankTable};
use super::tree::{LEAF, Tree};
use std::collections::{BTreeMap, BTreeSet};

/// Ranks 0 to 255 fit a byte: at most 255 thresholds.
const MAX_RANKS: usize = 255;
pub(super) const MAX_WIDTH: usize = 64;

#[derive(Debug)]
pub(super) struct Quantised {
    pub(super) ranks: RankTable,
    pub(super) tables: Vec<Table>,
    /// Entries of the missing-left half of a table: 32 or 64.
    pub(super) width: usize,
}

#[derive(Debug)]
pub(super) struct Table {
    entries: Vec<TableEntry>,
    /// Entry `i` is feature `i` with the forest's own ranks: the only table of most forests.
    as_ranked: bool,
    pub(super) blocks: Vec<Block>,
}

#[derive(Debug)]
struct TableEntry {
    /// Position of the feature in `RankTable::features`.
    feature: usize,
    /// This table's rank for each rank over the whole forest; empty where the two are the same.
    rank_of: Vec<u8>,
}

/// Room for the ranks of a few rows: on the stack for all but very wide forests, since a single row is scored
/// in less time than a few allocations take.
pub(super) struct RankRoom {
    near: [u16; 256],
    far: Vec<u16>,
}

impl RankRoom {
    pub(super) fn new() -> Self {
        Self { near: [0; 256], far: Vec::new() }
    }

    pub(super) fn of(&mut self, count: usize) -> &mut [u16] {
        if count <= self.near.len() {
            return &mut self.near[..count];
        }
        self.far.resize(count, 0);
        &mut self.far
    }
}

impl Quantised {
    /// None where a tree is categorical, too deep, or too wide, and for a forest without columns.
    pub(super) fn compile(trees: &[Tree], tree_outputs: &[u32], num_features: usize) -> Option<Self> {
        if num_features == 0 || trees.iter().any(|tree| tree.depth > MAX_DEPTH || tree.has_categories()) {
            return None;
        }
        let ranks = RankTable::new(thresholds(trees))?;
        let mut index = vec![usize::MAX; num_features];
        for (i, feature) in ranks.features.iter().enumerate() {
            index[feature.column] = i;
        }
        let width = if ranks.features.len() <= 32 { 32 } else { MAX_WIDTH };

        let mut tables = Vec::new();
        let mut first = 0;
        while first < trees.len() {
            let (used, taken) = longest_run(&trees[first..], &ranks, &index, width)?;
            let end = first + taken;
            tables.push(Table::build(&trees[first..end], &tree_outputs[first..end], &used, &ranks, &index, width));
            first = end;
        }
        Some(Self { ranks, tables, width })
    }

    pub(super) fn add_portable(&self, rows: &[f32], num_features: usize, margins: &mut [f32], outputs: usize) {
        let mut room = RankRoom::new();
        let ranks = room.of(self.ranks.features.len());
        let mut bytes = RankBytes::EMPTY;
        for (row, margins) in rows.chunks_exact(num_features).zip(margins.chunks_exact_mut(outputs)) {
            self.ranks.rank_row(row, ranks);
            for table in &self.tables {
                table.fill(ranks, self.width, &mut bytes);
                for block in &table.blocks {
                    block.add_portable(&bytes, margins);
                }
            }
        }
    }
}

impl Table {
    fn build(
        trees: &[Tree],
        outputs: &[u32],
        used: &BTreeMap<usize, BTreeSet<usize>>,
        ranks: &RankTable,
        index: &[usize],
        width: usize,
    ) -> Self {
        let mut entry_of = vec![0usize; ranks.features.len()];
        let mut entries = Vec::with_capacity(used.len());
        for (entry, (&feature, thresholds)) in used.iter().enumerate() {
            entry_of[feature] = entry;
            let all = ranks.features[feature].count;
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
                    let threshold = ranks.index_of(feature, node.value);
                    let entry = &entries[entry_of[feature]];
                    let rank = if entry.rank_of.is_empty() { threshold as u8 } else { entry.rank_of[threshold] };
                    let half = if node.default_left { 0 } else { width };
                    [(entry_of[feature] + half) as u8, rank]
                })
            })
            .collect();
        let as_ranked = entries.len() == ranks.features.len() && entries.iter().all(|entry| entry.rank_of.is_empty());
        Self { entries, as_ranked, blocks }
    }

    #[inline]
    pub(super) fn fill(&self, ranks: &[u16], width: usize, bytes: &mut RankBytes) {
        let (left, right) = bytes.0.split_at_mut(width);
        // A missing value has rank 0 on the left; on the right every bit is set.
        let missing = |rank: u16| ((rank >> 15) as u8).wrapping_neg();
        if self.as_ranked {
            for ((&rank, left), right) in ranks.iter().zip(left).zip(right) {
                *left = rank as u8;
                *right = rank as u8 | missing(rank);
            }
            return;
        }
        for ((entry, left), right) in self.entries.iter().zip(left).zip(right) {
            let rank = ranks[entry.feature];
            let byte = rank & !MISSING;
            *left = if entry.rank_of.is_empty() { byte as u8 } else { entry.rank_of[usize::from(byte)] };
            *right = *left | missing(rank);
        }
    }
}

fn thresholds(trees: &[Tree]) -> BTreeMap<usize, Vec<f32>> {
    let mut thresholds = BTreeMap::<usize, Vec<f32>>::new();
    for node in trees.iter().flat_map(|tree| &tree.nodes).filter(|node| node.feature != LEAF) {
        thresholds.entry(node.feature as usize).or_default().push(node.value);
    }
    thresholds
}

/// Takes as many trees from the front as one table can hold; returns the thresholds used, by feature, and how many trees.
fn longest_run(
    trees: &[Tree],
    ranks: &RankTable,
    index: &[usize],
    width: usize,
) -> Option<(BTreeMap<usize, BTreeSet<usize>>, usize)> {
    let mut used: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for (taken, tree) in trees.iter().enumerate() {
        let mut added = Vec::new();
        for node in tree.nodes.iter().filter(|node| node.feature != LEAF) {
            let feature = index[node.feature as usize];
            let threshold = ranks.index_of(feature, node.value);
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
