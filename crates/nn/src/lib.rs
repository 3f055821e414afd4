//! The engine and the models.
//!
//! - [`kernels`]: loops that vectorize, and matrix products;
//! - [`ops`]: the closed set of differentiable operations;
//! - [`graph`]: a forward pass as plain data, written once;
//! - [`engine`]: runs it, with recording (training) or without (inference), tile by tile;
//! - [`slots`]: the five slots of a ranker, each with its variants;
//! - [`ranker`]: a schema and the slots' configs made into a graph;
//! - [`retriever`]: a schema and the configs of two towers made into two graphs;
//! - [`network`]: a graph's weights and running statistics, and their file;
//! - [`grow`]: a trained network for more scenarios or tasks than it was trained with;
//! - [`uncertainty`]: what a prediction does not know, from several drawn passes;
//! - [`quantization`]: numbers in a byte or half of one;
//! - [`package`]: a ranker in an artifact;
//! - `onnx` (with the feature `export`): a graph as an ONNX model;
//! - [`optimizer`]: dense optimizers for the network.
//!
//! Without the `train` feature only inference is left: the phone's runtime.

pub mod engine;
pub mod graph;
pub mod grow;
pub mod kernels;
pub mod network;
#[cfg(feature = "export")]
pub mod onnx;
pub mod ops;
#[cfg(feature = "train")]
pub mod optimizer;
pub mod package;
pub mod quantization;
pub mod ranker;
pub mod retriever;
pub mod slots;
#[cfg(feature = "train")]
pub mod uncertainty;
