//! From a trained ranker to what is shipped to a device: a pipeline of passes, one file a pass, chosen by a config.
//!
//! - [`config`]: what a device can carry, and the passes;
//! - [`candidate`]: a ranker on its way, and the artifact it is;
//! - [`passes`]: what makes it smaller;
//! - [`distil`]: a student learns from a teacher;
//! - [`usage`]: which rows are used, and by whom;
//! - [`measure`]: bytes, microseconds, AUC;
//! - [`latency`]: microseconds on a device that is not there;
//! - [`pipeline`]: all of it, with a ledger;
//! - [`export`]: a ranker in the formats of others.

pub mod candidate;
pub mod config;
pub mod distil;
pub mod export;
#[cfg(test)]
mod fixture;
pub mod latency;
pub mod measure;
pub mod passes;
pub mod pipeline;
pub mod usage;
