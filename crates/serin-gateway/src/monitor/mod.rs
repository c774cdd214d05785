//! What models see and say, watched off the response path.

mod live;
mod recent;

pub use live::{LiveMonitor, PaneSink};
pub(crate) use recent::Last;
