"""What a user tries who is neither the daemon, nor root, nor a site's, and what comes of it.

stranger.py try        everything that must not work
stranger.py pretend    listens at /dev/shm/pretend.sock for one client, and says what it was sent
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable

FOLDER = "/dev/shm/dermald"
SOCKET = f"{FOLDER}/dermald.sock"
PRETEND = "/dev/shm/pretend.sock"


def connect() -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(SOCKET)


def bind_beside() -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(f"{FOLDER}/other.sock")


def remove() -> None:
    os.unlink(SOCKET)


def move_folder() -> None:
    os.rename(FOLDER, "/dev/shm/moved")


def signal_daemon() -> None:
    found = subprocess.run(
        ["systemctl", "show", "--value", "-p", "MainPID", "dermald"],
        capture_output=True,
        text=True,
        check=True,
    )
    os.kill(int(found.stdout), signal.SIGHUP)


def write_cache() -> None:
    with open("/var/cache/dermald/other", "wb"):
        pass


ATTEMPTS: list[Callable[[], None]] = [
    connect,
    bind_beside,
    remove,
    move_folder,
    signal_daemon,
    write_cache,
]


def attempt(what: Callable[[], None]) -> str:
    try:
        what()
    except PermissionError:
        return "refused"
    except OSError as error:
        return f"failed: {error}"
    return "done"


def pretend() -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(PRETEND)
        os.chmod(PRETEND, 0o666)
        listener.listen()
        print("listening", flush=True)
        listener.settimeout(30)
        client, _ = listener.accept()
        with client:
            client.settimeout(30)
            print(f"sent {len(client.recv(65536))} bytes")
    os.unlink(PRETEND)


def main() -> None:
    if sys.argv[1:] == ["pretend"]:
        pretend()
        return
    for what in ATTEMPTS:
        print(f"{what.__name__}: {attempt(what)}")


if __name__ == "__main__":
    main()
