//! Up to 64 consecutive trees, padded to perfect trees of one depth and cut three levels above the leaves.
//!
//! The upper levels lie node by node over all 64 trees (`sliced`, for vectors) and tree by tree (`heaps`, for
//! the portable path). What is below, seven nodes and eight leaves, is one [`Subtree`] of 64 bytes: a row
//! reads a single cache line of it from each tree, which is what a row costs once the arithmetic is in vectors.

use super::ranks::RankBytes;
use super::tree::{LEAF, Node, Tree};

pub(super) const TREES: usize = 64;
/// Levels of nodes in a subtree.
const BELOW: usize = 3;
/// Trees that the portable path evaluates together.
const TOGETHER: usize = 8;
/// Levels above the subtrees, at most.
pub(super) const MAX_TOP: usize = 5;
/// Depth of the deepest tree that a block takes.
pub(super) const MAX_DEPTH: u32 = (MAX_TOP + BELOW) as u32;

/// One node position of all 64 trees: the table entry each reads, and the rank it compares with.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct SlicedNode {
    pub(super) entry: [u8; TREES],
    pub(super) rank: [u8; TREES],
}

/// The last three levels below one node. Positions 1 to 7 are a heap; the rest never goes right.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Subtree {
    pub(super) entries: [u8; 16],
    pub(super) ranks: [u8; 16],
    pub(super) leaves: [f32; 8],
}

#[derive(Debug)]
pub(super) struct Block {
    /// Levels above the subtrees.
    pub(super) top: usize,
    pub(super) trees: usize,
    /// Level after level; within level `l` position `p` holds the node whose path bits are `p`, the first
    /// decision in the lowest bit. So the halves of a level differ in the decision that is known last.
    pub(super) sliced: Vec<SlicedNode>,
    /// Upper levels of each tree as a heap from 1, `2^top` places a tree: (entry, rank).
    heaps: Vec<[u8; 2]>,
    /// `2^top` of each tree, the first decision in the highest bit of the index.
    pub(super) subtrees: Vec<Subtree>,
    /// Output that each tree adds to.
    pub(super) outputs: Vec<u32>,
}

/// Never goes right: no rank is above 255.
const ALWAYS_LEFT: [u8; 2] = [0, u8::MAX];

impl Block {
    pub(super) fn build(trees: &[Tree], outputs: &[u32], encode: impl Fn(&Node) -> [u8; 2]) -> Self {
        let depth = trees.iter().map(|tree| tree.depth).max().unwrap_or(0) as usize;
        let top = depth.saturating_sub(BELOW);
        let padding = SlicedNode { entry: [ALWAYS_LEFT[0]; TREES], rank: [ALWAYS_LEFT[1]; TREES] };
        let mut sliced = vec![padding; (1 << top) - 1];
        let mut heaps = vec![ALWAYS_LEFT; trees.len() << top];
        let empty = Subtree { entries: [ALWAYS_LEFT[0]; 16], ranks: [ALWAYS_LEFT[1]; 16], leaves: [0.0; 8] };
        let mut subtrees = vec![empty; trees.len() << top];
        for (t, tree) in trees.iter().enumerate() {
            let heap = &mut heaps[t << top..(t + 1) << top];
            let subtrees = &mut subtrees[t << top..(t + 1) << top];
            let mut open = vec![(0u32, 0usize, 0usize)];
            while let Some((id, level, path)) = open.pop() {
                let node = &tree.nodes[id as usize];
                if node.feature == LEAF {
                    // An early leaf fills every leaf below it; its padding nodes go left, wherever that is.
                    for leaf in path << (depth.max(BELOW) - level)..(path + 1) << (depth.max(BELOW) - level) {
                        subtrees[leaf >> BELOW].leaves[leaf % 8] = node.value;
                    }
                    continue;
                }
                let [entry, rank] = encode(node);
                if level < top {
                    heap[(1 << level) + path] = [entry, rank];
                    let reversed = if level == 0 { 0 } else { path.reverse_bits() >> (usize::BITS as usize - level) };
                    let slot = &mut sliced[(1 << level) - 1 + reversed];
                    (slot.entry[t], slot.rank[t]) = (entry, rank);
                } else {
                    let below = level - top;
                    let subtree = &mut subtrees[path >> below];
                    let place = (1 << below) + (path & ((1 << below) - 1));
                    (subtree.entries[place], subtree.ranks[place]) = (entry, rank);
                }
                open.push((node.left, level + 1, path << 1));
                open.push((node.right, level + 1, path << 1 | 1));
            }
        }
        Self { top, trees: trees.len(), sliced, heaps, subtrees, outputs: outputs.to_vec() }
    }

