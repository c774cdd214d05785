//! Exact contributions of the features to one margin: path-dependent TreeSHAP (Lundberg et al., "Consistent
//! Individualized Feature Attribution for Tree Ensembles", 2018), as XGBoost's `pred_contribs`.
//!
//! A leaf's Shapley value of a feature is a weighted sum over subsets of the features on its path. With the beta
//! integral k!(d-1-k)!/d! = ∫ tᵏ(1-t)^(d-1-k) dt over [0, 1] the sum becomes the integral of a product over the
//! path, ∏ (z(1-t) + o·t): z is the share of the training rows that a feature's splits let pass, o is 1 where the row
//! passes them. The product is a polynomial of degree d-1 in t, so Gauss-Legendre nodes integrate it exactly, and a
//! product of numbers can be shared along the path: down for what stands above a split, up for what hangs below it.
//! That makes the work linear in the splits; each step is done for all nodes at once, in `N` vectors of four.

use super::tree::{LEAF, Tree};
use super::{Forest, ForestError};
use std::collections::VecDeque;
use wide::f32x4;

/// Greatest number of different features on one path.
const MAX_PATH: usize = 32;
/// Greatest depth of a tree: what is kept of a path while splits are laid out grows with it.
const MAX_DEPTH: u32 = 64;

/// 28 bytes: a forest's splits stream through the cache once a row, which is most of what a row costs.
#[derive(Debug, Clone, Copy)]
struct Split {
    threshold: f32,
    /// Fraction of the training rows that pass this feature's splits down to each child, 0 to 1.
    cover: [f32; 2],
    /// For each child: the leaf's bits, or the place of a split.
    children: [u32; 2],
    /// Twice the place of the next split above on the same feature, and 1 where this one lies to its right; place 0
    /// stands for none.
    above: u32,
    feature: u16,
    /// Bit set of [`DEFAULT_LEFT`], [`CATEGORICAL`] and the two [`LEAVES`].
    flags: u8,
}

const DEFAULT_LEFT: u8 = 1;
const CATEGORICAL: u8 = 2;
/// Bits for "the left child is a leaf" and "the right child is a leaf".
const LEAVES: [u8; 2] = [4, 8];

#[derive(Debug)]
struct Splits {
    /// Splits of the tree; each stands before those below it, and places count from 1.
    splits: Vec<Split>,
    /// Node of each split in the tree, for the splits by category.
    nodes: Vec<u32>,
    /// Index of the tree in the forest.
    tree: usize,
}

/// A forest made ready to explain its margins. It belongs to the forest that made it.
#[derive(Debug)]
pub struct Explainer {
    trees: Vec<Splits>,
    most_splits: usize,
    bias: f32,
    /// Nodes and weights of the quadrature: 4, 8 or 16.
    nodes: Vec<f32>,
    weights: Vec<f32>,
}

impl Forest {
    /// Prepares contributions; takes as much memory as the trees.
    ///
    /// # Errors
    /// When the model has several outputs, its file has no `sum_hessian`, or a tree is deeper than 64 or has
    /// more than 32 different features on a path.
    pub fn explainer(&self) -> Result<Explainer, ForestError> {
        if self.num_outputs() != 1 {
            return Err(ForestError::Unsupported("contributions of a model with several outputs".into()));
        }
        let (mut trees, mut bias, mut longest) = (Vec::new(), f64::from(self.base_margins[0]), 1);
        for (number, tree) in self.trees.iter().enumerate() {
            if tree.cover.len() != tree.nodes.len() {
                return Err(ForestError::Unsupported(format!("contributions: tree {number} has no sum_hessian")));
            }
            if tree.depth > MAX_DEPTH {
                return Err(ForestError::Unsupported(format!(
                    "contributions: tree {number} is {} levels deep, at most {MAX_DEPTH} are supported",
                    tree.depth
                )));
            }
            bias += expected(tree);
            let (splits, nodes, path) = splits(tree);
            longest = longest.max(path);
            if !splits.is_empty() {
                trees.push(Splits { splits, nodes, tree: number });
            }
        }
        if longest > MAX_PATH {
            return Err(ForestError::Unsupported(format!(
                "contributions: a path has {longest} different features, at most {MAX_PATH} are supported"
            )));
        }
        let most_splits = trees.iter().map(|tree| tree.splits.len()).max().unwrap_or(0);
        // q nodes integrate degree 2q-1 exactly, and the degree is one less than the features.
        let (nodes, weights) = gauss_legendre(longest.div_ceil(2).next_power_of_two().clamp(4, 16));
        Ok(Explainer { trees, most_splits, bias: bias as f32, nodes, weights })
    }

