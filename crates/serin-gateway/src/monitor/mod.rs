//! Monitor of what models are asked and what they answer, off the response path.

mod live;
mod panes;
mod recent;

pub use live::{LiveMonitor, PaneSink};
pub(crate) use recent::Last;