    pub(super) fn add_portable(&self, bytes: &RankBytes, margins: &mut [f32]) {
        match self.top {
            0 => self.add_portable_at::<0>(bytes, margins),
            1 => self.add_portable_at::<1>(bytes, margins),
            2 => self.add_portable_at::<2>(bytes, margins),
            3 => self.add_portable_at::<3>(bytes, margins),
            4 => self.add_portable_at::<4>(bytes, margins),
            _ => self.add_portable_at::<MAX_TOP>(bytes, margins),
        }
    }

    fn add_portable_at<const T: usize>(&self, bytes: &RankBytes, margins: &mut [f32]) {
        let heaps = self.heaps.chunks(TOGETHER << T);
        let subtrees = self.subtrees.chunks(TOGETHER << T);
        for ((heaps, subtrees), outputs) in heaps.zip(subtrees).zip(self.outputs.chunks(TOGETHER)) {
            let leaves = if outputs.len() == TOGETHER {
                leaves_of::<T, TOGETHER>(heaps, subtrees, bytes)
            } else {
                let mut leaves = [0.0; TOGETHER];
                let trees = heaps.chunks_exact(1 << T).zip(subtrees.chunks_exact(1 << T));
                for (leaf, (heap, subtrees)) in leaves.iter_mut().zip(trees) {
                    [*leaf] = leaves_of::<T, 1>(heap, subtrees, bytes);
                }
                leaves
            };
            if let [margin] = margins {
                // In a register: a sum in memory would wait for its own store at every tree.
                *margin = outputs.iter().zip(leaves).fold(*margin, |sum, (_, leaf)| sum + leaf);
            } else {
                for (&output, leaf) in outputs.iter().zip(leaves) {
                    margins[output as usize] += leaf;
                }
            }
        }
    }
}

/// Leaf values of `N` trees that step together: a step waits for three loads, and the steps of other trees fill
/// that wait.
#[inline]
fn leaves_of<const T: usize, const N: usize>(heaps: &[[u8; 2]], subtrees: &[Subtree], bytes: &RankBytes) -> [f32; N] {
    assert!(heaps.len() == N << T && subtrees.len() == N << T, "trees of another height");
    let mut at = [1usize; N];
    for _ in 0..T {
        for (tree, at) in at.iter_mut().enumerate() {
            // The mask changes nothing: it shows the compiler that the index is inside.
            let [entry, rank] = heaps[(tree << T) + (*at & ((1 << T) - 1))];
            *at = 2 * *at + usize::from(rank < bytes.0[usize::from(entry)]);
        }
    }
    let subtrees: [&Subtree; N] = std::array::from_fn(|tree| &subtrees[(tree << T) + (at[tree] & ((1 << T) - 1))]);
    let mut at = [1usize; N];
    for _ in 0..BELOW {
        for (subtree, at) in subtrees.iter().zip(&mut at) {
            let (entry, rank) = (subtree.entries[*at & 7], subtree.ranks[*at & 7]);
            *at = 2 * *at + usize::from(rank < bytes.0[usize::from(entry)]);
        }
    }
    std::array::from_fn(|tree| subtrees[tree].leaves[at[tree] & 7])
}

/// Leaf of a subtree by its eight comparisons, bit `i` set where place `i` goes right.
#[cfg(target_arch = "x86_64")]
pub(super) static LEAF_OF: [u8; 256] = {
    let mut leaf_of = [0; 256];
    let mut right = 0;
    while right < 256 {
        let (mut at, mut level) = (1, 0);
        while level < BELOW {
            at = 2 * at + (right >> at & 1);
            level += 1;
        }
        leaf_of[right] = (at - 8) as u8;
        right += 1;
    }
    leaf_of
};
