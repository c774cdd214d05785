//! What is said of a run: its status, tags and metric values.

/// Status of a run, MLflow's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunStatus {
    /// At work.
    Running,
    /// Waiting for its turn.
    Scheduled,
    /// Ended well.
    Finished,
    /// Ended with an error.
    Failed,
    /// Ended by a person.
    Killed,
}

impl RunStatus {
    const ALL: [Self; 5] = [Self::Running, Self::Scheduled, Self::Finished, Self::Failed, Self::Killed];

    /// MLflow's spelling.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Scheduled => "SCHEDULED",
            Self::Finished => "FINISHED",
            Self::Failed => "FAILED",
            Self::Killed => "KILLED",
        }
    }

    /// By MLflow's spelling.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// By MLflow's number, from 1.
    #[must_use]
    pub fn of_number(number: i64) -> Option<Self> {
        usize::try_from(number - 1).ok().and_then(|at| Self::ALL.get(at).copied())
    }
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// Key.
    pub key: String,
    /// Value.
    pub value: String,
}

impl Tag {
    /// From anything textual.
    pub fn new(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { key: key.into(), value: value.into() }
    }
}

/// A metric value.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metric {
    /// Name.
    pub key: String,
    /// Value. NaN stays NaN; infinities become the largest finite values, as MLflow stores them.
    pub value: f64,
    /// Epoch milliseconds.
    pub timestamp_ms: i64,
    /// Step, such as the boosting round; may be negative.
    pub step: i64,
    /// Logged model it belongs to.
    pub model_id: Option<String>,
    /// Data set it was measured on.
    pub dataset: Option<(String, String)>,
    /// Run, where several are listed together.
    pub run_id: Option<String>,
}
