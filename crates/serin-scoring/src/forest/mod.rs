//! Our own scorer for XGBoost models: the same float32 margin, bit for bit, at a fraction of the time.
//!
//! [`Forest::from_bytes`] reads a model file and chooses, once, how its trees are evaluated: `walk` for any
//! tree, `quantised` (ranks in bytes, see there) for the trees that fraud models have, with AVX-512, AVX2 and
//! portable instructions. Every way adds the leaf values of a row in tree order from the base margin, which
//! is what makes the sum equal to XGBoost's to the last bit.

mod blocks;
mod contributions;
mod file;
mod model;
mod objective;
mod quantised;
mod ranks;
#[cfg(target_arch = "x86_64")]
mod simd_avx2;
#[cfg(target_arch = "x86_64")]
mod simd_avx512;
mod tree;
mod ubjson;

pub use contributions::Explainer;
use objective::Objective;
use quantised::Quantised;
use tree::Tree;

/// Why a model file was refused.
#[derive(Debug, thiserror::Error)]
pub enum ForestError {
    /// The bytes are not a complete XGBoost model file.
    #[error("cannot read the model file: {0}")]
    Unreadable(String),
    /// The file is readable but inconsistent (a child out of range, a cycle, arrays of unequal length).
    #[error("the model file is damaged: {0}")]
    Invalid(String),
    /// A valid XGBoost model of a kind this scorer does not evaluate.
    #[error("not supported: {0}")]
    Unsupported(String),
}

/// Instructions that evaluate the trees. Every path gives the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ScoringPath {
    /// Walks from node to node; takes any tree (deep, categorical).
    Walk,
    /// Compares byte ranks in heap-shaped trees, in plain Rust.
    Portable,
    /// Compares byte ranks of 32 trees in one vector.
    Avx2,
    /// Compares byte ranks of 64 trees in one vector (needs AVX-512 F, BW and VBMI).
    Avx512,
}

impl std::fmt::Display for ScoringPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Walk => "walk",
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        })
    }
}

/// A trained XGBoost tree ensemble, ready to score. Immutable; share it between threads.
#[derive(Debug)]
pub struct Forest {
    trees: Vec<Tree>,
    /// Output (class) that each tree adds to.
    tree_outputs: Vec<u32>,
    /// Tree range of each boosting round, as XGBoost's `iteration_indptr`.
    round_starts: Vec<usize>,
    base_margins: Vec<f32>,
    objective: Objective,
    num_features: usize,
    feature_names: Vec<String>,
    best_iteration: Option<usize>,
    xgboost_version: String,
    quantised: Option<Quantised>,
    path: ScoringPath,
}

