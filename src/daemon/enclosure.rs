//! The daemon's sandbox: which places it keeps, when it enters, and what a reload may not ask for
//! afterwards. The mechanism is [`sandbox`]'s.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::renewal::Origin;
use super::{Setup, StartError};
use crate::config::{Config, Loaded, SandboxPolicy, environment};
use crate::inference::runtime;
use crate::lifecycle::sandbox::{self, Places, Sandbox};
use crate::lifecycle::{binary, supervised};
use crate::model::prepared::Cache;
use crate::server::socket::Socket;

/// What everything reads that runs on Linux: libraries and their index, what the C library knows users
/// and time by, what the kernel tells of processes, CPUs and control groups. ONNX Runtime looks for
/// graphics cards, and complains when it may not.
const SYSTEM: [&str; 16] = [
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/etc/ld.so.cache",
    "/etc/ld.so.preload",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/group",
    "/dev/urandom",
    "/proc",
    "/sys/bus/pci",
    "/sys/class/drm",
    "/sys/devices",
    "/sys/fs/cgroup",
];

/// Where users and groups are looked up by name. Their files are replaced whenever one is added, and a
/// file that was replaced is another one to the kernel: only the folder around it stays.
const NAMES: &str = "/etc";

/// Where the loader lies, which the kernel starts for every program.
const LOADERS: [&str; 4] = ["/lib", "/lib64", "/usr/lib", "/usr/lib64"];

/// Enters the sandbox that the configuration wants, unless the process was in one when this image began.
/// To be called before there is a second thread.
pub(super) fn enter(setup: &Setup, origin: &Origin, socket: &Socket) -> Sandbox {
    let config = setup.config();
    match &origin.sandbox {
        Some(sandbox) => return sandbox.clone(),
        None if config.sandbox == SandboxPolicy::Off => return Sandbox::absent("sandbox is off"),
        None => {}
    }
    // Only what is there can be kept. Whoever cannot write here is told when the model is prepared.
    if let Err(error) = Cache::new(&config.cache).make() {
        tracing::debug!(%error, "the cache cannot be made");
    }
    let places = kept(&setup.loaded, &origin.binary, socket);
    let sandbox = if environment::rehearses("old-kernel") {
        Sandbox::absent("an old kernel was rehearsed")
    } else {
        sandbox::enter(&places)
    };
    tell(&sandbox);
    sandbox
}

fn tell(sandbox: &Sandbox) {
    let missing = sandbox.missing.as_deref();
    if sandbox.landlock.is_none() {
        let missing = missing.unwrap_or_default();
        return tracing::warn!(
            missing,
            seccomp = sandbox.seccomp,
            "no sandbox for files here"
        );
    }
    tracing::info!(
        landlock = sandbox.landlock,
        network = ?sandbox.network,
        scoped = sandbox.scoped.join(","),
        seccomp = sandbox.seccomp,
        missing,
        "in the sandbox"
    );
}

/// What this kernel offers.
#[must_use]
pub fn offered() -> Sandbox {
    if environment::rehearses("old-kernel") {
        return Sandbox::absent("an old kernel was rehearsed");
    }
    sandbox::offered()
}

/// Makes sure that a configuration which requires a sandbox can have one.
///
/// # Errors
///
/// [`StartError::NoSandbox`].
pub(super) fn possible(config: &Config) -> Result<(), StartError> {
    if config.sandbox != SandboxPolicy::Required {
        return Ok(());
    }
    let offered = offered();
    match offered.landlock {
        Some(_) => Ok(()),
        None => Err(StartError::NoSandbox(offered.missing.unwrap_or_default())),
    }
}

/// What a configuration that is read anew has to do with.
#[derive(Debug, Serialize, Deserialize)]
pub struct Enclosure {
    /// What is in force.
    pub sandbox: Sandbox,
    /// Where is listened already.
    pub socket: PathBuf,
}

impl Enclosure {
    /// As text, for the process that tries a reload.
    pub(super) fn written(&self) -> String {
        serde_json::to_string(self).expect("texts, numbers and lists of them")
    }

