"""The example sites under gunicorn with a real daemon: the small one with somebody of the team, the
clinic with a patient."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import dermald
from clinic_process import Clinic
from days import tell_of_a_busy_hour, tell_of_an_idle_day
from dermald.testing import FakeDaemon
from odd_photos import odd_photos
from PIL import Image
from processes import Daemon, Gunicorn, private_folder

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
EXAMPLE = ROOT / "python-client" / "example"
STAFF = "staff"
PATIENT = "patient"
# The page shows how far it is.
MEMORY_LIMIT = "120MiB"


@dataclass(frozen=True)
class Site:
    """address: without a slash at its end. password: of STAFF and PATIENT. photo: what visitors
    upload. sideways: as a phone stores it. clinic: predicts at once. waiting: the clinic once more,
    where photos wait for a worker that never comes."""

    address: str
    password: str
    photo: Path
    sideways: Path
    clinic: Clinic
    waiting: Clinic
    daemon: Daemon
    gunicorn: Gunicorn
    binary: Path

    def renew(self) -> None:
        """Has the daemon renew itself, as somebody of the team would, and waits for it."""
        command = [str(self.binary), "renew", "--socket", str(self.daemon.socket)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def log(self) -> str:
        logs = (self.gunicorn.log, self.clinic.gunicorn.log, self.waiting.gunicorn.log)
        return "\n".join(log.read_text(errors="replace")[-1000:] for log in logs)


@contextmanager
def running_site(binary: Path, bundle: Path) -> Iterator[Site]:
    """Ends all that it started. Raises `RuntimeError` or `OSError` when not all starts."""
    with ExitStack() as stack:
        folder = stack.enter_context(private_folder())
        password = secrets.token_urlsafe(16)
        daemon = Daemon(binary, bundle, folder / "dermald.sock", "--memory-limit", MEMORY_LIMIT)
        stack.callback(daemon.terminate)
        busy, idle = (stack.enter_context(FakeDaemon()) for _ in range(2))
        tell_of_a_busy_hour(busy)
        tell_of_an_idle_day(idle)
        paths = [HERE, EXAMPLE, EXAMPLE / "clinic", Path(dermald.__path__[0]).parent]
        environment = {
            "DERMALD_SOCKET": str(daemon.socket),
            "SHOTS_BUSY": str(busy.path),
            "SHOTS_IDLE": str(idle.path),
            "DJANGO_SETTINGS_MODULE": "shots_settings",
            "DJANGO_SUPERUSER_PASSWORD": password,
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
            "SHOTS_DATABASE": str(folder / "accounts.sqlite3"),
        }
        _django(environment, "migrate", "--verbosity=0")
        _django(
            environment,
            *("createsuperuser", "--verbosity=0", "--noinput"),
            *("--username", STAFF, "--email", "staff@localhost"),
        )
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        gunicorn = Gunicorn(
            "site_wsgi:application", listener.fileno(), HERE, environment, folder / "gunicorn.log"
        )
        stack.callback(gunicorn.terminate)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        clinic, waiting = _clinics(stack, folder, daemon, password)
        sample = bundle / "sample.jpg"
        sideways = _sideways(sample, folder / "sideways.jpg")
        yield Site(address, password, sample, sideways, clinic, waiting, daemon, gunicorn, binary)


def _clinics(
    stack: ExitStack, folder: Path, daemon: Daemon, password: str
) -> tuple[Clinic, Clinic]:
    """Two of one database and one key, so that a patient is signed in at both."""
    environment = {
        "DERMALD_SOCKET": str(daemon.socket),
        "PYTHONPATH": str(Path(dermald.__path__[0]).parent),
        "SECRET_KEY": secrets.token_urlsafe(50),
    }
    clinic = Clinic(folder, environment, {PATIENT: password})
    stack.callback(clinic.close)
    waiting = Clinic(folder, {**environment, "CLINIC_BACKGROUND": "tasks"}, {})
    stack.callback(waiting.close)
    return clinic, waiting


def _sideways(sample: Path, file: Path) -> Path:
    with Image.open(sample) as opened:
        odd = next(odd for odd in odd_photos(opened) if "on its side" in odd.caption)
    file.write_bytes(odd.file)
    return file


def _django(environment: dict[str, str], *command: str) -> None:
    said = subprocess.run(
        [sys.executable, "-m", "django", *command],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    if said.returncode != 0:
        raise RuntimeError(f"django {command[0]} failed:\n{said.stderr[-2000:]}")
