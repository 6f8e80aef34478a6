"""Starts a daemon or a site as a child, waits until it answers, and ends it with all it started.

Standard library only. Used by the demonstration and by the tests.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

# A daemon answers what it admitted before it leaves; then it is killed.
GRACE_SECONDS = 15.0


@dataclass(frozen=True)
class Memory:
    """What a process holds, in MiB: RSS counts shared pages in full, PSS by their share. Anonymous
    is the part of RSS that lies in no file, which the kernel cannot take back."""

    name: str
    pid: int
    rss: float
    pss: float
    anonymous: float


class Process:
    """A child in a session of its own, so that it can be ended together with its children."""

    def __init__(
        self,
        command: list[str],
        environment: Mapping[str, str] | None = None,
        *,
        folder: Path | None = None,
        log: Path | None = None,
        inherit: tuple[int, ...] = (),
    ) -> None:
        output = open(log, "ab") if log else None  # noqa: SIM115  # closed right below
        self._child = subprocess.Popen(
            command,
            env={**os.environ, **(environment or {})},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=inherit,
            start_new_session=True,
        )
        if output:
            output.close()

    @property
    def pid(self) -> int:
        return self._child.pid

    def running(self) -> bool:
        return self._child.poll() is None

    def terminate(self) -> int:
        """Asks it to end, waits until it has, and returns its exit code."""
        if self.running():
            self._child.terminate()
        try:
            return self._child.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            return self.kill()
        finally:
            self._kill_session()

    def kill(self) -> int:
        """Ends it without asking."""
        self._kill_session()
        return self._child.wait()

    def pids(self) -> list[int]:
        """It and its children."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        try:
            return [self.pid, *map(int, children.read_text().split())]
        except FileNotFoundError:
            return [self.pid]

    def _kill_session(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


def memory(name: str, pid: int) -> Memory:
    """Reads /proc. Raises `OSError` when the process is gone."""
    fields: dict[str, float] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        key, kilobytes, *_ = line.split()
        fields[key.rstrip(":")] = int(kilobytes) / 1024
    return Memory(name, pid, fields["Rss"], fields["Pss"], fields["Anonymous"])


def onnxruntime_library() -> str | None:
    """$ORT_DYLIB_PATH, else the library in this environment's onnxruntime, without importing it."""
    if given := os.environ.get("ORT_DYLIB_PATH"):
        return given
    spec = importlib.util.find_spec("onnxruntime")
    if spec is None or spec.origin is None:
        return None
    libraries = sorted(Path(spec.origin).parent.glob("capi/libonnxruntime.so*"))
    return str(libraries[0]) if libraries else None


@contextmanager
def private_folder() -> Iterator[Path]:
    """A folder that only this user may enter, removed at the end: under /dev/shm, unless
    $PRIVATE_FOLDERS names another place."""
    parent = os.environ.get("PRIVATE_FOLDERS", "/dev/shm")
    with tempfile.TemporaryDirectory(prefix="dermald-", dir=parent) as name:
        yield Path(name)


class Daemon(Process):
    """`dermald serve`, ready to answer.

    Raises `RuntimeError` with the end of its log when it does not become ready.
    """

    def __init__(
        self,
        binary: Path,
        bundle: Path,
        socket: Path,
        *options: str,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        library = onnxruntime_library()
        self.socket = socket
        self.log = socket.with_suffix(".log")
        command = [str(binary), "serve", "--socket", str(socket), "--bundle", str(bundle)]
        found = {} if library is None else {"ORT_DYLIB_PATH": library}
        super().__init__([*command, *options], {**found, **(environment or {})}, log=self.log)
        try:
            self._wait_until_ready(binary)
        except BaseException:
            self.kill()
            raise

    def _wait_until_ready(self, binary: Path) -> None:
        command = [str(binary), "health", "--socket", str(self.socket), "--wait", "30s"]
        with self.log.open("ab") as log:
            waiter = subprocess.Popen(command, stdout=log, stderr=log)
        while waiter.poll() is None and self.running():
            with suppress(subprocess.TimeoutExpired):
                waiter.wait(0.02)
        if waiter.poll() is None:
            # The daemon has ended: nobody will answer.
            waiter.kill()
        if waiter.wait() != 0:
            end = self.log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"dermald is not ready; its log ends with:\n{end}")


class Gunicorn(Process):
    """gunicorn on a listening socket that it inherits, so that no free port has to be guessed."""

    def __init__(
        self,
        application: str,
        listener: int,
        folder: Path,
        environment: Mapping[str, str],
        log: Path,
    ) -> None:
        command = [sys.executable, "-m", "gunicorn", application, "--bind", f"fd://{listener}"]
        command += ["--workers", "1", "--worker-class", "gthread", "--threads", "2"]
        command += ["--worker-tmp-dir", "/dev/shm"]
        self.log = log
        super().__init__(command, environment, folder=folder, log=log, inherit=(listener,))
