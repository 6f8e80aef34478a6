//! The table of settings: one row each, for file, environment, flags, help and error messages.

use bytesize::ByteSize;

use super::Config;
use super::values::{
    absolute, existing, list, log_format, long_time, memory_limit, memory_measure, on_hang, path,
    rate, sandbox, show_memory_limit, show_size, show_time, show_unless_off, size, socket, time,
    unless_off, wait_policy, whole, yes_no,
};

/// One setting.
pub struct Key {
    /// Its name in the file; the flag is the same with dashes.
    pub name: &'static str,
    /// Our environment variable.
    pub variable: &'static str,
    /// A variable that sites set already. Ours wins over it.
    pub also: Option<&'static str>,
    /// Stands for the value in the help text.
    pub value: &'static str,
    /// What is accepted, for error messages.
    pub form: &'static str,
    /// What it does.
    pub help: &'static str,
    /// Takes over a value; `None` when it has not the accepted form.
    pub set: fn(&mut Config, &str) -> Option<()>,
    /// The value as [`set`](Self::set) reads it; empty when nothing is set.
    pub show: fn(&Config) -> String,
}

const YES_NO: &str = "true or false (also 1, 0, yes, no, on, off)";
const SIZE: &str = "a size such as 32MiB or 1500KB, from 64KiB to 64MiB";
const TIME: &str = "a time such as 500ms, 10s or 2m, above zero and at most 1h";
const COUNT: &str = "a whole number from 1 to 65536";

/// Declares the rows without repeating the field names of [`Key`].
macro_rules! key {
    ($name:literal, $variable:literal, $also:expr, $value:literal, $form:expr, $help:literal,
     $set:expr, $show:expr) => {
        Key {
            name: $name,
            variable: $variable,
            also: $also,
            value: $value,
            form: $form,
            help: $help,
            set: $set,
            show: $show,
        }
    };
}

