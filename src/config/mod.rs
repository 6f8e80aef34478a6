//! Configuration: what an operator can set, and where each value came from.
//!
//! Defaults < TOML file < environment < flags: [`layers`] puts them together. Every setting has one row
//! in [`keys`], which says how it is named in each of these places, what it accepts and what it means;
//! help texts, error messages and `dermald config` are made from that row, and `values` knows the
//! kinds of values. [`environment`] is the only module of the crate that reads the environment. This
//! room refuses to know what the settings are used for.

pub mod environment;
pub mod keys;
mod layers;
mod values;

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;

pub use keys::{KEYS, Key};
pub use layers::{Given, load, load_flags, load_socket, restore};

/// Read when it is there and no other file is named.
pub const DEFAULT_FILE: &str = "/etc/dermald/dermald.toml";

/// All settings, each with a sound value.
#[derive(Clone, Debug)]
#[expect(
    missing_docs,
    reason = "each setting is described once, in its row of `keys`"
)]
pub struct Config {
    pub socket: PathBuf,
    pub bundle: Option<PathBuf>,
    pub cache: PathBuf,
    pub onnxruntime: Option<PathBuf>,
    pub threads: usize,
    pub wait_policy: WaitPolicy,
    pub preload: bool,
    pub grad_cam: bool,
    pub image_size: Option<u32>,
    pub queue_requests: u32,
    pub queue_bytes: ByteSize,
    pub frame_bytes: ByteSize,
    pub max_pixels: u64,
    pub decode_bytes: ByteSize,
    pub deadline: Duration,
    pub grace: Duration,
    pub stall_timeout: Duration,
    pub memory_limit: Option<MemoryLimit>,
    pub memory_measure: MemoryMeasure,
    pub idle: Option<Duration>,
    pub max_requests: Option<u64>,
    pub max_requests_jitter: u64,
    pub least_lifetime: Duration,
    /// How long one step of a picture may take before the daemon counts as hung.
    pub hang_limit: Option<Duration>,
    pub on_hang: OnHang,
    pub max_connections: u32,
    pub connections_per_user: Option<u32>,
    pub requests_per_connection: u32,
    pub rate_limit: Option<f64>,
    pub allow_users: Vec<String>,
    pub allow_groups: Vec<String>,
    pub log_format: LogFormat,
    pub log_level: tracing::Level,
    pub sandbox: SandboxPolicy,
}

/// Whether threads that wait for work spin, as OpenMP's `OMP_WAIT_POLICY`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitPolicy {
    /// They sleep.
    Passive,
    /// They spin: a little faster with several threads, at the cost of CPU time.
    Active,
}

/// What the daemon may take before it renews itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryLimit {
    /// So much.
    Size(ByteSize),
    /// So many hundredths of what the control group may take, or the machine has.
    Percent(u8),
}

/// What the memory limit is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryMeasure {
    /// All resident memory.
    Rss,
    /// What cannot be evicted.
    Anonymous,
}

/// What becomes of a daemon whose inference thread hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnHang {
    /// Whoever watches it ends it; where nobody does, it renews itself.
    Auto,
    /// It renews itself.
    Renew,
    /// It aborts, for whoever starts it again.
    Exit,
    /// Health says so, and that is all.
    Wait,
}

/// The form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text with colours on a terminal, text without elsewhere.
    Auto,
    /// One JSON object a line.
    Json,
}

/// Whether the daemon gives up what it does not need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SandboxPolicy {
    /// As far as the kernel can.
    Auto,
    /// Nothing is given up.
    Off,
    /// The start stops where the kernel cannot.
    Required,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            socket: "/dev/shm/dermald/dermald.sock".into(),
            bundle: None,
            cache: environment::cache_folder(),
            onnxruntime: None,
            threads: 1,
            wait_policy: WaitPolicy::Passive,
            preload: false,
            grad_cam: true,
            image_size: None,
            queue_requests: 64,
            queue_bytes: ByteSize::mib(32),
            frame_bytes: ByteSize::mib(20),
            // Phones take up to 50 megapixels when nobody asks them for more.
            max_pixels: 65_000_000,
            // 32 megapixels at full size, or a progressive JPEG of 24 (4:2:0).
            decode_bytes: ByteSize::mib(96),
            deadline: Duration::from_secs(60),
            grace: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(10),
            memory_limit: None,
            memory_measure: MemoryMeasure::Rss,
            idle: Some(Duration::from_secs(300)),
            max_requests: None,
            max_requests_jitter: 0,
            least_lifetime: Duration::from_secs(10),
            hang_limit: Some(Duration::from_secs(120)),
            on_hang: OnHang::Auto,
            max_connections: 256,
            connections_per_user: None,
            requests_per_connection: 32,
            rate_limit: None,
            allow_users: Vec::new(),
            allow_groups: Vec::new(),
            log_format: LogFormat::Auto,
            log_level: tracing::Level::INFO,
            sandbox: SandboxPolicy::Auto,
        }
    }
}

/// What stops the start. Each message names the place, the value and the accepted form.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A value does not have the accepted form.
    #[error("{origin}: {key} is {value:?}, expected {form}")]
    Value {
        /// The file, variable or flag.
        origin: String,
        /// The setting.
        key: &'static str,
        /// What was given.
        value: String,
        /// What is accepted.
        form: &'static str,
    },
    /// The file has a key that is no setting.
    #[error("{origin}: {key:?} is no setting{hint}")]
    Unknown {
        /// The file.
        origin: String,
        /// The key.
        key: String,
        /// The nearest setting, as `; did you mean ...?`.
        hint: String,
    },
    /// The file cannot be read or is no TOML.
    #[error("{0}")]
    File(String),
    /// Two settings contradict each other.
    #[error("{0}")]
    Contradiction(String),
}

/// A configuration with the origin of each value.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// For each row of [`KEYS`]: `default`, or the file, variable or flag.
    pub origins: Vec<String>,
    /// The file that was read, when it was read here.
    pub file: Option<PathBuf>,
}

impl Loaded {
    /// For each setting its name, value and origin; [`restore`] reads them.
    #[must_use]
    pub fn values(&self) -> Vec<(String, String, String)> {
        let rows = KEYS.iter().zip(&self.origins);
        rows.map(|(row, origin)| (row.name.into(), (row.show)(&self.config), origin.clone()))
            .collect()
    }

    /// Where the value of the setting `key` came from.
    #[must_use]
    pub fn origin(&self, key: &str) -> &str {
        KEYS.iter()
            .position(|row| row.name == key)
            .map_or("default", |place| &self.origins[place])
    }
}
