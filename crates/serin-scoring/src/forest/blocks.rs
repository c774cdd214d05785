//! Up to 64 consecutive trees, padded to perfect trees of one depth.
//!
//! Two copies of the nodes: `heaps`, tree by tree, for the portable path, and `sliced`, node by node over all
//! 64 trees, for the vector paths.

use super::quantised::RankBytes;
use super::tree::{LEAF, Node, Tree};

pub(super) const TREES: usize = 64;

/// One node position of all 64 trees: the table entry each reads, and the rank it compares with.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct SlicedNode {
    pub(super) entry: [u8; TREES],
    pub(super) rank: [u8; TREES],
}

#[derive(Debug)]
pub(super) struct Block {
    pub(super) depth: usize,
    pub(super) trees: usize,
    /// Level after level; within level `l` position `p` holds the node whose path bits are `p`, the first
    /// decision in the lowest bit. So the halves of a level differ in the decision that is known last.
    pub(super) sliced: Vec<SlicedNode>,
    /// Perfect heap of each tree: (entry, rank).
    heaps: Vec<[u8; 2]>,
    /// `2^depth` leaf values of each tree, the first decision in the highest bit of the index.
    pub(super) leaves: Vec<f32>,
    /// Output that each tree adds to.
    pub(super) outputs: Vec<u32>,
    pub(super) single_output: bool,
}

/// Never goes right: no rank is above 255.
const ALWAYS_LEFT: (u8, u8) = (0, u8::MAX);

impl Block {
    pub(super) fn build(trees: &[Tree], outputs: &[u32], encode: impl Fn(&Node) -> (u8, u8)) -> Self {
        let depth = trees.iter().map(|tree| tree.depth).max().unwrap_or(0).max(1) as usize;
        let inner = (1 << depth) - 1;
        let mut sliced = vec![SlicedNode { entry: [ALWAYS_LEFT.0; TREES], rank: [ALWAYS_LEFT.1; TREES] }; inner];
        let mut heaps = vec![[ALWAYS_LEFT.0, ALWAYS_LEFT.1]; inner * trees.len()];
        let mut leaves = vec![0.0; trees.len() << depth];
        for (t, tree) in trees.iter().enumerate() {
            let heap = &mut heaps[t * inner..(t + 1) * inner];
            let leaves = &mut leaves[t << depth..(t + 1) << depth];
            let mut open = vec![(0u32, 0usize, 0usize)];
            while let Some((id, level, path)) = open.pop() {
                let node = &tree.nodes[id as usize];
                if node.feature == LEAF {
                    // An early leaf fills every leaf below it; its padding nodes go left, wherever that is.
                    let below = depth - level;
                    leaves[path << below..(path + 1) << below].fill(node.value);
                    continue;
                }
                let (entry, rank) = encode(node);
                heap[(1 << level) - 1 + path] = [entry, rank];
                let reversed = if level == 0 { 0 } else { path.reverse_bits() >> (usize::BITS as usize - level) };
                let slot = &mut sliced[(1 << level) - 1 + reversed];
                (slot.entry[t], slot.rank[t]) = (entry, rank);
                open.push((node.left, level + 1, path << 1));
                open.push((node.right, level + 1, path << 1 | 1));
            }
        }
        Self {
            depth,
            trees: trees.len(),
            sliced,
            heaps,
            leaves,
            outputs: outputs.to_vec(),
            single_output: outputs.iter().all(|output| *output == 0),
        }
    }

    /// Eight trees step together, so that eight loads are under way at once.
    pub(super) fn add_portable(&self, bytes: &RankBytes, margins: &mut [f32]) {
        let inner = (1usize << self.depth) - 1;
        for (group, heaps) in self.heaps.chunks(8 * inner).enumerate() {
            let first = group * 8;
            let mut at = [0usize; 8];
            if heaps.len() == 8 * inner {
                for _ in 0..self.depth {
                    for (tree, at) in at.iter_mut().enumerate() {
                        *at = step(&heaps[tree * inner..(tree + 1) * inner], bytes, *at);
                    }
                }
            } else {
                for (heap, at) in heaps.chunks_exact(inner).zip(&mut at) {
                    for _ in 0..self.depth {
                        *at = step(heap, bytes, *at);
                    }
                }
            }
            for (i, at) in at.iter().enumerate().take(self.trees - first) {
                let tree = first + i;
                margins[self.outputs[tree] as usize] += self.leaves[(tree << self.depth) + at - inner];
            }
        }
    }

    /// Adds the leaf that each tree chose to the row's margins, in tree order.
    #[inline]
    pub(super) fn add_leaves(&self, chosen: &[u8; TREES], margins: &mut [f32]) {
        let leaves = self.leaves.chunks_exact(1 << self.depth);
        if self.single_output {
            let mut margin = margins[0];
            for (leaves, &leaf) in leaves.zip(chosen) {
                margin += leaves[usize::from(leaf) & (leaves.len() - 1)];
            }
            margins[0] = margin;
        } else {
            for ((leaves, &leaf), &output) in leaves.zip(chosen).zip(&self.outputs) {
                margins[output as usize] += leaves[usize::from(leaf)];
            }
        }
    }
}

#[inline]
fn step(heap: &[[u8; 2]], bytes: &RankBytes, at: usize) -> usize {
    let [entry, rank] = heap[at];
    2 * at + 1 + usize::from(bytes.0[usize::from(entry) & 127] > rank)
}
