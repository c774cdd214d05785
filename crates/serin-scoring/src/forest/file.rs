//! XGBoost's model file as it lies on disk: the fields that decide a prediction, in JSON or UBJSON.
//!
//! Field list: XGBoost's model schema, 1.7 to 3.4. Numbers that XGBoost writes as texts stay texts here;
//! `model.rs` gives them their meaning.

use super::ForestError;
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

#[derive(Deserialize)]
pub(super) struct ModelFile {
    pub(super) learner: Learner,
    #[serde(default)]
    pub(super) version: Vec<u32>,
}

#[derive(Deserialize)]
pub(super) struct Learner {
    #[serde(default)]
    pub(super) attributes: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) feature_names: Vec<String>,
    pub(super) gradient_booster: Booster,
    pub(super) learner_model_param: LearnerParam,
    pub(super) objective: Objective,
}

#[derive(Deserialize)]
pub(super) struct LearnerParam {
    pub(super) base_score: String,
    #[serde(default)]
    pub(super) num_class: Option<String>,
    pub(super) num_feature: String,
    #[serde(default)]
    pub(super) num_target: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Objective {
    pub(super) name: String,
}

/// `gbtree` holds `model`; `dart` wraps a `gbtree` and adds `weight_drop` (before 3.4 beside it).
#[derive(Deserialize)]
pub(super) struct Booster {
    pub(super) name: String,
    #[serde(default)]
    pub(super) model: Option<TreeModel>,
    #[serde(default)]
    pub(super) gbtree: Option<Box<Booster>>,
    #[serde(default)]
    pub(super) weight_drop: Option<Vec<f32>>,
}

#[derive(Deserialize)]
pub(super) struct TreeModel {
    pub(super) trees: Vec<TreeFile>,
    #[serde(default)]
    pub(super) tree_info: Vec<i32>,
    #[serde(default)]
    pub(super) iteration_indptr: Vec<i32>,
    #[serde(default)]
    pub(super) gbtree_model_param: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) weight_drop: Option<Vec<f32>>,
}

#[derive(Deserialize)]
pub(super) struct TreeFile {
    pub(super) left_children: Vec<i32>,
    pub(super) right_children: Vec<i32>,
    pub(super) split_indices: Vec<i64>,
    /// Thresholds of the nodes, one for each node, read as float32 directly (serde_json's `float_roundtrip`): through float64 it could round twice.
    #[serde(deserialize_with = "floats")]
    pub(super) split_conditions: Vec<f32>,
    #[serde(deserialize_with = "flags")]
    pub(super) default_left: Vec<bool>,
    #[serde(default, deserialize_with = "floats")]
    pub(super) sum_hessian: Vec<f32>,
    #[serde(default)]
    pub(super) split_type: Vec<u8>,
    #[serde(default)]
    pub(super) categories: Vec<i32>,
    #[serde(default)]
    pub(super) categories_nodes: Vec<i32>,
    #[serde(default)]
    pub(super) categories_segments: Vec<i64>,
    #[serde(default)]
    pub(super) categories_sizes: Vec<i64>,
    #[serde(default)]
    pub(super) tree_param: BTreeMap<String, String>,
}

/// UBJSON opens an object with `{` and a length marker, JSON with `{` and white space or a quote.
pub(super) fn read(bytes: &[u8]) -> Result<ModelFile, ForestError> {
    let is_json = matches!(bytes.iter().filter(|b| !b.is_ascii_whitespace()).nth(1), Some(b'"' | b'}'))
        && bytes.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{');
    if is_json {
        serde_json::from_slice(&without_nan(bytes)).map_err(|e| ForestError::Unreadable(format!("JSON: {e}")))
    } else if bytes.first() == Some(&b'{') {
        super::ubjson::from_slice(bytes).map_err(|e| ForestError::Unreadable(e.to_string()))
    } else if bytes.starts_with(b"binf") || bytes.starts_with(b"CONFIG-offset") {
        Err(ForestError::Unsupported(
            "XGBoost's old binary model format; load it once with XGBoost and save it as .ubj or .json".into(),
        ))
    } else {
        Err(ForestError::Unreadable("neither XGBoost JSON nor UBJSON (first byte is not '{')".into()))
    }
}

/// XGBoost before 2.0 wrote truth values, later ones 0 and 1.
struct Flag(bool);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FlagVisitor;
        impl Visitor<'_> for FlagVisitor {
            type Value = Flag;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false, 0 or 1")
            }
            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Flag, E> {
                Ok(Flag(value))
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Flag, E> {
                match value {
                    0 => Ok(Flag(false)),
                    1 => Ok(Flag(true)),
                    other => Err(E::custom(format!("{other} is no truth value"))),
                }
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Flag, E> {
                self.visit_i64(i64::try_from(value).unwrap_or(i64::MAX))
            }
        }
        deserializer.deserialize_any(FlagVisitor)
    }
}

fn flags<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<bool>, D::Error> {
    Ok(Vec::<Flag>::deserialize(deserializer)?.into_iter().map(|f| f.0).collect())
}

/// XGBoost before 2.0 writes NaN where a categorical split has no threshold: null is its spelling in JSON.
fn floats<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f32>, D::Error> {
    let values = Vec::<Option<f32>>::deserialize(deserializer)?;
    Ok(values.into_iter().map(|value| value.unwrap_or(f32::NAN)).collect())
}

/// `NaN` outside of texts becomes `null`. Files without it, all of the newer ones, are not copied.
fn without_nan(bytes: &[u8]) -> Cow<'_, [u8]> {
    if !bytes.windows(3).any(|three| three == b"NaN") {
        return Cow::Borrowed(bytes);
    }
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 2);
    let (mut at, mut in_text) = (0, false);
    while at < bytes.len() {
        if !in_text && bytes[at..].starts_with(b"NaN") {
            out.extend_from_slice(b"null");
            at += 3;
            continue;
        }
        match bytes[at] {
            b'"' => in_text = !in_text,
            b'\\' if in_text => {
                out.push(bytes[at]);
                at += 1;
            }
            _ => {}
        }
        if let Some(byte) = bytes.get(at) {
            out.push(*byte);
        }
        at += 1;
    }
    Cow::Owned(out)
}
