//! Candidates for a ranker: two towers trained on all pairs, and an index over the item tower.
//!
//! - [`objective`]: what makes the towers good: all pairs by Gramians, softmax over drawn items.

pub mod objective;
