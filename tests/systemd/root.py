"""A root of Debian 12 with systemd 252 and what `make install` puts there.

What comes from Debian is made once and copied for each run. Knows nothing of what is proven in it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SUITE = "bookworm"
PACKAGES = ["systemd", "systemd-sysv", "dbus", "python3", "gunicorn"]
MODEL = "var/lib/dermald/model"
# Where the daemon's client and what a test runs in there lie.
PYTHON = "usr/local/lib/python3.11/dist-packages"
PROGRAMS = "usr/local/share/proof"
UNITS = "etc/systemd/system"


class CannotProveError(RuntimeError):
    """This machine or this user may not make or boot a root; the text says what is missing."""


def make(work: Path, daemon: Path) -> Path:
    """A fresh root in `work`, with `daemon` installed, users, two models and a site.

    Raises `CannotProveError`, when the packages cannot be had.
    """
    base = work / "base"
    if not base.exists():
        _bootstrap(base)
    root = work / "root"
    shutil.rmtree(root, ignore_errors=True)
    _run("cp", "--archive", "--reflink=auto", base, root)
    _install(root, daemon)
    _add_models(root)
    _add_site(root)
    _chroot(root, "systemctl", "enable", "dermald.socket", "dermald@second.socket")
    return root


def _bootstrap(base: Path) -> None:
    making = base.with_name("making")
    shutil.rmtree(making, ignore_errors=True)
    include = f"--include={','.join(PACKAGES)}"
    command = ["mmdebstrap", "--variant=minbase", include, SUITE, str(making)]
    log = base.with_name("mmdebstrap.log")
    with log.open("wb") as out:
        made = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, check=False)
    if made.returncode:
        raise CannotProveError(f"mmdebstrap failed: {log}")
    making.rename(base)


def _install(root: Path, daemon: Path) -> None:
    library = os.environ.get("ORT_DYLIB_PATH", "")
    if not Path(library).is_file():
        raise CannotProveError("ORT_DYLIB_PATH names no ONNX Runtime: start this by `make units`")
    variables = [f"DESTDIR={root}", f"BINARY={daemon.resolve()}", f"ORT_DYLIB_PATH={library}"]
    _run("make", "--silent", "--directory", REPOSITORY, "install", *variables)


def _add_models(root: Path) -> None:
    """The first as `make install` configures it, the second by `dermald init`."""
    for name in ("model", "second"):
        place = root / "var/lib/dermald" / name
        shutil.copytree(REPOSITORY / "models/demo", place)
    manifest = root / "var/lib/dermald/second/manifest.toml"
    text = manifest.read_text().replace('name = "dermald-demo"', 'name = "second"')
    manifest.write_text(text)
    init = ["init", "--out=/etc/dermald/second.toml", "--bundle=/var/lib/dermald/second"]
    _chroot(root, "/usr/local/bin/dermald", *init, "--allow-groups=dermald")


def _add_site(root: Path) -> None:
    """A site's user, who may use the daemon; a stranger; the client and a site that uses it."""
    # The group comes with systemd-sysusers at boot; a site is added to it as the handbook says.
    _chroot(root, "systemd-sysusers")
    _chroot(root, "usermod", "--append", "--groups", "dermald", "www-data")
    _chroot(root, "useradd", "--no-create-home", "stranger")
    no_caches = shutil.ignore_patterns("__pycache__")
    client = REPOSITORY / "python-client/src/dermald"
    shutil.copytree(client, root / PYTHON / "dermald", ignore=no_caches)
    shutil.copytree(Path(__file__).parent / "inside", root / PROGRAMS, ignore=no_caches)
    (root / PROGRAMS / "gunicorn.service").rename(root / UNITS / "gunicorn.service")
    drop_in = root / "usr/local/share/doc/dermald/examples/gunicorn.service.d"
    shutil.copytree(drop_in, root / UNITS / "gunicorn.service.d")


def _chroot(root: Path, *command: str) -> None:
    _run("chroot", root, *command)


def _run(*command: str | Path) -> None:
    """Runs it without the variables of ours, which would configure the daemon in the root."""
    inherited = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    words = [str(word) for word in command]
    done = subprocess.run(words, env=inherited, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stdout}{done.stderr}")
