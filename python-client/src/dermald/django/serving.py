"""Runs a daemon beside a developer's site: finds the binary, starts it, and ends with it.

The site's own process never starts one: who serves visitors starts it as docs/django.md says.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from django.core.exceptions import ImproperlyConfigured

from .._client import Client
from .._errors import DermaldError
from .conf import DEFAULT_ALIAS, SETTING, daemon_settings

SERVE = "python manage.py dermald serve"
_LOOK_EVERY = 0.1
# A daemon answers what it admitted before it leaves; then it is killed.
_GRACE_SECONDS = 15.0


def knows_a_bundle(alias: str = DEFAULT_ALIAS) -> bool:
    """Whether the command can be run without saying which model."""
    try:
        return daemon_settings(alias).bundle is not None or "DERMALD_BUNDLE" in os.environ
    except ImproperlyConfigured:
        return False


class ServeError(Exception):
    """Nothing was started. `str()` says why and what to do."""


def serve(
    socket: Path,
    *,
    binary: Path | None,
    bundle: str | os.PathLike[str] | None,
    options: Sequence[str],
    runserver: str | None,
    tell: Callable[[str], object],
) -> int:
    """Runs the daemon, and runserver with it unless that is None (its address, or "" for its
    default), until one of them ends or somebody stops us. Returns the exit code of the one that
    ended first, 0 when it was stopped.

    runserver restarts only itself when code changes: the daemon and its loaded model stay.
    """
    if _answers(socket):
        raise ServeError(f"A daemon answers at {socket} already.")
    command = [str(_find(binary)), "serve", "--socket", str(socket)]
    command += ["--bundle", os.fspath(bundle)] if bundle else []
    if bundle is None and "DERMALD_BUNDLE" not in os.environ:
        where = f"--bundle FOLDER, BUNDLE in {SETTING}, or $DERMALD_BUNDLE"
        raise ServeError(f"Say which model: {where}.")
    with _stop_signals() as stopped:
        children = [subprocess.Popen([*command, *options], env=_environment())]
        try:
            if runserver is not None:
                children.append(_start_runserver(runserver))
            tell(f"dermald listens at {socket}. Ctrl-C ends it.")
            while not stopped and all(child.poll() is None for child in children):
                time.sleep(_LOOK_EVERY)
            ended = [child for child in children if child.poll() is not None]
        finally:
            for child in reversed(children):
                _end(child)
    return 0 if stopped else next((abs(child.returncode) for child in ended), 0)


def _find(binary: Path | None) -> Path:
    """The given one, else $DERMALD_BINARY, else beside this Python, else on the path."""
    given = binary or os.environ.get("DERMALD_BINARY")
    if given:
        if not os.access(given, os.X_OK):
            raise ServeError(f"{given} is no program that this user may run.")
        return Path(given)
    beside = Path(sys.executable).parent / "dermald"
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which("dermald")
    if found is None:
        raise ServeError("There is no program `dermald` here. Say where it is: --daemon PATH.")
    return Path(found)


def _environment() -> dict[str, str]:
    """With ONNX Runtime of this Python's environment, unless another one was named: a binary that
    lies elsewhere would not find it."""
    environment = dict(os.environ)
    if environment.keys() & {"DERMALD_ONNXRUNTIME", "ORT_DYLIB_PATH"}:
        return environment
    # Without importing it, which would cost a second.
    spec = importlib.util.find_spec("onnxruntime")
    origin = Path(spec.origin) if spec and spec.origin else None
    libraries = sorted(origin.parent.glob("capi/libonnxruntime.so*")) if origin else []
    if libraries:
        environment["ORT_DYLIB_PATH"] = str(libraries[0])
    return environment


def _start_runserver(address: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, sys.argv[0], "runserver", *([address] if address else [])]
    return subprocess.Popen(command)


def _answers(socket: Path) -> bool:
    with suppress(DermaldError), Client(socket, retries=0) as client:
        client.health(timeout=1.0)
        return True
    return False


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collects INT, TERM and HUP instead of dying of them: the children must end first."""
    caught: list[int] = []

    def remember(number: int, _: FrameType | None) -> None:
        caught.append(number)

    kinds = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(kind, remember) for kind in kinds]
    try:
        yield caught
    finally:
        for kind, handler in zip(kinds, before, strict=True):
            signal.signal(kind, handler)


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.terminate()
    try:
        child.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
