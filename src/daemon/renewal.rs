//! A renewal: one image of the process follows another, and no client sees more of it than a pause.
//!
//! # The order, and what each failure leaves
//!
//! 1. *Somebody wants it*: memory, idleness, a number of requests, HUP, or the owner. For HUP, a process
//!    of its own (`dermald check`, made from the binary on disk) tries configuration and model first. Is
//!    it not content, nothing has changed, the log has its words, and health repeats them.
//! 2. *The running request is finished.* The inference thread begins nothing more; clients are served,
//!    read and queued as ever. TERM now means stop, and the renewal is forgotten.
//! 3. *Connections hand themselves in*, each at the point where it waits. From here on nothing is read or
//!    written; what clients send stays in the kernel's buffers, and who connects waits in the listener's.
//! 4. *Signals are held.* A TERM that came until here stops this image, which goes on for it. One that
//!    comes later finds the new image.
//! 5. *Everything is packed* into a sealed memfd: listener, lock, each connection with its unread bytes
//!    and unsent replies, requests that wait, counters and histograms, the history, configuration,
//!    manifest. When there is no memory for that, this image goes on (step 8 in it).
//! 6. *`exec`* of the binary on disk, or of what runs now if that is no dermald. When the kernel refuses,
//!    this image goes on. When it does not, there is no way back: memory, threads and mappings are gone,
//!    the process id and the descriptors remain.
//! 7. *The new image reads the memfd.* It takes the configuration and the model that the old one had, so
//!    that half-edited files change nothing; after HUP it reads them anew, and falls back if they
//!    became unusable since the check. A memfd whose version it does not know still has a head that
//!    it does: it keeps the listener, sends the connections away, and serves. Without even that it ends
//!    with an error, and whoever supervises it starts it again.
//! 8. *It goes on*: signals come through once their handlers stand, requests are queued again in their
//!    order, and the model is loaded if it was (but not after idleness), while health says `renewing`.
//!
//! The sandbox stays in force over all of it; what it is passes before everything else, so that no image
//! enters a second one.
//!
//! `NOTIFY_SOCKET` and the rest of the environment pass as they are, arguments too.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bincode::{Decode, Encode};

use super::enclosure::Enclosure;
use super::{Setup, StartError};
use crate::config::{self, Loaded, environment};
use crate::lifecycle::handover::{self, Descriptors, HandoverError, Taken};
use crate::lifecycle::renewal::Reason;
use crate::lifecycle::sandbox::Sandbox;
use crate::lifecycle::signals::{self, Signals};
use crate::lifecycle::{binary, child::Child};
use crate::model::Bundle;
use crate::model::bundle::Stamps;
use crate::server::socket::{Socket, SocketError};
use crate::server::{self, Arrival, Carried, Check, Departure, Server};

/// Changes whenever [`Handed`], or anything in it, does. Before it, in every version from
/// [`WITH_SANDBOX`] on, stands the [`Sandbox`] as JSON: an image that cannot read the rest still knows
/// what it is in.
const VERSION: u32 = 3;

/// The first version whose images may be in a sandbox.
const WITH_SANDBOX: u32 = 3;

/// Where the process came from.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    /// Our binary on disk.
    pub(super) binary: PathBuf,
    /// What an image before has entered, or found that it cannot; `None` when none has tried.
    pub(super) sandbox: Option<Sandbox>,
}

impl Origin {
    /// Of the first image.
    pub(super) fn first() -> Self {
        Origin {
            binary: binary::on_disk(),
            sandbox: None,
        }
    }
}

/// What passes, beside descriptors.
#[derive(Encode, Decode)]
struct Handed {
    reason: Reason,
    /// Whether the model is to be loaded again.
    load: bool,
    reload_asked: bool,
    /// Digest of the model that a reload was found good with.
    checked_model: Option<String>,
    binary: PathBuf,
    socket: PathBuf,
    /// Of each setting its name, value and origin.
    config: Vec<(String, String, String)>,
    folder: PathBuf,
    manifest: String,
    checked: Stamps,
    server: Carried,
}

/// What the image before left.
pub struct Predecessor {
    taken: Taken,
    sandbox: Option<Sandbox>,
    handed: Result<Handed, String>,
}

/// What is needed to go on.
pub struct Successor {
    /// With the configuration that is to be used.
    pub setup: Setup,
    /// Told once the log stands.
    pub remarks: Vec<String>,
    pub(super) socket: Inherited,
    pub(super) origin: Origin,
    pub(super) arrival: Option<Arrival>,
}

/// A socket that the image before listened on.
pub(super) struct Inherited {
    path: Option<PathBuf>,
    listener: OwnedFd,
    lock: OwnedFd,
    identity: (u64, u64),
    /// Whether the configuration was read anew, and so who may come.
    read_anew: bool,
}

