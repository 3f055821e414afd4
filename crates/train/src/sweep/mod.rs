//! Many runs for one question: a config trained with other values of some keys, each with several seeds, and compared.

pub mod jobs;
mod outcome;
mod plan;
mod summary;

pub use outcome::{Measured, OUTCOME, Outcome};
pub use plan::{Between, Named, Point, Random, RunOf, Sweep, SweepFile, Values};
pub use summary::{Failure, summarize};