impl Forest {
    /// Reads an XGBoost model in JSON or UBJSON (XGBoost 1.7 to 3.x; `gbtree` and `dart`; objectives
    /// `binary:logistic`, `binary:logitraw`, `reg:*`, `count:poisson`, `multi:softprob`, `multi:softmax`).
    ///
    /// # Errors
    /// Never panics: damaged files are [`ForestError::Invalid`] or [`ForestError::Unreadable`], other model
    /// kinds are [`ForestError::Unsupported`] by name. Memory stays proportional to the file.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ForestError> {
        let mut forest = model::build(file::read(bytes)?)?;
        forest.compile();
        Ok(forest)
    }

    fn compile(&mut self) {
        self.quantised = Quantised::compile(&self.trees, &self.tree_outputs, self.num_features);
        self.path = self.available_paths()[0];
    }

    /// The paths that this forest and this processor can take, fastest first.
    #[must_use]
    pub fn available_paths(&self) -> Vec<ScoringPath> {
        let mut paths = Vec::new();
        if self.quantised.is_some() {
            #[cfg(target_arch = "x86_64")]
            {
                if simd_avx512::is_available() {
                    paths.push(ScoringPath::Avx512);
                }
                if simd_avx2::is_available() {
                    paths.push(ScoringPath::Avx2);
                }
            }
            paths.push(ScoringPath::Portable);
        }
        paths.push(ScoringPath::Walk);
        paths
    }

    /// Takes another of [`Self::available_paths`], for tests and benchmarks. False when it is not available.
    pub fn use_path(&mut self, path: ScoringPath) -> bool {
        let available = self.available_paths().contains(&path);
        if available {
            self.path = path;
        }
        available
    }

    /// Instructions that were chosen when the model was loaded.
    #[must_use]
    pub fn path(&self) -> ScoringPath {
        self.path
    }

    /// Drops the rounds after `best_iteration`, as XGBoost's scikit-learn classes do when they predict.
    /// Without a recorded best iteration nothing changes.
    #[must_use]
    pub fn up_to_best_iteration(mut self) -> Self {
        if let Some(best) = self.best_iteration
            && let Some(&end) = self.round_starts.get(best + 1)
        {
            self.trees.truncate(end);
            self.tree_outputs.truncate(end);
            self.round_starts.truncate(best + 2);
            self.compile();
        }
        self
    }

    /// Number of features in a row.
    #[must_use]
    pub fn num_features(&self) -> usize {
        self.num_features
    }

    /// Margins of a row: 1, or the number of classes.
    #[must_use]
    pub fn num_outputs(&self) -> usize {
        self.base_margins.len()
    }

    /// Number of trees in the forest.
    #[must_use]
    pub fn num_trees(&self) -> usize {
        self.trees.len()
    }

    /// Names stored in the model file; empty when it has none.
    #[must_use]
    pub fn feature_names(&self) -> &[String] {
        &self.feature_names
    }

    /// XGBoost's name of the objective.
    #[must_use]
    pub fn objective(&self) -> &'static str {
        self.objective.name()
    }

    /// Round with the best evaluation metric, where training stopped early.
    #[must_use]
    pub fn best_iteration(&self) -> Option<usize> {
        self.best_iteration
    }

    /// Version of XGBoost that wrote the file, such as `3.4.1`; empty when unknown.
    #[must_use]
    pub fn xgboost_version(&self) -> &str {
        &self.xgboost_version
    }

    /// Margins of `rows` (row-major, `num_features` float32 each, NaN is missing) into `margins`
    /// (row-major, `num_outputs` each).
    ///
    /// # Panics
    /// When the lengths do not belong to the same whole number of rows.
    pub fn margins_into(&self, rows: &[f32], margins: &mut [f32]) {
        let outputs = self.num_outputs();
        let count = if margins.len() == outputs { 1 } else { margins.len() / outputs };
        assert_eq!(margins.len(), count * outputs, "margins are not a whole number of rows");
        assert_eq!(rows.len(), count * self.num_features, "rows and margins differ in number");
        for margins in margins.chunks_exact_mut(outputs) {
            margins.copy_from_slice(&self.base_margins);
        }
        if count == 0 {
            return;
        }
        match (&self.quantised, self.path) {
            (Some(quantised), ScoringPath::Portable) => {
                quantised.add_portable(rows, self.num_features, margins, outputs);
            }
            #[cfg(target_arch = "x86_64")]
            (Some(quantised), ScoringPath::Avx2) => {
                simd_avx2::add(quantised, rows, self.num_features, margins, outputs);
            }
            #[cfg(target_arch = "x86_64")]
            (Some(quantised), ScoringPath::Avx512) => {
                simd_avx512::add(quantised, rows, self.num_features, margins, outputs);
            }
            _ => self.add_by_walking(rows, margins, outputs),
        }
    }

    fn add_by_walking(&self, rows: &[f32], margins: &mut [f32], outputs: usize) {
        if self.num_features == 0 {
            // Only single-leaf trees are possible; chunks_exact refuses a width of zero.
            for margins in margins.chunks_exact_mut(outputs) {
                for (tree, &output) in self.trees.iter().zip(&self.tree_outputs) {
                    margins[output as usize] += tree.leaf_value(&[]);
                }
            }
            return;
        }
        for (row, margins) in rows.chunks_exact(self.num_features).zip(margins.chunks_exact_mut(outputs)) {
            for (tree, &output) in self.trees.iter().zip(&self.tree_outputs) {
                margins[output as usize] += tree.leaf_value(row);
            }
        }
    }

    /// Margin of one row of a single-output model.
    ///
    /// # Panics
    /// When the row's width is not `num_features` or the model has several outputs.
    #[must_use]
    pub fn margin(&self, row: &[f32]) -> f32 {
        let mut margin = [0.0];
        self.margins_into(row, &mut margin);
        margin[0]
    }

    /// Turns the margins of one row into scores in place: probability for logistic, class probabilities for
    /// softprob, the value itself for most of `reg:*`. Float32 arithmetic in XGBoost's order.
    pub fn scores_from_margins(&self, margins: &mut [f32]) {
        for row in margins.chunks_exact_mut(self.num_outputs()) {
            self.objective.transform(row);
        }
    }

    /// Score of one row of a single-output model.
    ///
    /// # Panics
    /// As [`Self::margin`].
    #[must_use]
    pub fn score(&self, row: &[f32]) -> f32 {
        self.score_of_margin(self.margin(row))
    }

    /// Score that a margin of a single-output model stands for.
    ///
    /// # Panics
    /// When the model has several outputs.
    #[must_use]
    pub fn score_of_margin(&self, margin: f32) -> f32 {
        let mut score = [margin];
        assert_eq!(self.num_outputs(), 1, "a model of several outputs has no one score");
        self.scores_from_margins(&mut score);
        score[0]
    }
}

#[cfg(test)]
mod tests;