/// The flag by which `dermald check` learns of the sandbox that it runs in.
const WITHIN: &str = "--within";

/// Ends a message of the system when somebody keeps us from a file: its mode, or the sandbox.
const DENIED: &str = "(os error 13)";

/// Tries what a reload would bring, in a process that the binary on disk makes.
pub(super) fn check(origin: &Origin, listening: &Path) -> Check {
    let binary = origin.binary.clone();
    let sandbox = origin.sandbox.clone().filter(Sandbox::is_in_force);
    let enclosure = sandbox.map(|sandbox| Enclosure {
        sandbox,
        socket: listening.to_owned(),
    });
    Arc::new(move |go_on: &AtomicBool| {
        let mut arguments = handover::own_arguments();
        // Our own name and `serve`.
        arguments.drain(..2.min(arguments.len()));
        if let Some(enclosure) = &enclosure {
            arguments.splice(..0, [OsString::from(WITHIN), enclosure.written().into()]);
        }
        let binary = binary::for_the_next_image(&binary);
        let child = Child::start(&binary, "check", arguments)
            .map_err(|error| format!("{}: {error}", binary.display()))?;
        match child.finish(|| go_on.load(Ordering::Relaxed)) {
            Ok(Some(ended)) if ended.status.success() => Ok(ended.printed.trim().to_owned()),
            Ok(Some(ended)) if enclosure.is_some() && ended.complaint.contains(DENIED) => {
                Err(format!(
                    "{}; when its folder was replaced since the daemon was started, it lies outside of the \
                 sandbox: restart needed",
                    ended.complaint
                ))
            }
            Ok(Some(ended)) => Err(ended.complaint),
            Ok(None) => Err("it was given up".into()),
            Err(error) => Err(error.to_string()),
        }
    })
}

/// Leaves for another image. Returns only when that fails, with what is needed to go on in this one.
pub(super) fn leave(
    server: &Server,
    setup: &Setup,
    origin: &Origin,
    departure: Departure,
    signals: &Signals,
) -> Arrival {
    let Departure {
        reason,
        loaded,
        reload_asked,
        checked_model,
        carried,
        connections,
    } = departure;
    let mut handed = Handed {
        reason,
        load: loaded && reason != Reason::Idle,
        reload_asked,
        checked_model,
        binary: origin.binary.clone(),
        socket: server.socket().path().to_owned(),
        config: setup.loaded.values(),
        folder: setup.bundle.folder.clone(),
        manifest: setup.bundle.text().to_owned(),
        checked: setup.bundle.checked.clone(),
        server: carried,
    };
    let failed = depart(server, &mut handed, origin, &connections, signals);
    Arrival {
        carried: handed.server,
        connections: connections.into_iter().map(|(fd, _)| fd).collect(),
        load: false,
        reload_asked,
        outcome: Err(failed),
    }
}

/// Why there was no departure.
fn depart(
    server: &Server,
    handed: &mut Handed,
    origin: &Origin,
    connections: &[(OwnedFd, bool)],
    signals: &Signals,
) -> String {
    let result = signals::hold().and_then(|()| {
        if signals.stop_is_pending() {
            return Err(std::io::Error::other("the daemon was told to stop"));
        }
        if environment::rehearses("exec") {
            return Err(std::io::Error::other("a failure was rehearsed"));
        }
        handed.reload_asked |= signals.reload_is_pending();
        let (listener, lock, identity) = server.socket().parts();
        let descriptors = Descriptors {
            listener,
            lock,
            identity,
            connections: connections
                .iter()
                .map(|(fd, between)| (fd.as_fd(), *between))
                .collect(),
        };
        let sandbox = origin.sandbox.as_ref().map(Sandbox::written);
        let packed = handover::pack(&descriptors, VERSION, &(sandbox, &*handed))?;
        let binary = binary::for_the_next_image(&handed.binary);
        handover::exec(&binary, &descriptors, &packed)
    });
    let error = result.map_or_else(|error| error, |never| match never {});
    match signals::let_through() {
        Ok(()) => error.to_string(),
        Err(more) => format!("{error}; signals stay held: {more}"),
    }
}

impl Predecessor {
    /// Takes over what the image before left behind descriptor `fd`.
    ///
    /// # Errors
    ///
    /// [`HandoverError`], when there is nothing.
    pub fn take(fd: RawFd) -> Result<Self, HandoverError> {
        let mut taken = handover::take(fd)?;
        let known = taken.version >= WITH_SANDBOX;
        let text = known.then(|| taken.body::<Option<String>>().ok()).flatten();
        let sandbox = text.flatten().and_then(|text| Sandbox::read(&text));
        let handed = if taken.version == VERSION {
            taken.body()
        } else {
            let theirs = taken.version;
            Err(format!(
                "it has version {theirs}, this dermald knows {VERSION}"
            ))
        };
        Ok(Predecessor {
            taken,
            sandbox,
            handed,
        })
    }

