#![doc = include_str!("../README.md")]

pub mod classification;
pub mod curves;
mod draws;
pub mod drift;
pub mod evidence;
pub mod monitor;
pub mod performance;
pub mod profile;
mod ranking;
pub mod rollout;
pub mod threshold;
