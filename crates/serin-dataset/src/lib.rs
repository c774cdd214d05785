#![doc = include_str!("../README.md")]

mod csv;
mod dataset;
mod decisions;
mod error;
mod parquet;
mod random;
mod read;
pub mod simulate;
mod split;
mod table;
mod timestamp;
pub mod windows;
mod write;

pub use dataset::{Dataset, Roles, keys_of};
pub use decisions::{DecisionRow, DecisionWriter};
pub use error::DatasetError;
pub use read::{Progress, read};
pub use split::{Split, SplitError, TimeSplit, random_split};
pub use table::{Table, TableColumn, Values};
pub use timestamp::parse_timestamp;
pub use write::{WriteError, write_transactions};
