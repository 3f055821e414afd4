//! The behaviour store against a slow model, against damage, and against faults at every operation of its storage.
#![allow(clippy::unwrap_used)]

mod damage;
mod disk;
mod faults;
#[path = "../../../../fuzz/bodies/event_log.rs"]
mod fuzz;
mod model;
mod properties;
mod stored;
