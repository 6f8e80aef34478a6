//! What is fuzzed. Each path is a function of bytes that panics over a finding; the programs in
//! `targets` hand it to libFuzzer, and `tests/fuzzed.rs` of dermald runs the same without.
#![allow(missing_docs, reason = "the modules say it")]

pub mod allowance;
pub mod frame;
pub mod mutation;
pub mod picture;
