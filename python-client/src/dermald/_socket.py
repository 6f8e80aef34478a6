"""What both connections need of a Unix socket: how to open it, and whom to trust at its end."""

from __future__ import annotations

import errno
import os
import pwd
import socket
import stat
import struct

from ._errors import Unreachable, UntrustedDaemon

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# A photo fits whole, so that one sendmsg hands it over. The kernel cuts this to
# net.core.wmem_max where that is less; sending then takes some rounds more.
SEND_BUFFER_BYTES = 2**20
# Most replies, and an overlay of the model's size in a few reads; below the size from which malloc
# asks the kernel for fresh pages each time.
RECEIVE_BYTES = 2**16
_UCRED = struct.Struct("iII")
_ROOT = 0


def new_socket() -> socket.socket:
    """A stream socket, not connected, closed on exec."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    return sock


def uids_of(users: Iterable[str | int]) -> frozenset[int]:
    """User names and numbers as numbers. Raises `ValueError` for a name that does not exist."""
    return frozenset(user if isinstance(user, int) else _uid_of(user) for user in users)


def check_peer(sock: socket.socket, path: str, daemon_uids: frozenset[int]) -> None:
    """Raises `UntrustedDaemon` unless our own user, root or one of `daemon_uids` listens there, in
    a folder where nobody else could have put another one's socket.

    The kernel reports the credentials of the process that called listen(): root under socket
    activation. In a user namespace foreign users appear as 65534.
    """
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    trusted = {os.geteuid(), _ROOT, *daemon_uids}
    uid = _UCRED.unpack(credentials)[1]
    if uid not in trusted:
        raise UntrustedDaemon(
            f"The process that listens at {path} runs as user {uid}, which is neither this "
            f"process's user ({os.geteuid()}) nor root nor a configured daemon user. Nothing was "
            "sent to it."
        )
    folder = os.path.dirname(os.path.abspath(path))
    try:
        found = os.stat(folder)
    except OSError as error:
        raise unreachable(path, error) from error
    if found.st_uid not in trusted:
        reason = f"belongs to user {found.st_uid}"
    elif found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        reason = f"may be written in by everybody (mode {stat.S_IMODE(found.st_mode):o})"
    else:
        return
    raise UntrustedDaemon(
        f"{folder}, the folder of the daemon's socket, {reason}: another program's socket could "
        "have been put there. Nothing was sent to it."
    )


def unreachable(path: str, error: OSError) -> Unreachable:
    """The error for a socket that cannot be connected to."""
    if error.errno in (errno.ENOENT, errno.ECONNREFUSED):
        return Unreachable(
            f"No daemon listens at {path} ({error.strerror}). "
            "Start one with: dermald serve --socket PATH --bundle DIR"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return Unreachable(
            f"This process's user ({os.geteuid()}) may not connect to {path} ({error.strerror}).",
            retryable=False,
        )
    if error.errno == errno.EAGAIN:
        return Unreachable(f"The daemon at {path} takes no more connections at the moment.")
    return Unreachable(f"Cannot connect to {path}: {error}.", retryable=False)


def _uid_of(name: str) -> int:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError as error:
        raise ValueError(f"daemon_users names {name!r}, which is no user of this host") from error
