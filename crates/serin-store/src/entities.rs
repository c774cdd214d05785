//! Words that several tables share.

/// Whether something is in use or in the trash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LifecycleStage {
    /// In use.
    Active,
    /// In the trash; it can be restored until it is collected.
    Deleted,
}

impl LifecycleStage {
    pub(crate) fn of(text: &str) -> Self {
        if text == "deleted" { Self::Deleted } else { Self::Active }
    }

    /// MLflow's spelling.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Deleted => "deleted",
        }
    }
}

/// Which of the two a search shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ViewType {
    /// What is in use.
    #[default]
    ActiveOnly,
    /// The trash.
    DeletedOnly,
    /// Both.
    All,
}

impl ViewType {
    /// The stages shown.
    pub(crate) fn stages(self) -> &'static [&'static str] {
        match self {
            Self::ActiveOnly => &["active"],
            Self::DeletedOnly => &["deleted"],
            Self::All => &["active", "deleted"],
        }
    }
}
