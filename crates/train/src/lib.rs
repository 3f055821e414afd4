//! From a data set to a trained, evaluated and explained ranker.
//!
//! A [`learner::Learner`] pulls rows, computes gradients and pushes updates; [`fit`] runs it over epochs, with checkpoints;
//! [`predictor::Predictor`] scores; [`evaluate`] judges; [`run::Run`] is the directory it all lives in; [`report`] shows it.

pub mod assemble;
mod asynchronous;
pub mod checkpoint;
pub mod config;
pub mod config_error;
pub mod evaluate;
pub mod fit;
#[cfg(test)]
mod fixture;
pub mod grow;
pub mod guide;
pub mod history;
pub mod inputs;
pub mod learner;
mod loader;
pub mod model;
pub mod notes;
mod occurrence_l2;
pub mod predictor;
pub mod rates;
pub mod report;
pub mod reserved;
pub mod run;
mod schedule;
pub mod sweep;
pub mod truth;
pub mod watch;
pub mod workers;

pub use config::RunConfig;
pub use model::Model;
