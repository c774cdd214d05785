#![doc = include_str!("../README.md")]

mod causes;
pub mod drift;
pub mod export;
pub mod labelled;
pub mod models;
pub mod replay;
pub mod retraining;
pub mod training;
