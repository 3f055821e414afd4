//! Arbitrary bytes as a behaviour log.
#![no_main]

#[path = "../bodies/event_log.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::event_log(data));
