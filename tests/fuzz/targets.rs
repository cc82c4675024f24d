//! What must hold for any bytes at all, one file for each place where bytes from outside are read.
//!
//! Each `run` panics when a promise is broken and says whether the bytes came through the first gate,
//! so that a search that only ever meets the gate is seen. They are run by libFuzzer (`Cargo.toml` here)
//! and, over the kept corpus and a few thousand mutations of it, by `tests/it/fuzz.rs`.
// Each binary uses one of them.
#![allow(dead_code, clippy::unwrap_used)]

pub mod body;
pub mod config;
pub mod head;
pub mod routing;
pub mod signature;
