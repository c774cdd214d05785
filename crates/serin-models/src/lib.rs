#![doc = include_str!("../README.md")]

mod loaded_model;

pub use loaded_model::{LoadError, LoadedModel};