    /// Decides what to go on with. `configuration` reads it anew.
    ///
    /// # Errors
    ///
    /// [`StartError`], when neither the old set-up nor a new one can be used.
    pub fn succeed(
        self,
        configuration: impl FnOnce() -> Result<Loaded, StartError>,
    ) -> Result<Successor, StartError> {
        let Predecessor {
            taken,
            sandbox,
            handed,
        } = self;
        let descriptors = taken.descriptors;
        let inherited = |path| Inherited {
            path,
            listener: descriptors.listener,
            lock: descriptors.lock,
            identity: descriptors.identity,
            read_anew: false,
        };
        match handed {
            Ok(handed) => {
                let socket = inherited(Some(handed.socket.clone()));
                let connections = descriptors.connections.into_iter().map(|(fd, _)| fd);
                handed.succeed(configuration, socket, sandbox, connections.collect())
            }
            Err(reason) => {
                server::dismiss(descriptors.connections);
                Ok(Successor {
                    setup: Setup::new(configuration()?)?,
                    remarks: vec![format!(
                        "what the image before left cannot be read ({reason}); its clients must \
                         connect again"
                    )],
                    socket: Inherited {
                        read_anew: true,
                        ..inherited(None)
                    },
                    origin: Origin {
                        sandbox,
                        ..Origin::first()
                    },
                    arrival: None,
                })
            }
        }
    }
}

impl Handed {
    fn succeed(
        mut self,
        configuration: impl FnOnce() -> Result<Loaded, StartError>,
        mut socket: Inherited,
        sandbox: Option<Sandbox>,
        connections: Vec<OwnedFd>,
    ) -> Result<Successor, StartError> {
        let mut remarks = Vec::new();
        let anew = (self.reason == Reason::Reload).then(|| {
            let loaded = configuration()?;
            let (sandbox, socket) = (sandbox.clone().unwrap_or_default(), self.socket.clone());
            Enclosure { sandbox, socket }.reaches(&loaded)?;
            Setup::new(loaded)
        });
        let setup = match anew {
            Some(Ok(setup)) if Some(&setup.bundle.digest) == self.checked_model.as_ref() => {
                self.server.reloaded();
                socket.read_anew = true;
                setup
            }
            // Or nothing was to be read anew.
            found => {
                match found {
                    Some(Err(error)) => {
                        self.server.refused(&error.to_string());
                        remarks.push(format!("the reload was refused after all: {error}"));
                    }
                    Some(Ok(_)) => {
                        self.reload_asked = true;
                        remarks.push("the model was changed after it was checked".into());
                    }
                    None => {}
                }
                let loaded = config::restore(&self.config)?;
                Setup::with(
                    loaded,
                    Bundle::of(&self.folder, self.manifest, self.checked)?,
                )?
            }
        };
        // Where there was no sandbox, a reload may want one.
        let read_anew = socket.read_anew;
        Ok(Successor {
            setup,
            remarks,
            socket,
            origin: Origin {
                binary: self.binary,
                sandbox: sandbox.filter(|sandbox| sandbox.is_in_force() || !read_anew),
            },
            arrival: Some(Arrival {
                carried: self.server,
                connections,
                load: self.load,
                reload_asked: self.reload_asked,
                outcome: Ok(self.reason),
            }),
        })
    }
}

impl Inherited {
    /// Listens where the image before did, or, when the configuration names another place by now, there.
    pub(super) fn adopt(self, setup: &Setup) -> Result<Socket, SocketError> {
        let wanted = &setup.config().socket;
        let path: &Path = self.path.as_deref().unwrap_or(wanted);
        let old = Socket::adopt(path, self.listener, self.lock, self.identity)?;
        if path == wanted {
            // Otherwise the mode stays as it is: the operator may have set one.
            if self.read_anew
                && let Err(error) = old.open_to_guests(setup.access.has_guests())
            {
                tracing::warn!(%error, "the socket keeps its mode");
            }
            return Ok(old);
        }
        if old.is_given() {
            if self.read_anew {
                tracing::error!(
                    wanted = %wanted.display(),
                    "the socket is held by whoever started the daemon and stays: start that anew for \
                     another one"
                );
            }
            return Ok(old);
        }
        match Socket::listen(wanted, setup.access.has_guests()) {
            Ok(new) => Ok(new),
            Err(error) => {
                tracing::error!(%error, "the new socket cannot be had; the old one stays");
                Ok(old)
            }
        }
    }
}
