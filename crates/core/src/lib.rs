//! What every part of Kitestring speaks: the [`schema`], the [`batch`], [`metrics`], [`artifact`]s, [`error`]s, [`seed`]s and [`json`].
//!
//! This crate has no heavy dependency and does no I/O; it builds for `wasm32-unknown-unknown`.

pub mod artifact;
pub mod batch;
pub mod error;
pub mod fitted;
pub mod hash;
pub mod json;
pub mod metrics;
pub mod note;
pub mod schema;
pub mod seed;
pub mod value;
mod vocabulary_hash;

pub use batch::{Batch, Ids};
pub use error::{Error, Kind, Result};
pub use note::Note;
pub use schema::Schema;
pub use seed::Seed;
pub use vocabulary_hash::{VocabularyHash, VocabularyHasher};
