//! The life of the process: what the kernel tells us, what we know of ourselves and our surroundings,
//! and how one image of the process follows another.
//!
//! This room knows signals, limits, descriptors and `/proc`. It refuses to know requests, models and
//! sockets; what is to happen on a signal is decided in [`crate::server`], and the order of a renewal
//! is [`crate::daemon`]'s.
//!
//! - [`limits`]: how many descriptors we may have.
//! - [`signals`]: signals as messages.
//! - [`clock`]: moments that outlive an image.
//! - [`memory`]: what the process holds, by kind; [`cgroup`]: what it may hold; [`allocator`]: giving
//!   back what it does not use.
//! - [`renewal`]: why the process is to replace itself, and when.
//! - [`handover`]: how it does; [`binary`]: by what.
//! - [`history`]: memory and renewals over time.
//! - [`child`]: a process that works for us; [`parent`]: being one; [`supervised`]: what we tell whoever
//!   keeps us running.
//! - [`trust`]: whose files we rely on; [`sandbox`]: giving up what we do not need.

pub mod allocator;
pub mod binary;
pub mod cgroup;
pub mod child;
pub mod clock;
pub mod handover;
pub mod history;
pub mod limits;
pub mod memory;
pub mod parent;
pub mod renewal;
pub mod sandbox;
pub mod signals;
pub mod supervised;
pub mod trust;
