//! dermald: image classification with Grad-CAM beside gunicorn.
//!
//! # The map
//!
//! Dependencies point downward; no room knows one above it.
//!
//! ```text
//! main            starts cli
//! cli             the commands; client asks a daemon for them
//! supervisor      `run`: keeps a daemon running beside a command
//! daemon          `serve`: puts the rooms together
//! server          connections; the only room that translates wire to inference
//! inference       one thread that owns the ONNX session, fed by a bounded queue
//! image           pictures: file to tensor, heatmap to overlay
//! config          settings and their origins     (knows no sibling)
//! model           the bundle, the prepared copy  (knows whose files lifecycle trusts)
//! lifecycle       signals, memory, renewal, trust (knows no sibling)
//! wire            bytes                          (knows no sibling)
//! ```
//!
//! # The way of a picture
//!
//! [`server`] reads a frame, [`wire`] cuts it into a request whose picture is a slice of the frame,
//! the request becomes a task in the queue of [`inference`]. The inference thread has [`image`]
//! decode and resize it, runs the model, has the overlay rendered, and sends the answer back to the
//! connection, which encodes and writes it.
//!
//! # The way of a model
//!
//! A bundle is portable, and what runs is not: before the first picture, a child process
//! (`dermald prepare`, which [`inference::preparation`] starts when nobody ran it before) checks the
//! bundle, optimises its graph for this CPU, tries it on the bundle's own pictures and puts it into a
//! cache. The daemon maps that copy; its memory never holds the optimiser's.
//!
//! # The way of a renewal
//!
//! Memory past its limit, idleness, a new model: the process replaces its own image. Connections hand
//! themselves in at the [`server`], [`lifecycle::handover`] packs them into a memfd, and the new image
//! goes on where the old one left off. [`daemon`] tells the order of the steps.
//!
//! # What the process may do
//!
//! Once it listens, and before there is a second thread, it gives up what it does not need
//! ([`lifecycle::sandbox`]), for itself and for every image and child that follows.
//!
//! # What is not here
//!
//! No HTTP, no TLS, no network: the socket is a Unix socket, and who may use it is decided by the
//! kernel's word on who is at the other end. Nobody is told anything: ONNX Runtime's reports to its
//! makers are switched off, see [`config::environment::forbid_telemetry`]. No Python. No knowledge of
//! Django: that is `python-client/`. No training and no conversion: that is `models/`. Nothing is
//! stored but prepared models.

pub mod cli;
pub mod client;
pub mod config;
pub mod daemon;
pub mod image;
pub mod inference;
pub mod lifecycle;
pub mod model;
pub mod server;
pub mod supervisor;
pub mod wire;
