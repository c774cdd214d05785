//! What every HTTP route shares.

pub(crate) mod api_keys;
mod connection;
pub(crate) mod error;
pub(crate) mod fields;
pub(crate) mod guard;
pub(crate) mod openapi;
pub(crate) mod page_token;
pub(crate) mod tls;
pub(crate) mod workers;
