//! Candidates for a ranker: two towers trained on all pairs, and an index over the item tower.
//!
//! - [`objective`]: what makes the towers good: all pairs by Gramians, softmax over drawn items;
//! - [`corpus`]: the training pairs of a data set;
//! - [`learner`]: one step: pull, compute, push;
//! - [`model`]: the towers with what they learned, and their directory;
//! - [`encode`]: from samples and items to vectors.

pub mod config;
pub mod corpus;
pub mod encode;
pub mod learner;
pub mod model;
pub mod objective;

pub use config::RetrieveConfig;
pub use model::RetrieverModel;
