"""A root that is booted by systemd-nspawn, with systemd as its process 1, and commands in it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from root import CannotProveError

PATIENCE_SECONDS = 60.0
NAME = f"dermald-units-{os.getpid()}"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
Done = subprocess.CompletedProcess[str]


class Machine:
    """What runs in the container."""

    def __init__(self, init: int) -> None:
        self._init = init

    @classmethod
    @contextmanager
    def booted(cls, root: Path, log: Path) -> Iterator[Machine]:
        """Boots `root`; its console goes to `log`. Raises `CannotProveError` when it cannot."""
        command = ["systemd-nspawn", "--quiet", "--boot", f"--directory={root}", "--register=no"]
        command += ["--private-network", "--console=pipe", f"--machine={NAME}"]
        # What it forbids by itself, and a host does not: the daemon's own sandbox.
        calls = ("create_ruleset", "add_rule", "restrict_self")
        allowed = " ".join(f"landlock_{call}" for call in calls)
        command.append(f"--system-call-filter={allowed}")
        groups = _control_groups()
        with log.open("wb") as out:
            container = subprocess.Popen(
                _entering(groups, [*command, "--keep-unit"]),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        try:
            machine = cls(_init_of(container, log))
            machine._wait_for_boot(log)
            yield machine
        finally:
            container.send_signal(signal.SIGTERM)
            try:
                container.wait(30)
            except subprocess.TimeoutExpired:
                container.kill()
                container.wait(10)
            _remove(groups)

    def start(self, *command: str, user: str | None = None) -> subprocess.Popen[str]:
        """Starts it in the container; for `user`, with the groups that he has."""
        become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"] if user else []
        enter = ["nsenter", f"--target={self._init}", "--all", "--"]
        clean = ["env", "-i", f"PATH={PATH}", "LANG=C.UTF-8", *become, *command]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [*enter, *clean], stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True
        )

    def run(self, *command: str, user: str | None = None) -> Done:
        """Runs it to its end, whatever that is."""
        process = self.start(*command, user=user)
        said, _ = process.communicate(timeout=4 * PATIENCE_SECONDS)
        return subprocess.CompletedProcess(list(command), process.returncode, said, "")

    def do(self, *command: str, user: str | None = None) -> str:
        """Runs it, and raises `RuntimeError` with what it said when it fails."""
        done = self.run(*command, user=user)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}: {done.stdout}")
        return done.stdout.strip()

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.do("systemctl", "show", "--value", f"--property={name}", unit)

    def pid(self, unit: str) -> int:
        return int(self.show(unit, "MainPID"))

    def journal(self, unit: str) -> str:
        return self.do("journalctl", "--boot", "--output=cat", "--no-pager", f"--unit={unit}")

    def until(self, what: str, condition: Callable[[], bool]) -> float:
        """Waits for it; the seconds that it took."""
        started = time.monotonic()
        while not condition():
            if time.monotonic() - started > PATIENCE_SECONDS:
                raise RuntimeError(f"never came: {what}")
            time.sleep(0.05)
        return time.monotonic() - started

    def _wait_for_boot(self, log: Path) -> None:
        try:
            self.until(
                "systemd", lambda: self.run("systemctl", "is-system-running").returncode == 0
            )
        except RuntimeError as error:
            failed = self.run("systemctl", "--failed", "--no-legend").stdout
            raise CannotProveError(f"the root does not boot ({failed.strip()}): {log}") from error
        # Version 1 of control groups: as nspawn mounts them, nobody in there may limit anything.
        if self.run("test", "-d", "/sys/fs/cgroup/memory").returncode == 0:
            self.do("mount", "-o", "remount,bind,rw", "/sys/fs/cgroup/memory")
            self.do("systemctl", "daemon-reexec")


def _init_of(container: subprocess.Popen[bytes], log: Path) -> int:
    """Process 1 of the container, as seen from outside."""
    children = Path(f"/proc/{container.pid}/task/{container.pid}/children")
    started = time.monotonic()
    while time.monotonic() - started < PATIENCE_SECONDS and container.poll() is None:
        for child in children.read_text().split():
            status = Path(f"/proc/{child}/status").read_text()
            if any(line.split()[1:] == [child, "1"] for line in _lines(status, "NSpid:")):
                return int(child)
        time.sleep(0.1)
    raise CannotProveError(f"systemd-nspawn does not boot here: {log}")


def _lines(text: str, start: str) -> Iterator[str]:
    return (line for line in text.splitlines() if line.startswith(start))


def _control_groups() -> list[Path]:
    """A group for the container in each hierarchy, so that it touches nobody else's.

    Where systemd runs outside as well, nspawn asks that for one, and this is left alone.
    """
    if Path("/run/systemd/system").exists():
        return []
    groups = []
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, options, *_ = line.split()
        # A new group of processors begins without any, and takes nobody in.
        if kind in ("cgroup", "cgroup2") and "cpuset" not in options.split(","):
            group = Path(place) / NAME
            group.mkdir()
            groups.append(group)
    return groups


def _entering(groups: list[Path], command: list[str]) -> list[str]:
    if not groups:
        return [word for word in command if word != "--keep-unit"]
    steps = " && ".join(f"echo $$ >'{group}/cgroup.procs'" for group in groups)
    return ["/bin/sh", "-c", f'{steps} && exec "$@"', "box", *command]


def _remove(groups: list[Path]) -> None:
    """The groups below first. The kernel takes a moment to see that nobody is in them any more."""
    for group in groups:
        started = time.monotonic()
        while group.exists():
            try:
                for folder, _, _ in os.walk(group, topdown=False):
                    os.rmdir(folder)
            except OSError:
                if time.monotonic() - started > PATIENCE_SECONDS:
                    raise
                time.sleep(0.1)
