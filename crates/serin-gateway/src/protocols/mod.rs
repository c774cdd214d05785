//! Protocols: from a request's bytes to cells of the model's signature, and from decisions to an answer. One file a protocol.

mod cells;
pub(crate) mod decisions;
mod fast;
pub(crate) mod grpc;
mod grpc_messages;
pub(crate) mod inference;
pub(crate) mod mlflow;
pub(crate) mod predict;
mod tensors;
pub(crate) mod wire;
