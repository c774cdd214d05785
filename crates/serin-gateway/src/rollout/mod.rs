//! Progressive delivery: the split of traffic, and the thread that moves it.
//!
//! What happens is decided by `serin_analysis::rollout::delivery`, which is pure; here it is fed with what was counted,
//! and what it orders is done.

mod counted;
mod counting;
mod errands;
mod messages;
mod queries;
mod release;
mod shown;
mod split;
mod state_file;

pub(crate) use release::CommandError;
pub use release::{Release, ReleaseError, Releasing};
pub use serin_analysis::rollout::delivery::Control;
pub(crate) use split::{Outcome, Step, hashed};
pub use state_file::StateFileError;
