//! What a margin means: XGBoost's link functions, in float32 and in its order of operations.

use super::ForestError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Identity,
    Logistic,
    Log,
    Softmax,
    Argmax,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Objective {
    name: &'static str,
    link: Link,
}

/// XGBoost bounds a logistic `base_score` away from 0 and 1 by this (`kRtEps`).
const BASE_SCORE_MARGIN: f32 = 1e-6;

const KNOWN: [(&str, Link); 15] = [
    ("binary:logistic", Link::Logistic),
    ("reg:logistic", Link::Logistic),
    ("binary:logitraw", Link::Identity),
    ("reg:squarederror", Link::Identity),
    ("reg:linear", Link::Identity),
    ("reg:absoluteerror", Link::Identity),
    ("reg:pseudohubererror", Link::Identity),
    ("reg:squaredlogerror", Link::Identity),
    ("reg:quantileerror", Link::Identity),
    ("reg:expectileerror", Link::Identity),
    ("reg:gamma", Link::Log),
    ("reg:tweedie", Link::Log),
    ("count:poisson", Link::Log),
    ("multi:softprob", Link::Softmax),
    ("multi:softmax", Link::Argmax),
];

impl Objective {
    pub(super) fn named(name: &str) -> Result<Self, ForestError> {
        KNOWN.iter().find(|(known, _)| *known == name).map(|&(name, link)| Self { name, link }).ok_or_else(|| {
            let known = KNOWN.map(|(known, _)| known).join(", ");
            ForestError::Unsupported(format!("objective {name:?}; supported are {known}"))
        })
    }

    pub(super) fn name(self) -> &'static str {
        self.name
    }

    pub(super) fn is_multiclass(self) -> bool {
        matches!(self.link, Link::Softmax | Link::Argmax)
    }

    /// The margin that `base_score` stands for.
    pub(super) fn base_margin(self, base_score: f32) -> f32 {
        match self.link {
            Link::Logistic => {
                let p = base_score.clamp(BASE_SCORE_MARGIN, 1.0 - BASE_SCORE_MARGIN);
                -(1.0 / p - 1.0).ln()
            }
            Link::Log => base_score.ln(),
            Link::Identity | Link::Softmax | Link::Argmax => base_score,
        }
    }

    pub(super) fn transform(self, row: &mut [f32]) {
        match self.link {
            Link::Identity => {}
            Link::Logistic => row.iter_mut().for_each(|m| *m = sigmoid(*m)),
            Link::Log => row.iter_mut().for_each(|m| *m = m.exp()),
            Link::Softmax => softmax(row),
            Link::Argmax => {
                let best = row.iter().enumerate().fold(0, |best, (i, m)| if *m > row[best] { i } else { best });
                row.fill(best as f32);
            }
        }
    }
}

/// 1 / (1 + e^-m), the exponent bounded so that it cannot overflow. XGBoost also adds 1e-16 to the
/// denominator, which float32 cannot see.
fn sigmoid(margin: f32) -> f32 {
    // `min` written out: XGBoost's keeps NaN in the first place.
    let exponent = if 88.7 < -margin { 88.7 } else { -margin };
    1.0 / (exponent.exp() + 1.0)
}

fn softmax(row: &mut [f32]) {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut total = 0.0f64;
    for margin in row.iter_mut() {
        *margin = (*margin - largest).exp();
        total += f64::from(*margin);
    }
    for margin in row.iter_mut() {
        *margin /= total as f32;
    }
}
