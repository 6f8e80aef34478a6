//! The cache of prepared models: graphs that were optimised once for one CPU and one ONNX Runtime.
//!
//! Optimising at load takes more memory than the model itself, and its result fits this CPU only. So
//! it is done once, in another process, into a folder of the cache:
//!
//! ```text
//! CACHE/                          ours or root's, writable by nobody else
//!   lock                          held by whoever prepares
//!   DIGEST-HOST/                  16 digits each: the bundle's, and that of runtime and CPU
//!     model.onnx  weights.bin     read-only, mapped by every daemon that serves the model
//!     prepared.toml               hashes and stamps of these files, and stamps of the bundle's
//!   draft-XXXXXX/                 what is being written, with a copy of the bundle
//! ```
//!
//! A folder is complete or not there: it is written as a draft and renamed. What is mapped is never a
//! file that somebody may write to in place. Everything but the lock may be read by everybody, as far
//! as the umask allows it: what root prepared when an image was built is served by another user.
//!
//! Hosts build on one machine and serve on another: the cache is copied, and every stamp differs. A file
//! whose stamp differs is read, and its hash decides; that takes a tenth of preparing anew.
//!
//! One process prepares at a time. Two optimisers at once would take twice the memory, and the second
//! mostly finds what the first one made. The lock ends with its holder, however that ends, so a draft
//! that is found by the next holder was given up and is removed.
//!
//! This room knows files, not how a graph is optimised.
//!
//! - [`cache`]: finds what was prepared, and puts what is new into its place.
//! - [`draft`]: what is being written, until it is whole.
//! - [`record`]: what `prepared.toml` says, and when a model was last opened.
//! - [`sweep`]: what is removed, and when.
//! - [`host`]: what a prepared graph is good for.
//! - [`error`]: why the cache cannot be used.

mod cache;
mod draft;
mod error;
mod host;
mod record;
mod sweep;

pub use cache::Cache;
pub use draft::Draft;
pub use error::CacheError;
pub use host::Host;

/// Changes when what is written into the cache changes its meaning.
const FORM: u32 = 2;

/// Name of the graph inside a prepared model.
pub const GRAPH: &str = "model.onnx";

/// Name of its weights.
pub const WEIGHTS: &str = "weights.bin";

/// How the name of a folder begins that is no prepared model, or none any more.
const DRAFT: &str = "draft-";

fn short(digest: &str) -> String {
    digest.chars().take(16).collect()
}
