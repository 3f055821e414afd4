//! Runs a [`Graph`](crate::graph::Graph) over batches, tile by tile.
//!
//! A batch is cut into tiles of samples small enough for their values to stay in cache. A tile goes through all operations before the
//! next one starts; workers take tiles. Training goes forward and straight back over each tile, unless an operation needs statistics
//! of the whole batch (batch norm): then the pass is cut there, and every tile reaches the cut before any goes on.

mod context;
mod recurrent;
mod scoring;
#[cfg(feature = "train")]
mod training;
mod workers;

pub use context::{BatchInputs, Context, Inputs};
pub use recurrent::Recurrent;
pub use scoring::{Attention, Gates, Scorer, Shown};
#[cfg(feature = "train")]
pub use training::{StepReport, Trainer};
pub use workers::{OneWorker, Workers, each_piece};
#[cfg(feature = "train")]
pub(crate) use workers::{PIECE, enough_for};

/// How many floats of values and gradients a tile may have: about a core's second-level cache. Half of it was slower by a tenth
/// (each tile reads all weights), twice of it by a twentieth on DIN.
pub(crate) const TILE_FLOATS: usize = 512 * 1024;

/// How many samples of a tile each expert gets on average, where samples choose few of many. A quarter of it was slower by a half with
/// 40 experts of 256 and 128 units, twice of it the same.
pub(crate) const EXPERT_ROWS: usize = 256;
