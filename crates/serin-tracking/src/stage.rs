//! Stages of model versions.

/// Stage of a model version, in MLflow's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The version is in no stage.
    None,
    /// The version is being tried.
    Staging,
    /// The version is live.
    Production,
    /// The version is retired.
    Archived,
}

impl Stage {
    const ALL: [Self; 4] = [Self::None, Self::Staging, Self::Production, Self::Archived];

    /// Returns whether a version that comes to the stage archives the one that is there.
    #[must_use]
    pub fn archives(self) -> bool {
        matches!(self, Self::Staging | Self::Production)
    }

    /// Returns MLflow's spelling of the stage.
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

/// Name of no stage; the message is MLflow's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Invalid Model Version stage: {0}. Value must be one of None, Staging, Production, Archived.")]
pub struct UnknownStage(String);

impl std::str::FromStr for Stage {
    type Err = UnknownStage;

    /// Reads MLflow's spelling, in upper or lower case.
    fn from_str(text: &str) -> Result<Self, UnknownStage> {
        let found = Self::ALL.into_iter().find(|stage| stage.as_str().eq_ignore_ascii_case(text));
        found.ok_or_else(|| UnknownStage(text.to_owned()))
    }
}
