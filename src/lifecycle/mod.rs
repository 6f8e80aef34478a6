//! The life of the process: what the kernel tells us, and what we know of ourselves and our surroundings.
//!
//! This room knows signals, limits and `/proc`. It refuses to know requests, models and sockets; what
//! is to happen on a signal is decided in [`crate::server`].
//!
//! - [`limits`]: how many descriptors we may have.
//! - [`signals`]: signals as messages.
//! - [`memory`]: what the process holds, by kind.
//! - [`parent`]: not outliving the process that started us.
//! - [`trust`]: whose files we rely on.

pub mod limits;
pub mod memory;
pub mod parent;
pub mod signals;
pub mod trust;
