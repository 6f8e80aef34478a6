//! Giving up what the process does not need, for good and without any supervisor's help: files
//! outside of a few places, the network, signals to others ([Landlock](landlock)), system calls that
//! nothing here makes ([`calls`]), and the privileges of set-user-id binaries.
//!
//! This knows paths and the kernel. Which paths they are is the daemon's business.
//!
//! A sandbox holds for the thread that enters it and for every thread and process that it starts
//! afterwards, over `exec` too. So it is entered before there is a second thread, once in the life of
//! the process: entering again would add a layer, of which the kernel allows 16. What is in force is
//! written down in a [`Sandbox`], which passes from image to image.
//!
//! A rule of Landlock belongs to the file or folder that lay at a path when the rule was made, and to
//! everything beneath it at any time. So what is exchanged by a rename stays within reach when a
//! folder around it was named, and does not otherwise.

mod calls;
pub mod escape;

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, RestrictionStatus, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, make_bitflags,
    path_beneath_rules,
};
use serde::{Deserialize, Serialize};

/// What may be done where, each with everything beneath it. What is not there is passed over.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Reading and listing.
    pub read: Vec<PathBuf>,
    /// Reading, listing and starting programs.
    pub execute: Vec<PathBuf>,
    /// Reading and writing: making, replacing and removing files, folders and sockets.
    pub write: Vec<PathBuf>,
    /// Whether a socket outside that is no file (an abstract one) must be reached.
    pub abstract_sockets: bool,
}

/// What is in force. Its JSON is what status tells, and what passes from image to image: fields are only
/// ever added.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sandbox {
    /// The version of Landlock's interface; `None` when Landlock does not hold us.
    pub landlock: Option<u32>,
    /// What is left of the network.
    pub network: Network,
    /// What of these is only for processes within: `signal`, `abstract_unix_socket`.
    pub scoped: Vec<String>,
    /// Whether no program that we start may have more privileges than we.
    pub no_new_privs: bool,
    /// Whether system calls that we do not need are refused.
    pub seccomp: bool,
    /// Where may be read.
    pub read: Vec<String>,
    /// Where programs may be started.
    pub execute: Vec<String>,
    /// Where may be written.
    pub write: Vec<String>,
    /// Why something of this is not in force.
    pub missing: Option<String>,
}

/// What is left of the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// Nothing is forbidden.
    #[default]
    Open,
    /// No TCP.
    NoTcp,
    /// Unix sockets only.
    None,
}

/// The newest interface whose rights we handle. What a newer kernel adds is left alone: a right that we
/// did not try could stop what we need.
const FILES: ABI = ABI::V5;
const TCP: ABI = ABI::V4;

const READ: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir});
const EXECUTE: BitFlags<AccessFs> = make_bitflags!(AccessFs::{Execute | ReadFile | ReadDir});
/// No links, devices, pipes or programs. Nothing of ours moves a file to another folder (`Refer`).
const WRITE: BitFlags<AccessFs> = make_bitflags!(AccessFs::{
    ReadFile | ReadDir | WriteFile | Truncate | MakeReg | MakeDir | MakeSock | RemoveFile | RemoveDir
});

/// Enters a sandbox of `places`, as far as the kernel has one. Says in the result what is in force and
/// why the rest is not.
#[must_use]
pub fn enter(places: &Places) -> Sandbox {
    let mut sandbox = Sandbox::default();
    let mut missing = Vec::new();
    match nix::sys::prctl::set_no_new_privs() {
        Ok(()) => sandbox.no_new_privs = true,
        Err(errno) => missing.push(format!("no_new_privs: {errno}")),
    }
    match restrict(places) {
        Ok(version) => sandbox.hold(version, places),
        Err(reason) => missing.push(reason),
    }
    match calls::refuse() {
        Ok(()) => {
            sandbox.seccomp = true;
            sandbox.network = Network::None;
        }
        Err(reason) => missing.push(format!("seccomp: {reason}")),
    }
    sandbox.missing = (!missing.is_empty()).then(|| missing.join("; "));
    sandbox
}

