//! Candidates for a ranker: two towers trained on all pairs, and an index over the item tower.
//!
//! - [`objective`]: what makes the towers good: all pairs by Gramians, softmax over drawn items;
//! - [`als`]: the linear baseline: factors by alternating least squares over all pairs;
//! - [`corpus`]: the training pairs of a data set;
//! - [`learner`]: one step: pull, compute, push;
//! - [`fit`]: epochs of them, with checkpoints;
//! - [`model`]: the towers with what they learned, and their directory;
//! - [`encode`]: from samples and items to vectors;
//! - [`index`]: the vectors of items, and those whose inner product with a query is largest;
//! - [`recall`]: candidates for a ranker;
//! - [`recommend`]: the retriever and a ranker together, for one user now;
//! - [`pipeline`]: what a ranker loses and saves by ranking those alone;
//! - [`evaluate`]: how well they find what users will want;
//! - [`report`]: what it all came to, as a page;
//! - [`catalogue`]: what can be chosen, for documentation.

pub mod als;
pub mod catalogue;
pub mod config;
pub mod corpus;
pub mod encode;
pub mod evaluate;
pub mod fit;
pub mod index;
pub mod learner;
mod linear;
pub mod model;
pub mod objective;
pub mod pipeline;
pub mod recall;
pub mod recommend;
pub mod report;

pub use config::RetrieveConfig;
pub use model::RetrieverModel;
