#![doc = include_str!("../README.md")]

pub mod drift;
pub mod export;
pub mod labelled;
pub mod models;
pub mod replay;
