//! Runs a [`Graph`](crate::graph::Graph) over batches, tile by tile.
//!
//! A batch is cut into tiles of samples small enough for their values to stay in cache. A tile goes through all operations before the
//! next one starts; workers take tiles. Training goes forward and straight back over each tile, unless an operation needs statistics
//! of the whole batch (batch norm): then the pass is cut there, and every tile reaches the cut before any goes on.

mod context;
mod occurrences;
mod recurrent;
mod scoring;
mod tiles;
#[cfg(feature = "train")]
mod training;
mod workers;

pub use context::{BatchInputs, Context, Inputs};
pub use occurrences::Occurrences;
pub use recurrent::Recurrent;
pub use scoring::{Attention, Gates, Scorer, Shown};
#[cfg(feature = "train")]
pub(crate) use training::PlaceGradients;
#[cfg(feature = "train")]
pub use training::{StepReport, Trainer};
pub use workers::{OneWorker, Workers, each_piece};
#[cfg(feature = "train")]
pub(crate) use workers::{PIECE, enough_for};
