"""Who lives in the box: a site with the daemon beside it, or a site that runs TensorFlow itself.

Each is one start command, as a host takes it, with the first site's gunicorn options and variables.
"""

from __future__ import annotations

import compileall
import os
import shlex
import shutil
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import dermald
from bundles import Bundle, prepare
from subjects import ROOT

sys.path.insert(0, str(ROOT / "python-client" / "example"))

# The path is made above, where mypy does not look.
from processes import (  # type: ignore[import-not-found,unused-ignore]
    Process,
    onnxruntime_library,
    private_folder,
)

HERE = Path(__file__).resolve().parent
EXAMPLE = ROOT / "python-client" / "example"

OPTIONS = (
    "--workers 1 --threads 2 --worker-class gthread --timeout 300 "
    "--max-requests 100 --max-requests-jitter 10 --worker-tmp-dir /dev/shm"
)
VARIABLES = {
    "ENABLE_GRADCAM": "true",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "GUNICORN_CMD_ARGS": "",
    "PYTHONDONTWRITEBYTECODE": "1",
}

# Ours alone: one heap for all threads. With one for each, as glibc has it, every thread keeps what
# its largest upload needed.
OUR_VARIABLES = {"MALLOC_ARENA_MAX": "1"}

SITE = "site"
DAEMON = "daemon"


@dataclass(frozen=True)
class Software:
    """The files that run: copies, so that no process outside has the same pages mapped."""

    daemon: Path
    library: Path

    @classmethod
    def copied(cls, binary: Path, folder: Path) -> Software:
        library = onnxruntime_library()
        if library is None:
            raise RuntimeError("there is no ONNX Runtime; install the package onnxruntime")
        return cls(
            Path(shutil.copy(binary, folder)), Path(shutil.copy(Path(library).resolve(), folder))
        )


@dataclass(frozen=True)
class Tenant:
    """One start command and what belongs to it. {fd} in it stands for the listening socket, unless
    it opens `port` by itself."""

    title: str
    command: str
    folder: Path
    # The upload page.
    page: str
    # Of the daemon, when there is one: its binary and its socket.
    daemon: Path | None = None
    socket: Path | None = None
    variables: dict[str, str] = field(default_factory=dict)
    port: int | None = None
    # What the host asks for its health check; the page when there is none.
    health: str | None = None
    # What every request brings.
    headers: dict[str, str] = field(default_factory=dict)

    def name_of(self, pid: int) -> str:
        """Whose process this is, wherever it sees its binary. Raises `FileNotFoundError` when it is
        gone."""
        running = Path(f"/proc/{pid}/exe").stat()
        return DAEMON if self.daemon and os.path.samestat(running, self.daemon.stat()) else SITE


@dataclass(frozen=True)
class Running:
    """A start command that was run: the site's port, and whether the command has not ended yet."""

    port: int
    goes_on: Callable[[], bool]


@contextmanager
def started(tenant: Tenant, prefix: list[str], log: Path) -> Iterator[Running]:
    """Runs a start command behind `prefix`.

    Unless the site has a port of its own, it takes connections from the beginning; they are
    answered when the site is up.
    """
    variables = {**VARIABLES, **tenant.variables}
    if tenant.port:
        whole = [*prefix, "/bin/sh", "-c", tenant.command]
        process = Process(whole, variables, folder=tenant.folder, log=log)
        try:
            yield Running(tenant.port, process.running)
        finally:
            process.terminate()
        return
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = tenant.command.replace("{fd}", str(listener.fileno()))
        process = Process(
            [*prefix, "/bin/sh", "-c", command],
            variables,
            folder=tenant.folder,
            log=log,
            inherit=(listener.fileno(),),
        )
        port = int(listener.getsockname()[1])
    try:
        yield Running(port, process.running)
    finally:
        process.terminate()


@contextmanager
def beside_daemon(
    software: Software,
    bundle: Bundle,
    scratch: Path,
    *,
    prepared: bool,
    preload: bool,
    variables: Mapping[str, str],
) -> Iterator[Tenant]:
    """The example site, and the daemon with a bundle."""
    # As pip does with what it installs; otherwise every start compiles it.
    for package in (EXAMPLE, Path(dermald.__path__[0])):
        compileall.compile_dir(package, quiet=1)
    cache = scratch / f"cache-{bundle.name}"
    if prepared:
        prepare(software.daemon, bundle, cache)
    with private_folder() as folder:
        socket_path = folder / "dermald.sock"
        serve = [software.daemon, "serve", "--socket", socket_path, "--bundle", bundle.folder]
        serve += ["--cache", cache, "--preload", str(preload).lower()]
        yield Tenant(
            title(bundle),
            f"{shlex.join(map(str, serve))} & " + gunicorn(sys.executable, "site_wsgi:application"),
            EXAMPLE,
            "/skin/",
            software.daemon,
            socket_path,
            {
                "ORT_DYLIB_PATH": str(software.library),
                "DERMALD_SOCKET": str(socket_path),
                **OUR_VARIABLES,
                **variables,
            },
        )


def with_tensorflow(python: Path, packages: Path, model: Path, *, explains: bool) -> Tenant:
    """The baseline. `python` has TensorFlow, `packages` has Django and gunicorn for it."""
    return Tenant(
        "TensorFlow",
        gunicorn(str(python), "keras_site:application"),
        HERE,
        "/",
        variables={
            "KERAS_MODEL": str(model),
            "PYTHONPATH": str(packages),
            "ENABLE_GRADCAM": str(explains).lower(),
        },
    )


def title(bundle: Bundle) -> str:
    if not bundle.explains:
        return "no Grad-CAM"
    return "Grad-CAM" if bundle.precision == "float32" else bundle.precision


def gunicorn(python: str, application: str) -> str:
    start = shlex.join([python, "-m", "gunicorn", application])
    return f"exec {start} --bind fd://{{fd}} {OPTIONS}"