/// All settings.
pub const KEYS: &[Key] = &[
    key!(
        "socket",
        "DERMALD_SOCKET",
        None,
        "PATH",
        "an absolute path of at most 100 bytes",
        "The Unix socket; its folder is made when it is missing",
        |c, v| {
            c.socket = socket(v)?;
            Some(())
        },
        |c| path(Some(&c.socket))
    ),
    key!(
        "bundle",
        "DERMALD_BUNDLE",
        None,
        "FOLDER",
        "a folder with a manifest.toml",
        "The model bundle to serve",
        |c, v| {
            c.bundle = Some(existing(v)?);
            Some(())
        },
        |c| path(c.bundle.as_ref())
    ),
    key!(
        "cache",
        "DERMALD_CACHE",
        None,
        "FOLDER",
        "an absolute path",
        "Where models lie that were optimised for this CPU; made when it is missing",
        |c, v| {
            c.cache = absolute(v)?;
            Some(())
        },
        |c| path(Some(&c.cache))
    ),
    key!(
        "onnxruntime",
        "DERMALD_ONNXRUNTIME",
        Some("ORT_DYLIB_PATH"),
        "FILE",
        "a path",
        "ONNX Runtime's library; found beside the binary, in ../lib/dermald or in its virtual environment \
         otherwise",
        |c, v| {
            c.onnxruntime = Some(existing(v)?);
            Some(())
        },
        |c| path(c.onnxruntime.as_ref())
    ),
    key!(
        "threads",
        "DERMALD_THREADS",
        Some("OMP_NUM_THREADS"),
        "N",
        "a whole number from 1 to 256",
        "Threads of the inference",
        // OpenMP allows one number for each level of nesting; the first is the outermost.
        |c, v| {
            let levels: Option<Vec<usize>> = v
                .split(',')
                .map(|level| whole(level.trim(), 1, 256))
                .collect();
            c.threads = *levels?.first()?;
            Some(())
        },
        |c| c.threads.to_string()
    ),
    key!(
        "wait_policy",
        "DERMALD_WAIT_POLICY",
        Some("OMP_WAIT_POLICY"),
        "POLICY",
        "passive or active",
        "Whether waiting threads sleep (passive) or spin (active)",
        |c, v| {
            c.wait_policy = wait_policy(v)?;
            Some(())
        },
        |c| format!("{:?}", c.wait_policy).to_lowercase()
    ),
    key!(
        "preload",
        "DERMALD_PRELOAD",
        Some("PRELOAD_MODEL"),
        "BOOL",
        YES_NO,
        "Load the model in the background at the start instead of at the first request",
        |c, v| {
            c.preload = yes_no(v)?;
            Some(())
        },
        |c| c.preload.to_string()
    ),
    key!(
        "grad_cam",
        "DERMALD_GRAD_CAM",
        Some("ENABLE_GRADCAM"),
        "BOOL",
        YES_NO,
        "Whether explanations are made; without, a prediction that asks for one comes without it",
        |c, v| {
            c.grad_cam = yes_no(v)?;
            Some(())
        },
        |c| c.grad_cam.to_string()
    ),
    key!(
        "image_size",
        "DERMALD_IMAGE_SIZE",
        Some("IMG_SIZE"),
        "PIXELS",
        "a whole number from 1 to 4096",
        "The input side that the site counts on; the start stops when the bundle has another",
        |c, v| {
            c.image_size = Some(whole(v, 1, 4096)?);
            Some(())
        },
        |c| c
            .image_size
            .map(|side| side.to_string())
            .unwrap_or_default()
    ),
    key!(
        "queue_requests",
        "DERMALD_QUEUE_REQUESTS",
        None,
        "N",
        COUNT,
        "Requests that may wait; one more is answered busy",
        |c, v| {
            c.queue_requests = whole(v, 1, 65536)?;
            Some(())
        },
        |c| c.queue_requests.to_string()
    ),
    key!(
        "queue_bytes",
        "DERMALD_QUEUE_BYTES",
        None,
        "SIZE",
        "a size such as 32MiB, from 64KiB to 4GiB",
        "Bytes of pictures that may wait",
        |c, v| {
            c.queue_bytes = size(v, ByteSize::gib(4))?;
            Some(())
        },
        |c| show_size(c.queue_bytes)
    ),
    key!(
        "frame_bytes",
        "DERMALD_FRAME_BYTES",
        None,
        "SIZE",
        SIZE,
        "The longest request, and so about the largest upload; also the most that is held of \
         requests which are still arriving",
        |c, v| {
            c.frame_bytes = size(v, ByteSize::mib(64))?;
            Some(())
        },
        |c| show_size(c.frame_bytes)
    ),
    key!(
        "max_pixels",
        "DERMALD_MAX_PIXELS",
        None,
        "N",
        "a whole number from 1 to 1000000000",
        "Most pixels of a picture, width times height",
        |c, v| {
            c.max_pixels = whole(v, 1, 1_000_000_000)?;
            Some(())
        },
        |c| c.max_pixels.to_string()
    ),
    key!(
        "decode_bytes",
        "DERMALD_DECODE_BYTES",
        None,
        "SIZE",
        "a size such as 96MiB, from 64KiB to 4GiB",
        "Most memory that decoding a picture may take, told from its header; a JPEG that is no \
         progressive one takes a few MiB at any size",
        |c, v| {
            c.decode_bytes = size(v, ByteSize::gib(4))?;
            Some(())
        },
        |c| show_size(c.decode_bytes)
    ),
    key!(
        "deadline",
        "DERMALD_DEADLINE",
        None,
        "TIME",
        TIME,
        "The longest that a request may take, and what one gets that names no deadline",
        |c, v| {
            c.deadline = time(v)?;
            Some(())
        },
        |c| show_time(c.deadline)
    ),
    key!(
        "grace",
        "DERMALD_GRACE",
        None,
        "TIME",
        TIME,
        "How long admitted requests may go on when the daemon stops",
        |c, v| {
            c.grace = time(v)?;
            Some(())
        },
        |c| show_time(c.grace)
    ),
    key!(
        "stall_timeout",
        "DERMALD_STALL_TIMEOUT",
        None,
        "TIME",
        TIME,
        "How long a hello, a request or the reading of a reply may take on the socket",
        |c, v| {
            c.stall_timeout = time(v)?;
            Some(())
        },
        |c| show_time(c.stall_timeout)
    ),
    key!(
        "memory_limit",
        "DERMALD_MEMORY_LIMIT",
        None,
        "SIZE",
        "a size such as 220MiB, a share such as 45% of what the control group (or the machine) has, \
         or off",
        "Memory past which the daemon renews itself after a request, without losing a connection",
        |c, v| {
            c.memory_limit = unless_off(v, memory_limit)?;
            Some(())
        },
        |c| show_unless_off(c.memory_limit, show_memory_limit)
    ),
    key!(
        "memory_measure",
        "DERMALD_MEMORY_MEASURE",
        None,
        "FIGURE",
        "rss or anonymous",
        "What memory_limit is compared with: all resident memory, or what cannot be evicted",
        |c, v| {
            c.memory_measure = memory_measure(v)?;
            Some(())
        },
        |c| format!("{:?}", c.memory_measure).to_lowercase()
    ),
    key!(
        "idle",
        "DERMALD_IDLE",
        None,
        "TIME",
        "a time such as 5m or 12h, above zero and at most 7d, or off",
        "After this long without a request the daemon renews itself without its model, down to a few \
         MB; the next request loads it again",
        |c, v| {
            c.idle = unless_off(v, long_time)?;
            Some(())
        },
        |c| show_unless_off(c.idle, show_time)
    ),
    key!(
        "max_requests",
        "DERMALD_MAX_REQUESTS",
        None,
        "N",
        "a whole number from 1 to 1000000000, or off",
        "Renew after this many requests, as gunicorn's max_requests",
        |c, v| {
            c.max_requests = unless_off(v, |v| whole(v, 1, 1_000_000_000))?;
            Some(())
        },
        |c| show_unless_off(c.max_requests, |number| number.to_string())
    ),
    key!(
        "max_requests_jitter",
        "DERMALD_MAX_REQUESTS_JITTER",
        None,
        "N",
        "a whole number from 0 to 1000000000",
        "Add up to this many to max_requests, drawn anew each time",
        |c, v| {
            c.max_requests_jitter = whole(v, 0, 1_000_000_000)?;
            Some(())
        },
        |c| c.max_requests_jitter.to_string()
    ),
    key!(
        "least_lifetime",
        "DERMALD_LEAST_LIFETIME",
        None,
        "TIME",
        TIME,
        "The least time between two renewals that nobody asked for",
        |c, v| {
            c.least_lifetime = time(v)?;
            Some(())
        },
        |c| show_time(c.least_lifetime)
    ),
    key!(
        "hang_limit",
        "DERMALD_HANG_LIMIT",
        None,
        "TIME",
        "a time such as 30s or 2m, above zero and at most 1h, or off",
        "After this long in one step of a picture the daemon counts as hung: health says `stuck`, and \
         what on_hang says is done",
        |c, v| {
            c.hang_limit = unless_off(v, time)?;
            Some(())
        },
        |c| show_unless_off(c.hang_limit, show_time)
    ),
    key!(
        "on_hang",
        "DERMALD_ON_HANG",
        None,
        "ACTION",
        "auto, renew, exit or wait",
        "What becomes of a daemon that hangs: it renews itself, aborts for whoever starts it again, or \
         waits. auto: its supervisor (`dermald run`, systemd's watchdog) ends it; without one it renews \
         itself",
        |c, v| {
            c.on_hang = on_hang(v)?;
            Some(())
        },
        |c| format!("{:?}", c.on_hang).to_lowercase()
    ),
    key!(
        "max_connections",
        "DERMALD_MAX_CONNECTIONS",
        None,
        "N",
        COUNT,
        "Connections at a time",
        |c, v| {
            c.max_connections = whole(v, 1, 65536)?;
            Some(())
        },
        |c| c.max_connections.to_string()
    ),
    key!(
        "connections_per_user",
        "DERMALD_CONNECTIONS_PER_USER",
        None,
        "N",
        "a whole number from 1 to 65536, or off",
        "Connections that one user may have of them, where several users may connect",
        |c, v| {
            c.connections_per_user = unless_off(v, |v| whole(v, 1, 65536))?;
            Some(())
        },
        |c| show_unless_off(c.connections_per_user, |count| count.to_string())
    ),
    key!(
        "requests_per_connection",
        "DERMALD_REQUESTS_PER_CONNECTION",
        None,
        "N",
        COUNT,
        "Unanswered requests that one connection may have",
        |c, v| {
            c.requests_per_connection = whole(v, 1, 65536)?;
            Some(())
        },
        |c| c.requests_per_connection.to_string()
    ),
    key!(
        "rate_limit",
        "DERMALD_RATE_LIMIT",
        None,
        "RATE",
        "a number such as 5 or 0.5, above zero and at most 10000, or off",
        "Predictions a second that one user may ask for, ten seconds' worth at once; more are answered \
         `busy` with the time to wait",
        |c, v| {
            c.rate_limit = unless_off(v, rate)?;
            Some(())
        },
        |c| show_unless_off(c.rate_limit, |rate| rate.to_string())
    ),
    key!(
        "allow_users",
        "DERMALD_ALLOW_USERS",
        None,
        "LIST",
        "names or numbers with commas",
        "Users that may connect beside our own and root",
        |c, v| {
            c.allow_users = list(v);
            Some(())
        },
        |c| c.allow_users.join(",")
    ),
    key!(
        "allow_groups",
        "DERMALD_ALLOW_GROUPS",
        None,
        "LIST",
        "names or numbers with commas",
        "Groups whose members may connect",
        |c, v| {
            c.allow_groups = list(v);
            Some(())
        },
        |c| c.allow_groups.join(",")
    ),
    key!(
        "log_format",
        "DERMALD_LOG_FORMAT",
        None,
        "FORMAT",
        "auto or json",
        "Text for people (auto), or one JSON object a line",
        |c, v| {
            c.log_format = log_format(v)?;
            Some(())
        },
        |c| format!("{:?}", c.log_format).to_lowercase()
    ),
    key!(
        "log_level",
        "DERMALD_LOG_LEVEL",
        None,
        "LEVEL",
        "error, warn, info, debug or trace",
        "How much is logged",
        |c, v| {
            c.log_level = v.parse().ok()?;
            Some(())
        },
        |c| c.log_level.to_string().to_lowercase()
    ),
    key!(
        "sandbox",
        "DERMALD_SANDBOX",
        None,
        "POLICY",
        "auto, off or required",
        "Whether the daemon gives up what it does not need (other files, the network, other processes) \
         once it listens: as far as the kernel can (auto), not at all (off), or else it does not start \
         (required)",
        |c, v| {
            c.sandbox = sandbox(v)?;
            Some(())
        },
        |c| format!("{:?}", c.sandbox).to_lowercase()
    ),
];

/// `; did you mean ...?` with the setting whose name is nearest to `wrong`, when one is near.
#[must_use]
pub fn hint(wrong: &str) -> String {
    KEYS.iter()
        .map(|row| {
            (
                strsim::levenshtein(row.name, &wrong.to_lowercase().replace('-', "_")),
                row.name,
            )
        })
        .min()
        .filter(|(distance, name)| *distance <= name.len() / 2)
        .map(|(_, name)| format!("; did you mean {name}?"))
        .unwrap_or_default()
}
