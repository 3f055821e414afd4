//! Numbers in a byte or half of one.
//!
//! - [`affine`]: a scale and a zero for activations, a scale a column for weights;
//! - [`calibrate`]: which range of activations is worth its codes;
//! - [`product`]: products of weights and activations, done in codes;
//! - [`rounding`]: a network that will be done so, as training sees it;
//! - [`rows`]: embedding rows, each with its own scale.
//!
//! The conventions are those of the TensorFlow Lite quantization specification: `real = (code − zero) · scale`, weights symmetric in
//! [−127, 127], activations in [−128, 127] with zero always a code.

pub mod affine;
pub mod calibrate;
pub mod product;
pub mod rounding;
pub mod rows;
