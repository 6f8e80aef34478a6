//! The daemon as a process on a real socket, and the commands beside it.
//!
//! One binary: the tests are compiled and linked once, and run side by side.

mod activation;
mod bounds;
mod cli;
mod doctor;
mod equal;
mod hostile;
mod peers;
mod predict;
mod prepared;
mod queue;
#[cfg(debug_assertions)]
mod rehearsed;
mod reload;
mod renewal;
mod sandbox;
mod start;
#[path = "../support/mod.rs"]
mod support;
