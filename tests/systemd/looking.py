"""What proofs look at, and what they say when it is not as it should be."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from machine import Machine

DAEMON, SOCKET = "dermald.service", "dermald.socket"
PATH = "/dev/shm/dermald/dermald.sock"
CONFIGURATION = "/etc/dermald/dermald.toml"
PHOTO = "/var/lib/dermald/model/sample.jpg"
PROGRAMS = "/usr/local/share/proof"
# The user that a site runs as: a member of the group `dermald`.
SITE = "www-data"
# What the photo shows.
LABEL = "ring"
MIB = 1 << 20


@dataclass(frozen=True)
class Options:
    """How much is done."""

    renewals: int


Proof = Callable[[Machine, Options], str]


class NotProvenError(AssertionError):
    """Something is not as it should be."""


def demand(what: str, found: object, expected: object) -> None:
    """Raises `NotProvenError` unless they are equal."""
    if found != expected:
        raise NotProvenError(f"{what}: found {found!r}, expected {expected!r}")


def ask(machine: Machine) -> str:
    """The most likely label of the photo, asked for by a site's user."""
    asked = f"dermald.Client(timeout=100).predict(pathlib.Path({PHOTO!r}))"
    code = f"import dermald, pathlib; print({asked}.labels[0].name)"
    return machine.do("python3", "-c", code, user=SITE)


def status(machine: Machine, path: str = PATH) -> Any:
    return json.loads(machine.do("dermald", "status", f"--socket={path}", user=SITE))


@contextmanager
def changed(machine: Machine, line: str) -> Iterator[None]:
    """With one more line in the daemon's configuration, which is read at its start or reload."""
    kept = f"{CONFIGURATION}.kept"
    machine.do("cp", "--preserve", CONFIGURATION, kept)
    machine.do("sh", "-c", f"echo '{line}' >>{CONFIGURATION}")
    try:
        yield
    finally:
        machine.do("mv", kept, CONFIGURATION)


@contextmanager
def running(
    machine: Machine, *command: str, user: str, first: str
) -> Iterator[subprocess.Popen[str]]:
    """A command in the container that has said `first`; killed at the end."""
    process = machine.start(*command, user=user)
    try:
        assert process.stdout is not None
        demand(f"the first line of {command[1]}", process.stdout.readline().strip(), first)
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def load(machine: Machine, connections: int) -> Iterator[Callable[[], Any]]:
    """A site's requests without a pause. Calling what is given ends them and tells of them."""
    program = f"{PROGRAMS}/load.py"
    with running(
        machine, "python3", program, str(connections), user=SITE, first="begun"
    ) as process:

        def end() -> Any:
            said, _ = process.communicate(timeout=120)
            return json.loads(said)

        yield end


def kernel_limit(machine: Machine) -> int:
    """How many bytes the kernel lets the daemon's control group have, in either version."""
    group = machine.show(DAEMON, "ControlGroup")
    files = [
        f"/sys/fs/cgroup/memory{group}/memory.limit_in_bytes",
        f"/sys/fs/cgroup{group}/memory.max",
    ]
    found = machine.run("sh", "-c", f"cat {' '.join(files)} 2>/dev/null")
    return int(found.stdout.split()[0])
