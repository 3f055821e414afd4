//! What runs on a phone or in a page, around the engine of `kitestring-nn`.
//!
//! - [`behaviour`]: what the user did: bounded, on disk, safe from kills and full disks;
//! - [`trigger`]: sequences of events that something follows from;
//! - [`encode`]: raw values as what a ranker reads;
//! - [`session`]: a user's moment: candidates kept, history read, ranked anew;
//! - [`agent`]: all of these together;
//! - [`app`]: what an app of another language holds;
//! - `learn`: learning from what the user did (feature `train`);
//! - [`map`]: artifacts used where they lie on disk;
//! - [`shelf`]: the artifact in use, and how the next one takes its place.

pub mod agent;
pub mod app;
pub mod behaviour;
pub mod encode;
#[cfg(feature = "train")]
pub mod learn;
#[cfg(not(target_family = "wasm"))]
pub mod map;
pub mod session;
#[cfg(not(target_family = "wasm"))]
pub mod shelf;
pub mod trigger;
