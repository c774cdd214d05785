//! One tree, checked: every child exists, every node has one parent. Evaluated node by node.

use super::ForestError;
use super::file::TreeFile;

pub(super) const LEAF: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    /// Threshold of a numeric split, value of a leaf.
    pub(super) value: f32,
    /// Column of a split, [`LEAF`] in a leaf.
    pub(super) feature: u32,
    pub(super) left: u32,
    pub(super) right: u32,
    pub(super) default_left: bool,
    /// Index into `Tree::category_sets` of a categorical split.
    category_set: Option<u32>,
}

#[derive(Debug)]
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
    /// Categories that go right, ascending: a list, since a bit set's size would be the file's to choose.
    category_sets: Vec<Vec<u32>>,
    /// Training rows (their hessian) that reached each node; empty where the file has none.
    pub(super) cover: Vec<f32>,
    /// Edges on the longest path from the root.
    pub(super) depth: u32,
}

/// XGBoost compares categories as float32; from here on they are no longer exact.
const CATEGORY_LIMIT: f32 = 16_777_216.0;

impl Tree {
    /// `leaf_weight` is DART's weight of the tree: XGBoost multiplies each leaf by it in float32.
    pub(super) fn build(
        file: &TreeFile,
        index: usize,
        num_features: usize,
        leaf_weight: f32,
    ) -> Result<Self, ForestError> {
        let damaged = |what: String| ForestError::Invalid(format!("tree {index}: {what}"));
        let count = file.left_children.len();
        if count == 0 {
            return Err(damaged("has no nodes".into()));
        }
        for (name, length) in [
            ("right_children", file.right_children.len()),
            ("split_indices", file.split_indices.len()),
            ("split_conditions", file.split_conditions.len()),
            ("default_left", file.default_left.len()),
        ] {
            if length != count {
                return Err(damaged(format!("{name} has {length} entries, left_children {count}")));
            }
        }
        if !file.split_type.is_empty() && file.split_type.len() != count {
            return Err(damaged(format!("split_type has {} entries, left_children {count}", file.split_type.len())));
        }
        if file.tree_param.get("size_leaf_vector").is_some_and(|size| !matches!(size.as_str(), "0" | "1")) {
            return Err(ForestError::Unsupported("trees with vector leaves (multi_strategy=multi_output_tree)".into()));
        }
        let (category_sets, set_of_node) = category_sets(file, count).map_err(|error| damaged(error.to_string()))?;

        let mut nodes =
            vec![Node { value: 0.0, feature: LEAF, left: 0, right: 0, default_left: false, category_set: None }; count];
        let mut seen = vec![false; count];
        let mut depth = 0;
        let mut open = vec![(0usize, 0u32)];
        while let Some((id, level)) = open.pop() {
            if std::mem::replace(&mut seen[id], true) {
                return Err(damaged(format!("node {id} is reached twice (a cycle or a shared child)")));
            }
            depth = depth.max(level);
            let (left, right) = (file.left_children[id], file.right_children[id]);
            let value = file.split_conditions[id];
            let node = &mut nodes[id];
            if left == -1 {
                if value.is_nan() {
                    return Err(damaged(format!("leaf {id} has the value NaN")));
                }
                node.value = value * leaf_weight;
                continue;
            }
            let child = |child: i32| usize::try_from(child).ok().filter(|child| *child < count);
            let (Some(left), Some(right)) = (child(left), child(right)) else {
                return Err(damaged(format!("node {id} has children {left} and {right}, the tree {count} nodes")));
            };
            let feature = usize::try_from(file.split_indices[id]).ok().filter(|f| *f < num_features);
            let Some(feature) = feature else {
                return Err(damaged(format!(
                    "node {id} splits on column {}, the model has {num_features}",
                    file.split_indices[id]
                )));
            };
            let categorical = file.split_type.get(id).is_some_and(|kind| *kind == 1);
            if !categorical && value.is_nan() {
                return Err(damaged(format!("node {id} splits at NaN")));
            }
            node.value = value;
            node.feature = feature as u32;
            node.left = left as u32;
            node.right = right as u32;
            node.default_left = file.default_left[id];
            if categorical {
                node.category_set = set_of_node[id];
                if node.category_set.is_none() {
                    return Err(damaged(format!("node {id} is categorical but lists no categories")));
                }
            }
            open.push((left, level + 1));
            open.push((right, level + 1));
        }
        let cover = if file.sum_hessian.len() == count { file.sum_hessian.clone() } else { Vec::new() };
        Ok(Self { nodes, category_sets, cover, depth })
    }

