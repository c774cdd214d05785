//! Stages of model versions.

/// Stage of a model version, MLflow's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// No stage.
    None,
    /// Being tried.
    Staging,
    /// Live.
    Production,
    /// Retired.
    Archived,
}

impl Stage {
    const ALL: [Self; 4] = [Self::None, Self::Staging, Self::Production, Self::Archived];

    /// Whether a version that comes to it archives the one there.
    #[must_use]
    pub fn archives(self) -> bool {
        matches!(self, Self::Staging | Self::Production)
    }

    /// MLflow's spelling.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Staging => "Staging",
            Self::Production => "Production",
            Self::Archived => "Archived",
        }
    }
}

impl std::str::FromStr for Stage {
    type Err = String;

    /// Any case.
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|stage| stage.as_str().eq_ignore_ascii_case(text)).ok_or_else(|| {
            format!("Invalid Model Version stage: {text}. Value must be one of None, Staging, Production, Archived.")
        })
    }
}
