#![doc = include_str!("../README.md")]

mod api_keys;
mod connection;
mod error;
mod fields;
pub mod guard;
mod limits;
pub mod page_token;
mod prometheus;
mod statement;
mod tls;
mod workers;

pub use api_keys::{ApiKeys, InvalidKeys};
pub use connection::{Answer, Answering, Answers};
pub use error::{ApiError, Detail, ErrorMessage, InferenceError, MlflowError, Place, ValidationErrors, with_causes};
pub use fields::{Fields, experiment_id};
pub use limits::Limits;
pub use prometheus::Text;
pub use statement::Statement;
pub use tls::{Tls, TlsError};
pub use workers::{Connections, Workers};
