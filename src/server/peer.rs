//! Who may connect: our own user, root, and the users and groups that the operator named.
//!
//! The kernel tells who is at the other end (`SO_PEERCRED`); the socket's file mode is only the
//! first door.

use std::ffi::CString;
use std::fmt;
use std::io;

use nix::unistd::{Gid, Group, Uid, User, geteuid, getgrouplist};
use tokio::net::UnixStream;

/// The process at the other end when it connected.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Its effective user.
    pub uid: u32,
    /// Its effective group.
    pub gid: u32,
    /// Its process id, when the kernel knows it.
    pub pid: Option<i32>,
}

impl Peer {
    /// Asks the kernel.
    ///
    /// # Errors
    ///
    /// As the kernel says.
    pub fn of(stream: &UnixStream) -> io::Result<Self> {
        let credentials = stream.peer_cred()?;
        Ok(Peer {
            uid: credentials.uid(),
            gid: credentials.gid(),
            pid: credentials.pid(),
        })
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uid {} pid {}", self.uid, self.pid.unwrap_or(0))
    }
}

/// Who is admitted.
#[derive(Clone, Debug)]
pub struct Access {
    users: Vec<u32>,
    groups: Vec<u32>,
}

/// A name in the configuration that the system does not know.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {name:?} is no {kind} of this system")]
pub struct UnknownName {
    key: &'static str,
    kind: &'static str,
    name: String,
}

impl Access {
    /// Looks up names and numbers; our own user and root are always in.
    ///
    /// # Errors
    ///
    /// [`UnknownName`] for a name that the system does not know.
    pub fn new(users: &[String], groups: &[String]) -> Result<Self, UnknownName> {
        let user = |name: &String| {
            number(name)
                .or_else(|| Some(User::from_name(name).ok()??.uid.as_raw()))
                .ok_or_else(|| unknown("allow_users", "user", name))
        };
        let group = |name: &String| {
            number(name)
                .or_else(|| Some(Group::from_name(name).ok()??.gid.as_raw()))
                .ok_or_else(|| unknown("allow_groups", "group", name))
        };
        let mut users: Vec<u32> = users.iter().map(user).collect::<Result<_, _>>()?;
        users.extend([geteuid().as_raw(), 0]);
        let groups = groups.iter().map(group).collect::<Result<_, _>>()?;
        Ok(Access { users, groups })
    }

    /// Whether anybody but our own user and root may come: then the file mode must let them.
    #[must_use]
    pub fn has_guests(&self) -> bool {
        let own = geteuid().as_raw();
        self.users.iter().any(|uid| ![own, 0].contains(uid)) || !self.groups.is_empty()
    }

    /// Whether users are admitted whom the kernel cannot tell from each other.
    #[must_use]
    pub fn admits_unknown_users(&self) -> bool {
        self.users.contains(&nobody_known())
    }

    /// Admits `peer` or says why not.
    ///
    /// Membership in groups is asked of the system's user database, which may be a server far away:
    /// that happens beside the I/O thread.
    ///
    /// # Errors
    ///
    /// A sentence for the peer and the log.
    pub async fn admits(&self, peer: &Peer) -> Result<(), String> {
        if self.users.contains(&peer.uid) || self.groups.contains(&peer.gid) {
            return Ok(());
        }
        if !self.groups.is_empty() {
            let (peer, groups) = (*peer, self.groups.clone());
            let asked = tokio::task::spawn_blocking(move || shares_group(&peer, &groups));
            if asked.await.unwrap_or(false) {
                return Ok(());
            }
        }
        let advice = if peer.uid == nobody_known() {
            "it stands for users of another user namespace (a container's), whom nobody here can tell \
             from each other: have the daemon run in the same one"
        } else {
            "add it to allow_users or one of its groups to allow_groups"
        };
        Err(format!(
            "user {} may not use this dermald, which runs as user {}; {advice}",
            peer.uid,
            geteuid()
        ))
    }
}

/// What the kernel says of users that have no number in our user namespace.
fn nobody_known() -> u32 {
    std::fs::read_to_string("/proc/sys/kernel/overflowuid")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(65534)
}

/// Whether the peer's user is a member of one of `groups`.
fn shares_group(peer: &Peer, groups: &[u32]) -> bool {
    User::from_uid(Uid::from_raw(peer.uid))
        .ok()
        .flatten()
        .and_then(|user| {
            let name = CString::new(user.name).ok()?;
            getgrouplist(&name, Gid::from_raw(peer.gid)).ok()
        })
        .is_some_and(|found| found.iter().any(|gid| groups.contains(&gid.as_raw())))
}

fn number(name: &str) -> Option<u32> {
    name.parse().ok()
}

fn unknown(key: &'static str, kind: &'static str, name: &str) -> UnknownName {
    UnknownName {
        key,
        kind,
        name: name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(uid: u32, gid: u32) -> Peer {
        Peer {
            uid,
            gid,
            pid: None,
        }
    }

    #[tokio::test]
    async fn own_user_and_root_are_in_and_others_only_by_name_or_group() {
        let own = geteuid().as_raw();
        let access = Access::new(&["4242".into()], &["4343".into()]).expect("numbers");
        for (uid, gid) in [(own, 1), (0, 0), (4242, 1), (77, 4343)] {
            assert_eq!(access.admits(&peer(uid, gid)).await, Ok(()), "{uid}:{gid}");
        }
        let refusal = access.admits(&peer(77, 78)).await.expect_err("a stranger");
        assert!(refusal.contains("user 77 may not"), "{refusal}");
    }

    #[test]
    fn naming_ourselves_or_root_lets_nobody_else_in() {
        let own = geteuid().as_raw().to_string();
        assert!(
            !Access::new(&["0".into(), own], &[])
                .expect("numbers")
                .has_guests()
        );
        assert!(
            Access::new(&["4242".into()], &[])
                .expect("a number")
                .has_guests()
        );
        assert!(
            Access::new(&[], &["4343".into()])
                .expect("a number")
                .has_guests()
        );
    }

    #[test]
    fn unknown_name_is_told_with_its_setting() {
        let message = Access::new(&["no-such-user".into()], &[])
            .expect_err("unknown")
            .to_string();
        assert_eq!(
            message,
            "allow_users: \"no-such-user\" is no user of this system"
        );
    }
}
