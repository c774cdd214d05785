//! Progressive delivery in the data plane: the split of traffic, the task that moves it, and how people look at it.

pub(crate) mod evidence;
mod gathering;
pub(crate) mod handlers;
mod messages;
mod release;
mod sharing;
mod split;
mod state;
mod world;

pub use evidence::{OthersEvidence, SharedEvidence, share_evidence};
pub use release::{Control, Registrar, Release, Releasing};
pub(crate) use split::{Step, hashed};
