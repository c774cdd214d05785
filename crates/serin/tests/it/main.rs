//! The real binary, as a stranger runs it.
#![expect(clippy::unwrap_used, reason = "test code")]

mod architecture;
mod categories;
mod decisions;
mod doc_comments;
mod fallback;
mod grpc;
mod limits;
mod offline;
mod peer;
mod protocols;
mod release;
mod serving;
mod shadow;
mod stopping;
mod transactions;