/// What this kernel offers, told by entering a sandbox on a thread that ends with it.
#[must_use]
pub fn offered() -> Sandbox {
    let tried = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .stack_size(128 * 1024)
            .spawn_scoped(scope, || enter(&Places::default()));
        thread.map(|thread| thread.join().unwrap_or_default())
    });
    tried.unwrap_or_else(|error| Sandbox::absent(&error.to_string()))
}

/// Puts Landlock into force and gives the version of its interface.
fn restrict(places: &Places) -> Result<u32, String> {
    let scope = if places.abstract_sockets {
        Scope::Signal.into()
    } else {
        Scope::Signal | Scope::AbstractUnixSocket
    };
    let restricted = || -> Result<RestrictionStatus, RulesetError> {
        Ruleset::default()
            .handle_access(AccessFs::from_all(FILES))?
            .handle_access(AccessNet::from_all(TCP))?
            .scope(scope)?
            .create()?
            .add_rules(path_beneath_rules(&places.read, READ))?
            .add_rules(path_beneath_rules(&places.execute, EXECUTE))?
            .add_rules(path_beneath_rules(&places.write, WRITE))?
            .restrict_self()
    };
    let status = restricted().map_err(|error| format!("Landlock: {error}"))?;
    match status.landlock {
        LandlockStatus::Available {
            effective_abi,
            kernel_abi,
        } if status.ruleset != RulesetStatus::NotEnforced => {
            let version = kernel_abi.unwrap_or(effective_abi as i32);
            Ok(version.unsigned_abs())
        }
        LandlockStatus::NotEnabled => {
            Err("the kernel has Landlock, but it was not enabled when it started (lsm=)".into())
        }
        _ => Err(
            "the kernel has no Landlock, which came with Linux 5.13, or a container forbids it"
                .into(),
        ),
    }
}

impl Sandbox {
    /// None, for this reason.
    #[must_use]
    pub fn absent(reason: &str) -> Self {
        Sandbox {
            missing: Some(reason.to_owned()),
            ..Sandbox::default()
        }
    }

    /// As text, for the next image.
    ///
    /// # Panics
    ///
    /// Never.
    #[must_use]
    pub fn written(&self) -> String {
        serde_json::to_string(self).expect("texts, numbers and lists of them")
    }

    /// What an image of any version has written.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Whether anything was given up.
    #[must_use]
    pub fn is_in_force(&self) -> bool {
        self.landlock.is_some() || self.seccomp
    }

    /// The first of `needed` that lies outside.
    #[must_use]
    pub fn lacks<'a>(&self, needed: &'a Places) -> Option<&'a Path> {
        self.landlock?;
        let readable = [&self.read, &self.execute, &self.write];
        let read = needed
            .read
            .iter()
            .find(|path| !readable.iter().any(|list| covers(list, path)));
        let execute = needed.execute.iter();
        let write = needed.write.iter();
        read.or_else(|| execute.clone().find(|path| !covers(&self.execute, path)))
            .or_else(|| write.clone().find(|path| !covers(&self.write, path)))
            .map(PathBuf::as_path)
    }

    /// Notes what the version of Landlock restricts.
    fn hold(&mut self, version: u32, places: &Places) {
        self.landlock = Some(version);
        if version >= TCP as u32 {
            self.network = Network::NoTcp;
        }
        if version >= ABI::V6 as u32 {
            let sockets = (!places.abstract_sockets).then_some("abstract_unix_socket");
            self.scoped = ["signal"]
                .into_iter()
                .chain(sockets)
                .map(Into::into)
                .collect();
        }
        self.read = there(&places.read);
        self.execute = there(&places.execute);
        // A folder that could not be made as well: whoever asks for it again asks for nothing new.
        let write = places.write.iter().map(|path| real(path));
        self.write = write.map(|path| path.to_string_lossy().into()).collect();
    }
}