    /// Contributions of each feature to the margin of `row`, and last what the margin would be expected to be without
    /// any: they sum up to the margin.
    ///
    /// # Panics
    /// When the row's width is not `num_features`.
    #[must_use]
    pub fn contributions(&self, explainer: &Explainer, row: &[f32]) -> Vec<f32> {
        assert_eq!(row.len(), self.num_features, "the row has another width than the model");
        let mut contributions = match explainer.nodes.len() {
            4 => self.integrate::<1>(explainer, row),
            8 => self.integrate::<2>(explainer, row),
            _ => self.integrate::<4>(explainer, row),
        };
        contributions.push(explainer.bias);
        contributions
    }

    fn integrate<const N: usize>(&self, explainer: &Explainer, row: &[f32]) -> Vec<f32> {
        let vectors = |values: &[f32]| each(|n| f32x4::from([0, 1, 2, 3].map(|lane| values[4 * n + lane])));
        let (t, weights): (Lanes<N>, Lanes<N>) = (vectors(&explainer.nodes), vectors(&explainer.weights));
        let mut sums = vec![[f32x4::ZERO; N]; self.num_features];
        let mut scratch = vec![Passed::<N>::NOTHING; explainer.most_splits + 1];
        for tree in &explainer.trees {
            pass(tree, &self.trees[tree.tree], row, &t, &mut scratch, &mut sums);
        }
        let weighted = |sum: &Lanes<N>| (0..N).map(|n| (sum[n] * weights[n]).reduce_add()).sum();
        sums.iter().map(weighted).collect()
    }
}

/// A number for each node of the quadrature.
type Lanes<const N: usize> = [f32x4; N];

/// Factors and sums of one split while a row passes.
#[derive(Debug, Clone, Copy)]
struct Passed<const N: usize> {
    /// Product of the factors above, without this split's feature.
    above: Lanes<N>,
    /// One over the feature's factor above.
    inverse: Lanes<N>,
    /// The feature's factor to the left and to the right.
    factors: [Lanes<N>; 2],
    /// Sums from what hangs below to the left and to the right.
    below: [Lanes<N>; 2],
    /// Sum from what hangs from this split, by the factors that its feature has not had above.
    hanging: Lanes<N>,
    /// 1 where the row passes to the left, and to the right, by all splits on the feature so far; 0 where it does not.
    passes: [f32; 2],
    /// Difference `passes - cover` for the left and the right child.
    excess: [f32; 2],
    /// Difference of the same kind for the next split above on the same feature.
    excess_above: f32,
}

impl<const N: usize> Passed<N> {
    /// A feature that has had no split yet: everything passes, and nothing follows from it.
    const NOTHING: Self = Self {
        above: [f32x4::ONE; N],
        inverse: [f32x4::ONE; N],
        factors: [[f32x4::ONE; N]; 2],
        below: [[f32x4::ZERO; N]; 2],
        hanging: [f32x4::ZERO; N],
        passes: [1.0; 2],
        excess: [0.0; 2],
        excess_above: 0.0,
    };
}

#[inline]
fn each<const N: usize>(make: impl FnMut(usize) -> f32x4) -> Lanes<N> {
    std::array::from_fn(make)
}

