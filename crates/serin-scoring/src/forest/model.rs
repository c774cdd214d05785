//! From the file's fields to a checked [`Forest`].

use super::file::{Booster, ModelFile};
use super::objective::Objective;
use super::tree::Tree;
use super::{Forest, ForestError, ScoringPath};

/// XGBoost's own limit is higher; a fraud model's width is not, and a hostile file must not size our buffers.
const MAX_FEATURES: usize = 65_536;
const MAX_OUTPUTS: usize = 4_096;

pub(super) fn build(file: ModelFile) -> Result<Forest, ForestError> {
    let learner = file.learner;
    let objective = Objective::named(&learner.objective.name)?;
    let param = &learner.learner_model_param;
    let num_features = count("num_feature", &param.num_feature, MAX_FEATURES)?;
    let num_class = param.num_class.as_deref().map_or(Ok(0), |v| count("num_class", v, MAX_OUTPUTS))?;
    let num_target = param.num_target.as_deref().map_or(Ok(1), |v| count("num_target", v, MAX_OUTPUTS))?;
    if objective.is_multiclass() != (num_class > 1) {
        return Err(ForestError::Invalid(format!("objective {} with num_class {num_class}", objective.name())));
    }
    if num_class > 1 && num_target > 1 {
        return Err(ForestError::Unsupported("several targets with several classes".into()));
    }
    let outputs = num_class.max(num_target).max(1);

    let base_scores = base_scores(&param.base_score)?;
    let base_margins: Vec<f32> = match base_scores.as_slice() {
        [one] => vec![objective.base_margin(*one); outputs],
        several if several.len() == outputs => several.iter().map(|s| objective.base_margin(*s)).collect(),
        several => {
            return Err(ForestError::Invalid(format!("{} base scores for {outputs} outputs", several.len())));
        }
    };

    let (model, weights) = trees_of(learner.gradient_booster)?;
    let num_trees = model.trees.len();
    let weights = weights.or(model.weight_drop).unwrap_or_default();
    if weights.len() > num_trees {
        return Err(ForestError::Invalid(format!("{} tree weights for {num_trees} trees", weights.len())));
    }
    if model.tree_info.len() != num_trees {
        return Err(ForestError::Invalid(format!(
            "tree_info has {} entries for {num_trees} trees",
            model.tree_info.len()
        )));
    }
    let mut tree_outputs = Vec::with_capacity(num_trees);
    for (i, &output) in model.tree_info.iter().enumerate() {
        match u32::try_from(output) {
            Ok(output) if (output as usize) < outputs => tree_outputs.push(output),
            _ => return Err(ForestError::Invalid(format!("tree {i} adds to output {output} of {outputs}"))),
        }
    }
    let mut trees = Vec::with_capacity(num_trees);
    for (i, tree) in model.trees.iter().enumerate() {
        trees.push(Tree::build(tree, i, num_features, weights.get(i).copied().unwrap_or(1.0))?);
    }
    check_sums(&trees, &tree_outputs, &base_margins)?;

    let per_round = model.gbtree_model_param.get("num_parallel_tree").and_then(|v| v.parse().ok()).unwrap_or(1usize);
    let round_starts = round_starts(&model.iteration_indptr, num_trees, outputs.saturating_mul(per_round.max(1)))?;
    let best_iteration = match learner.attributes.get("best_iteration") {
        None => None,
        Some(text) => {
            let best = text.parse::<usize>().ok().filter(|best| best + 1 < round_starts.len());
            let rounds = round_starts.len() - 1;
            Some(best.ok_or_else(|| ForestError::Invalid(format!("best_iteration {text:?} of {rounds} rounds")))?)
        }
    };
    if !learner.feature_names.is_empty() && learner.feature_names.len() != num_features {
        return Err(ForestError::Invalid(format!(
            "{} feature names for {num_features} features",
            learner.feature_names.len()
        )));
    }
    Ok(Forest {
        trees,
        tree_outputs,
        round_starts,
        base_margins,
        objective,
        num_features,
        feature_names: learner.feature_names,
        best_iteration,
        xgboost_version: file.version.iter().map(u32::to_string).collect::<Vec<_>>().join("."),
        quantised: None,
        path: ScoringPath::Walk,
    })
}

/// Refuses a forest that could give an infinite margin, or NaN: one whose largest leaves add up to more than half of what
/// float32 holds (the other half is room for rounding). Such leaves are damage, and no opinion on a payment.
fn check_sums(trees: &[Tree], tree_outputs: &[u32], base_margins: &[f32]) -> Result<(), ForestError> {
    let mut largest: Vec<f64> = base_margins.iter().map(|margin| f64::from(margin.abs())).collect();
    for (tree, output) in trees.iter().zip(tree_outputs) {
        largest[*output as usize] += f64::from(tree.largest_leaf());
    }
    let is_too_large = |sum: &&f64| sum.is_nan() || **sum > f64::from(f32::MAX) / 2.0;
    match largest.iter().find(is_too_large) {
        Some(sum) => Err(ForestError::Invalid(format!("its leaves can add up to {sum:e}, beyond what float32 holds"))),
        None => Ok(()),
    }
}

type TreesAndWeights = (super::file::TreeModel, Option<Vec<f32>>);

fn trees_of(booster: Booster) -> Result<TreesAndWeights, ForestError> {
    let missing = || ForestError::Invalid("gradient_booster has no trees".into());
    match booster.name.as_str() {
        "gbtree" => Ok((booster.model.ok_or_else(missing)?, booster.weight_drop)),
        "dart" => {
            let inner = booster.gbtree.and_then(|inner| inner.model).or(booster.model).ok_or_else(missing)?;
            Ok((inner, booster.weight_drop))
        }
        other => Err(ForestError::Unsupported(format!("booster {other:?}; supported are gbtree and dart"))),
    }
}

fn count(name: &str, text: &str, limit: usize) -> Result<usize, ForestError> {
    let value: usize = text.parse().map_err(|_| ForestError::Invalid(format!("{name} is {text:?}")))?;
    if value > limit {
        return Err(ForestError::Unsupported(format!("{name} {value}; the limit is {limit}")));
    }
    Ok(value)
}

/// One number, or since XGBoost 3.1 a list in brackets with one number an output.
fn base_scores(text: &str) -> Result<Vec<f32>, ForestError> {
    let inner = text.trim().strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    let scores: Result<Vec<f32>, _> = inner.split(',').map(|part| part.trim().parse::<f32>()).collect();
    match scores {
        Ok(scores) if scores.iter().all(|s| s.is_finite()) => Ok(scores),
        _ => Err(ForestError::Invalid(format!("base_score is {text:?}"))),
    }
}

/// Older files have no `iteration_indptr`: every round then has the same number of trees.
fn round_starts(indptr: &[i32], num_trees: usize, trees_per_round: usize) -> Result<Vec<usize>, ForestError> {
    if indptr.is_empty() {
        return Ok((0..num_trees).step_by(trees_per_round).chain([num_trees]).collect());
    }
    let starts: Vec<usize> = indptr.iter().filter_map(|v| usize::try_from(*v).ok()).collect();
    let ordered = starts.windows(2).all(|pair| pair[0] <= pair[1]);
    if starts.len() != indptr.len() || !ordered || starts[0] != 0 || starts.last() != Some(&num_trees) {
        return Err(ForestError::Invalid("iteration_indptr does not cover the trees".into()));
    }
    Ok(starts)
}