/// The real paths of those that are there, each once.
fn there(paths: &[PathBuf]) -> Vec<String> {
    let mut real: Vec<String> = paths
        .iter()
        .filter_map(|path| Some(path.canonicalize().ok()?.to_string_lossy().into_owned()))
        .collect();
    real.sort();
    real.dedup();
    real
}

/// Whether `path`, which need not be there yet, lies at or beneath one of `places`.
fn covers(places: &[String], path: &Path) -> bool {
    let real = real(path);
    places.iter().any(|place| real.starts_with(place))
}

/// Without links, as far as it is there.
fn real(path: &Path) -> PathBuf {
    match (path.canonicalize(), path.parent(), path.file_name()) {
        (Ok(real), ..) => real,
        (Err(_), Some(folder), Some(name)) => real(folder).join(name),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// Runs `body` on a thread of its own, which nothing that it gives up outlives.
    fn apart<T: Send>(body: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| scope.spawn(body).join().expect("no panic"))
    }

    #[test]
    fn landlock_by_itself_keeps_files_and_tcp_away() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = |name: &str| folder.path().join(name);
        for name in ["in", "out"] {
            std::fs::create_dir(path(name)).expect("made");
            std::fs::write(path(name).join("file"), name).expect("written");
        }
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("known");
        let places = Places {
            write: vec![path("in")],
            ..Places::default()
        };
        apart(|| {
            let version = restrict(&places);
            let Ok(version) = version else {
                return eprintln!("not tried: {version:?}");
            };
            assert!(std::fs::read(path("in/file")).is_ok());
            std::fs::write(path("in/new"), "new").expect("it may be written there");
            std::fs::rename(path("in/new"), path("in/file")).expect("and replaced");
            let denied = |found: std::io::Result<()>| {
                assert_eq!(
                    found.map_err(|error| error.kind()),
                    Err(ErrorKind::PermissionDenied)
                );
            };
            denied(std::fs::read(path("out/file")).map(drop));
            denied(std::fs::write(path("out/new"), "new"));
            if version >= 4 {
                denied(TcpStream::connect(address).map(drop));
                denied(TcpListener::bind("127.0.0.1:0").map(drop));
            }
        });
        assert!(TcpStream::connect(address).is_ok(), "the others are free");
    }

    #[test]
    fn offer_is_told_without_taking_it() {
        let offered = offered();
        assert!(
            offered.is_in_force() || offered.missing.is_some(),
            "{offered:?}"
        );
        let free = std::fs::read("/proc/self/status").is_ok();
        assert!(
            free && TcpListener::bind("127.0.0.1:0").is_ok(),
            "{offered:?}"
        );
    }

    #[test]
    fn needs_are_held_against_real_paths() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("models")).expect("made");
        std::fs::create_dir(at("elsewhere")).expect("made");
        std::os::unix::fs::symlink(at("elsewhere"), at("models/link")).expect("linked");
        let sandbox = Sandbox {
            landlock: Some(1),
            write: there(&[at("models"), at("missing")]),
            ..Sandbox::default()
        };
        let lacks = |path: &str| {
            let needed = Places {
                write: vec![at(path)],
                ..Places::default()
            };
            sandbox.lacks(&needed).map(Path::to_owned)
        };
        assert_eq!(lacks("models"), None);
        assert_eq!(lacks("models/new/deep"), None, "it need not be there");
        assert_eq!(lacks("models-2"), Some(at("models-2")));
        assert_eq!(lacks("models/link"), Some(at("models/link")));
        let none = Sandbox::absent("an old kernel");
        let anywhere = Places {
            read: vec!["/".into()],
            ..Places::default()
        };
        assert_eq!(none.lacks(&anywhere), None);
    }

    #[test]
    fn record_of_another_version_is_read() {
        let text = r#"{"landlock": 9, "read": ["/usr"], "invented": {"later": true}}"#;
        let read = Sandbox::read(text).expect("what is unknown is passed over");
        assert_eq!((read.landlock, read.read), (Some(9), vec!["/usr".into()]));
    }
}