fn pass<const N: usize>(
    splits: &Splits,
    tree: &Tree,
    row: &[f32],
    t: &Lanes<N>,
    scratch: &mut [Passed<N>],
    sums: &mut [Lanes<N>],
) {
    scratch[1].above = [f32x4::ONE; N];
    for (i, split) in splits.splits.iter().enumerate() {
        let x = row[usize::from(split.feature)];
        let left = if split.flags & CATEGORICAL != 0 && !x.is_nan() {
            tree.goes_left(splits.nodes[i], x)
        } else {
            (x < split.threshold) | (x.is_nan() & (split.flags & DEFAULT_LEFT != 0))
        };
        let (up, side) = (&scratch[(split.above >> 1) as usize], (split.above & 1) as usize);
        let (passed, excess_above, factors_above) = (up.passes[side], up.excess[side], up.factors[side]);
        // A factor of zero has nothing below it that counts: zero times whatever stands here.
        let inverse = each(|n| f32x4::ONE / factors_above[n].max(f32x4::splat(f32::MIN_POSITIVE)));
        let here = i + 1;
        let above = each(|n| scratch[here].above[n] * inverse[n]);
        let to_left = f32::from(u8::from(left));
        let passes = [passed * to_left, passed * (1.0 - to_left)];
        let factor = |side: usize| {
            let (cover, passes) = (f32x4::splat(split.cover[side]), f32x4::splat(passes[side]));
            each(|n| cover + (passes - cover) * t[n])
        };
        let factors = [factor(0), factor(1)];
        for (side, factors) in factors.iter().enumerate() {
            if split.flags & LEAVES[side] == 0 {
                scratch[split.children[side] as usize].above = each(|n| above[n] * factors[n]);
            } else {
                scratch[here].below[side] = [f32x4::splat(f32::from_bits(split.children[side])); N];
            }
        }
        let state = &mut scratch[here];
        state.above = above;
        state.inverse = inverse;
        state.factors = factors;
        state.passes = passes;
        state.excess = [passes[0] - split.cover[0], passes[1] - split.cover[1]];
        state.excess_above = excess_above;
    }
    for (i, split) in splits.splits.iter().enumerate().rev() {
        for side in [0, 1] {
            if split.flags & LEAVES[side] == 0 {
                scratch[i + 1].below[side] = scratch[split.children[side] as usize].hanging;
            }
        }
        let state = &mut scratch[i + 1];
        let [left, right] = state.excess.map(f32x4::splat);
        let excess_above = f32x4::splat(state.excess_above);
        state.hanging = each(|n| {
            (state.factors[0][n] * state.below[0][n] + state.factors[1][n] * state.below[1][n]) * state.inverse[n]
        });
        for (n, sum) in sums[usize::from(split.feature)].iter_mut().enumerate() {
            let here = left * state.below[0][n] + right * state.below[1][n];
            *sum += state.above[n] * (here - excess_above * state.hanging[n]);
        }
    }
}

/// The margin that a tree is expected to add, over its training rows.
fn expected(tree: &Tree) -> f64 {
    // Children first: their sums are there when a parent asks.
    let mut order = vec![0];
    let mut next = 0;
    while let Some(&at) = order.get(next) {
        let found = &tree.nodes[at];
        if found.feature != LEAF {
            order.extend([found.left as usize, found.right as usize]);
        }
        next += 1;
    }
    let mut sums = vec![0.0_f64; tree.nodes.len()];
    for at in order.into_iter().rev() {
        let found = &tree.nodes[at];
        sums[at] = if found.feature == LEAF {
            f64::from(found.value)
        } else {
            let (left, right) = (found.left as usize, found.right as usize);
            f64::from(share(tree, at, left)) * sums[left] + f64::from(share(tree, at, right)) * sums[right]
        };
    }
    sums[0]
}

/// Share of a node's training rows that went to its child.
fn share(tree: &Tree, node: usize, child: usize) -> f32 {
    let (all, some) = (tree.cover[node], tree.cover[child]);
    if all > 0.0 { some / all } else { 0.0 }
}

