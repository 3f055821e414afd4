//! The device runtime for C: `include/kitestring.h` is made of this crate's documentation.
//!
//! Handles are opaque, made by `…_new` and given back by `…_free`. Every other call says by a status how it went, and a handle keeps the message
//! of the last call that failed. No panic crosses the boundary: it becomes [`KitestringStatus::Internal`], and in the profile `device`, which apps
//! ship, it ends the process.
//!
//! - [`status`]: how a call went;
//! - [`ranker`]: an artifact opened, values in, a ranking out;
//! - [`shelf`]: the folder with the artifact in use;
//! - `raw`: what C hands over, read with care.

pub mod ranker;
mod raw;
pub mod shelf;
pub mod status;

pub use status::KitestringStatus;
