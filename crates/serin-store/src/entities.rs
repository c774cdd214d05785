//! Words that several tables share: lifecycle stages and the views of them.

/// Lifecycle stage of a run, an experiment or a logged model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LifecycleStage {
    /// In use, not deleted.
    Active,
    /// In the trash; it can be restored until it is collected.
    Deleted,
}

impl LifecycleStage {
    pub(crate) fn of(text: &str) -> Self {
        if text == "deleted" { Self::Deleted } else { Self::Active }
    }

    /// MLflow's name of the stage: `active` or `deleted`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Deleted => "deleted",
        }
    }
}

/// Lifecycle stages that a search returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ViewType {
    /// Returns only what is in use.
    #[default]
    ActiveOnly,
    /// Returns only what is in the trash.
    DeletedOnly,
    /// Returns what is in use and what is in the trash.
    All,
}

impl ViewType {
    /// Names of the stages that the view includes, one or two.
    pub(crate) fn stages(self) -> &'static [&'static str] {
        match self {
            Self::ActiveOnly => &["active"],
            Self::DeletedOnly => &["deleted"],
            Self::All => &["active", "deleted"],
        }
    }
}
