//! From files to samples: readers, preparation, data sets and the simulator.
//!
//! Data walks one way: [`reader`] turns files into [`chunk::Chunk`]s, [`layout`] joins, derives and filters them,
//! [`prepare`] turns them into a data set directory, and [`dataset`] reads batches out of it. The [`simulator`] writes
//! files like any user's.

mod cells;
pub mod chunk;
pub mod config;
pub mod dataset;
pub mod guess;
pub mod layout;
pub mod prepare;
pub mod reader;
pub mod simulator;