/// A node that is still to be laid out.
struct Open {
    node: usize,
    /// Split that leads to it, and on which side.
    parent: Option<(usize, usize)>,
    /// Splits above it, and the side taken there.
    path: Vec<(usize, usize)>,
}

/// The splits of a tree, each before those below it, their nodes, and the most different features on a path.
fn splits(tree: &Tree) -> (Vec<Split>, Vec<u32>, usize) {
    let (mut splits, mut nodes): (Vec<Split>, Vec<u32>) = (Vec::new(), Vec::new());
    let mut longest = 0;
    // Level by level: whether a child is a leaf is then nearly always the same as just before, and guessed right.
    let mut open = VecDeque::from([Open { node: 0, parent: None, path: Vec::new() }]);
    while let Some(Open { node: at, parent, path }) = open.pop_front() {
        let node = &tree.nodes[at];
        let is_leaf = node.feature == LEAF;
        if let Some((parent, side)) = parent {
            let parent: &mut Split = &mut splits[parent];
            parent.children[side] = if is_leaf { node.value.to_bits() } else { nodes.len() as u32 + 1 };
            parent.flags |= if is_leaf { LEAVES[side] } else { 0 };
        }
        if is_leaf {
            continue;
        }
        let above = path.iter().rev().find(|(split, _)| u32::from(splits[*split].feature) == node.feature);
        let before = above.map_or(1.0, |(split, side)| splits[*split].cover[*side]);
        let (left, right) = (node.left as usize, node.right as usize);
        let number = splits.len();
        let default_left = if node.default_left { DEFAULT_LEFT } else { 0 };
        let categorical = if tree.is_categorical(at) { CATEGORICAL } else { 0 };
        splits.push(Split {
            threshold: node.value,
            cover: [before * share(tree, at, left), before * share(tree, at, right)],
            children: [0; 2],
            above: above.map_or(0, |(split, side)| 2 * (*split as u32 + 1) + *side as u32),
            // A model has at most 65,536 features.
            feature: node.feature as u16,
            flags: default_left | categorical,
        });
        nodes.push(at as u32);
        for (side, child) in [left, right].into_iter().enumerate() {
            let mut below = path.clone();
            below.push((number, side));
            let mut features: Vec<u16> = below.iter().map(|(split, _)| splits[*split].feature).collect();
            features.sort_unstable();
            features.dedup();
            longest = longest.max(features.len());
            open.push_back(Open { node: child, parent: Some((number, side)), path: below });
        }
    }
    (splits, nodes, longest)
}

/// Nodes and weights on [0, 1] (Newton's method on the Legendre polynomial).
fn gauss_legendre(count: usize) -> (Vec<f32>, Vec<f32>) {
    let (mut nodes, mut weights) = (vec![0.0; count], vec![0.0; count]);
    for i in 0..count {
        let mut x = (std::f64::consts::PI * (i as f64 + 0.75) / (count as f64 + 0.5)).cos();
        let mut slope = 1.0;
        for _ in 0..50 {
            let (mut before, mut value) = (1.0, x);
            for k in 2..=count {
                let k = k as f64;
                (before, value) = (value, ((2.0 * k - 1.0) * x * value - (k - 1.0) * before) / k);
            }
            slope = count as f64 * (x * value - before) / (x * x - 1.0);
            let step = value / slope;
            x -= step;
            if step.abs() < 1e-16 {
                break;
            }
        }
        nodes[i] = ((x + 1.0) / 2.0) as f32;
        weights[i] = (1.0 / ((1.0 - x * x) * slope * slope)) as f32;
    }
    (nodes, weights)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nodes_integrate_powers_exactly() {
        let (nodes, weights) = gauss_legendre(4);
        for power in 0..8 {
            let found: f64 = nodes.iter().zip(&weights).map(|(t, w)| f64::from(*t).powi(power) * f64::from(*w)).sum();
            assert!((found - 1.0 / f64::from(power + 1)).abs() < 1e-6, "{power}: {found}");
        }
    }
}