    /// Returns the largest absolute value of a leaf; NaN where a leaf is NaN.
    pub(super) fn largest_leaf(&self) -> f32 {
        let leaves = self.nodes.iter().filter(|node| node.feature == LEAF).map(|node| node.value.abs());
        leaves.fold(0.0, |largest, value| if value > largest || value.is_nan() { value } else { largest })
    }

    pub(super) fn has_categories(&self) -> bool {
        !self.category_sets.is_empty()
    }

    pub(super) fn is_categorical(&self, node: usize) -> bool {
        self.nodes[node].category_set.is_some()
    }

    /// Returns whether a value that is present goes left at a split.
    pub(super) fn goes_left(&self, node: u32, x: f32) -> bool {
        let node = &self.nodes[node as usize];
        match node.category_set {
            Some(set) => !contains(&self.category_sets[set as usize], x),
            None => x < node.value,
        }
    }

    pub(super) fn leaf_value(&self, row: &[f32]) -> f32 {
        let mut node = &self.nodes[0];
        while node.feature != LEAF {
            let x = row[node.feature as usize];
            let left = if x.is_nan() {
                node.default_left
            } else if let Some(set) = node.category_set {
                !contains(&self.category_sets[set as usize], x)
            } else {
                x < node.value
            };
            node = &self.nodes[if left { node.left } else { node.right } as usize];
        }
        node.value
    }
}

/// A category outside the set, negative, or too large to be exact goes left, as in XGBoost.
fn contains(set: &[u32], category: f32) -> bool {
    (0.0..CATEGORY_LIMIT).contains(&category) && set.binary_search(&(category as u32)).is_ok()
}

type CategorySets = (Vec<Vec<u32>>, Vec<Option<u32>>);

/// Fault of a tree's categories.
#[derive(Debug, thiserror::Error)]
enum CategoryFault {
    #[error("categories_nodes, categories_segments and categories_sizes differ in length")]
    Lengths,
    #[error("category segment {0} is out of range")]
    Segment(usize),
    #[error("category {0} is out of range")]
    Category(i32),
}

fn category_sets(file: &TreeFile, count: usize) -> Result<CategorySets, CategoryFault> {
    let mut sets = Vec::with_capacity(file.categories_nodes.len());
    let mut set_of_node = vec![None; count];
    if file.categories_segments.len() != file.categories_nodes.len()
        || file.categories_sizes.len() != file.categories_nodes.len()
    {
        return Err(CategoryFault::Lengths);
    }
    for (i, &node) in file.categories_nodes.iter().enumerate() {
        let node = usize::try_from(node).ok().filter(|n| *n < count);
        let begin = usize::try_from(file.categories_segments[i]).ok();
        let size = usize::try_from(file.categories_sizes[i]).ok();
        let range = begin.zip(size).and_then(|(begin, size)| begin.checked_add(size).map(|end| begin..end));
        let (Some(node), Some(categories)) = (node, range.and_then(|range| file.categories.get(range))) else {
            return Err(CategoryFault::Segment(i));
        };
        let in_range = |c: &i32| u32::try_from(*c).ok().filter(|c| (*c as f32) < CATEGORY_LIMIT);
        let mut set = Vec::with_capacity(categories.len());
        for category in categories {
            set.push(in_range(category).ok_or(CategoryFault::Category(*category))?);
        }
        set.sort_unstable();
        set_of_node[node] = Some(sets.len() as u32);
        sets.push(set);
    }
    Ok((sets, set_of_node))
}
