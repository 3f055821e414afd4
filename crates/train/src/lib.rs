//! From a data set to a trained, evaluated and explained ranker.
//!
//! A [`learner::Learner`] pulls rows, computes gradients and pushes updates; [`fit`] runs it over epochs, with checkpoints;
//! [`predictor::Predictor`] scores; [`evaluate`] judges; [`run::Run`] is the directory it all lives in; [`report`] shows it.

pub mod config;
pub mod history;
pub mod inputs;
pub mod learner;
pub mod model;
pub mod predictor;
pub mod report;
pub mod workers;

pub use config::RunConfig;
pub use model::Model;
