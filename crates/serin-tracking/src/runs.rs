//! Records about a run: its status, tags and metric values.

/// Status of a run, in MLflow's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunStatus {
    /// The run is at work.
    Running,
    /// The run waits for its turn.
    Scheduled,
    /// The run ended well.
    Finished,
    /// The run ended with an error.
    Failed,
    /// The run was ended by a person.
    Killed,
}

impl RunStatus {
    const ALL: [Self; 5] = [Self::Running, Self::Scheduled, Self::Finished, Self::Failed, Self::Killed];

    /// Returns MLflow's spelling of the status.
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

    /// Returns the status with this MLflow spelling; none where there is no such status.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// Returns the status with this MLflow number, from 1; none where there is no such status.
    #[must_use]
    pub fn of_number(number: i64) -> Option<Self> {
        usize::try_from(number - 1).ok().and_then(|at| Self::ALL.get(at).copied())
    }
}

/// A tag or parameter: a key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// Key of the tag, its name.
    pub key: String,
    /// Value of the tag, as text.
    pub value: String,
}

impl Tag {
    /// Makes a tag from two texts.
    pub fn new(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { key: key.into(), value: value.into() }
    }
}

/// One value of a metric at one time and step.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metric {
    /// Name of the metric.
    pub key: String,
    /// Value of the metric. NaN stays NaN; infinities become the largest finite values, as MLflow stores them.
    pub value: f64,
    /// Time of the value, epoch milliseconds.
    pub timestamp_ms: i64,
    /// Step of the value, such as the boosting round; may be negative.
    pub step: i64,
    /// Id of the logged model that the value belongs to.
    pub model_id: Option<String>,
    /// Name and digest of the data set that the value was measured on.
    pub dataset: Option<(String, String)>,
    /// Id of the run, where values of several runs are listed together.
    pub run_id: Option<String>,
}
