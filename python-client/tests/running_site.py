"""`dermald run` with gunicorn and the example site, as a host would start them."""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path

import dermald
from browser import Visitor
from conftest import DEMO, ROOT
from processes import Process, onnxruntime_library

EXAMPLE = ROOT / "python-client" / "example"
PAGE = "/skin/"
PATIENCE_SECONDS = 60.0
# As where nobody names one, before the home is another.
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "dermald"
_PORT = re.compile(r"Listening at: http://127\.0\.0\.1:(\d+)")


class RunningSite(Process):
    """Daemon and site below one process; `gunicorn` are flags of it beside those of render.yaml."""

    def __init__(self, binary: Path, folder: Path, *gunicorn: str) -> None:
        self._home = folder / "home"
        self._home.mkdir()
        self.socket = folder / "s" / "dermald.sock"
        self.log = folder / "run.log"
        command = [str(binary), "run", "--socket", str(self.socket), "--bundle", str(DEMO)]
        command += ["--", sys.executable, "-m", "gunicorn", "site_wsgi:application"]
        command += ["--bind", "127.0.0.1:0", "--workers", "1", "--threads", "2"]
        command += ["--worker-class", "gthread", "--worker-tmp-dir", "/dev/shm"]
        command += ["--no-control-socket", *gunicorn]
        environment = {"PYTHONPATH": str(Path(dermald.__path__[0]).parent)}
        # Where gunicorn and others put sockets of their own.
        environment |= {"HOME": str(self._home), "XDG_RUNTIME_DIR": str(self._home)}
        environment["DERMALD_CACHE"] = os.environ.get("DERMALD_CACHE", str(CACHE))
        if library := onnxruntime_library():
            environment["ORT_DYLIB_PATH"] = library
        super().__init__(command, environment, folder=EXAMPLE, log=self.log)

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def visitor(self) -> Visitor:
        """Somebody with a browser, once gunicorn listens."""
        wait_until(lambda: _PORT.search(self.said()) is not None, self.said)
        port = _PORT.search(self.said())
        assert port is not None
        return Visitor("127.0.0.1", int(port.group(1)), PATIENCE_SECONDS)

    def daemon(self) -> int:
        """The daemon's process, waited for."""
        return self._child_named("dermald")

    def master(self) -> int:
        """gunicorn's, waited for."""
        return self._child_named("python")

    def worker(self) -> int:
        """The process that serves, waited for."""
        master = self.master()
        wait_until(lambda: bool(children(master)), self.said)
        return children(master)[0]

    def _child_named(self, name: str) -> int:
        def found() -> list[int]:
            return [pid for pid in children(self.pid) if _program(pid).startswith(name)]

        wait_until(lambda: bool(found()), self.said)
        return found()[0]

    def ended(self) -> int:
        """Its exit code, once it has ended by itself."""
        return self._child.wait(PATIENCE_SECONDS)

    def everybody(self) -> list[int]:
        """It and all below it."""
        pids = [self.pid]
        for pid in pids:
            pids += children(pid)
        return pids

    def leaves(self) -> list[str]:
        """What lies beside the socket, but for the lock, and sockets in the home."""
        names = [path.name for path in self.socket.parent.iterdir()]
        sockets = [path.name for path in self._home.rglob("*") if path.is_socket()]
        return [name for name in names if not name.endswith(".lock")] + sockets


def children(pid: int) -> list[int]:
    try:
        return [int(pid) for pid in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def wait_until(true: object, otherwise: object) -> None:
    assert callable(true)
    assert callable(otherwise)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < deadline, otherwise()
        time.sleep(0.005)


def _program(pid: int) -> str:
    """Of a child that has become what it was started for."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    name = Path(words[0].decode()).name
    # Just forked it looks like its parent.
    return "" if words[1:2] in ([b"child"], [b"run"]) else name