    /// What an image of any version has written.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Makes sure that `loaded` asks for nothing outside.
    ///
    /// # Errors
    ///
    /// [`StartError::Outside`], [`StartError::SandboxStays`].
    pub fn reaches(&self, loaded: &Loaded) -> Result<(), StartError> {
        if !self.sandbox.is_in_force() {
            return Ok(());
        }
        if loaded.config.sandbox == SandboxPolicy::Off {
            return Err(StartError::SandboxStays);
        }
        let outside = needed(&loaded.config, &self.socket)
            .into_iter()
            .find_map(|(what, places)| Some((what, self.sandbox.lacks(&places)?.to_owned())));
        match outside {
            Some((what, path)) => Err(StartError::Outside { what, path }),
            None => Ok(()),
        }
    }
}

/// What a configuration cannot do without, by the setting that names it.
fn needed(config: &Config, listening: &Path) -> Vec<(&'static str, Places)> {
    let read = |path: &Path| Places {
        read: vec![path.to_owned()],
        ..Places::default()
    };
    let write = |path: &Path| Places {
        write: vec![path.to_owned()],
        ..Places::default()
    };
    let mut needed = vec![("cache", write(&config.cache))];
    if config.socket != listening {
        needed.push(("socket", write(&config.socket)));
    }
    needed.extend(config.bundle.as_deref().map(|path| ("bundle", read(path))));
    let library = config.onnxruntime.as_deref();
    needed.extend(library.map(|path| ("onnxruntime", read(path))));
    if looks_names_up(config) {
        needed.push(("allow_users, allow_groups", read(Path::new(NAMES))));
    }
    needed
}

/// Everything that is kept for good.
fn kept(loaded: &Loaded, binary: &Path, socket: &Socket) -> Places {
    let config = &loaded.config;
    let mut read: Vec<PathBuf> = SYSTEM.map(PathBuf::from).into();
    if looks_names_up(config) {
        read.push(NAMES.into());
    }
    let runtime = runtime::places(config.onnxruntime.as_deref());
    read.extend(runtime.into_iter().filter(|place| !is_wide(place)));
    let libraries = environment::library_folders();
    read.extend(libraries.into_iter().filter(|place| !is_wide(place)));
    for path in config.bundle.iter().chain(&loaded.file) {
        read.extend(around(path));
    }
    let mut execute: Vec<PathBuf> = LOADERS.map(PathBuf::from).into();
    execute.extend(
        binary::loaded_from()
            .into_iter()
            .filter(|place| !is_wide(place)),
    );
    execute.extend(around(binary));
    let mut write = vec![config.cache.clone(), "/dev/null".into()];
    write.extend(socket.folder().map(Path::to_owned));
    Places {
        read,
        execute,
        write,
        abstract_sockets: supervised::tells_an_abstract_socket(),
    }
}

/// What lies at `path`, and the folder around it, so that it may be exchanged by a rename; the same for
/// what a link leads to.
fn around(path: &Path) -> Vec<PathBuf> {
    let real = path.canonicalize().ok();
    let named = std::path::absolute(path).ok();
    let folders = |path: PathBuf| {
        let folder = path.parent().map(Path::to_owned);
        folder
            .filter(|folder| !is_wide(folder))
            .into_iter()
            .chain([path])
    };
    named.into_iter().chain(real).flat_map(folders).collect()
}

/// Whether a folder holds more than could be meant: everything, a user's own files, or those of everybody.
fn is_wide(place: &Path) -> bool {
    let Ok(real) = place.canonicalize() else {
        return false;
    };
    let is_home = || {
        environment::home()
            .and_then(|home| home.canonicalize().ok())
            .as_ref()
            == Some(&real)
    };
    let is_everybodys = || {
        std::fs::metadata(&real)
            .is_ok_and(|found| found.is_dir() && found.permissions().mode() & 0o002 != 0)
    };
    real == Path::new("/") || is_home() || is_everybodys()
}

fn looks_names_up(config: &Config) -> bool {
    let is_name = |user: &String| user.parse::<u32>().is_err();
    !config.allow_groups.is_empty() || config.allow_users.iter().any(is_name)
}

/// Tries to get out, when a test wants that, and tells in the log what came of it.
pub(super) fn rehearse_escape() -> std::io::Result<()> {
    let Some((file, port)) = environment::rehearsed_escape() else {
        return Ok(());
    };
    // On a thread that was started within, as all are that work.
    let attempts = std::thread::Builder::new()
        .name("escape".into())
        .spawn(move || sandbox::escape::attempt(&file, port))?;
    for outcome in attempts.join().unwrap_or_default() {
        tracing::info!(outcome, "an escape was rehearsed");
    }
    Ok(())
}
