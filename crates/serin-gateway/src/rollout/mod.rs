//! Progressive delivery: the split of traffic, and the task that moves it.

mod counted;
mod gathering;
mod messages;
mod release;
mod sharing;
mod split;
mod state;
mod world;

pub use release::{Control, Release, Releasing};
pub(crate) use split::{Outcome, Step, hashed};
