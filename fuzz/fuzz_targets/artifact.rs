//! Arbitrary bytes as an artifact.
#![no_main]

#[path = "../bodies/artifact.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::artifact(data));
