"""The clinic under gunicorn, with accounts: as tests and browsers visit it.

Needs Django and gunicorn.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from processes import Gunicorn

FOLDER = Path(__file__).resolve().parent / "clinic"


class Clinic:
    """Database and photos are in `folder`, `environment` is beside what the settings ask for, and
    `patients` are accounts by name with their passwords. Raises `RuntimeError` when a command of
    Django's fails."""

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str],
        patients: Mapping[str, str],
    ) -> None:
        self.folder = folder
        self.environment = {
            "DJANGO_SETTINGS_MODULE": "website.settings",
            "CLINIC_FOLDER": str(folder),
            "PYTHONDONTWRITEBYTECODE": "1",
            **environment,
        }
        self.manage("migrate", "--verbosity=0")
        for name, password in patients.items():
            self.manage(
                *("createsuperuser", "--noinput", "--verbosity=0"),
                *("--username", name, "--email", f"{name}@localhost"),
                DJANGO_SUPERUSER_PASSWORD=password,
            )
        self._listener = socket.create_server(("127.0.0.1", 0))
        # Cookies know no port: by this name they stay apart from those of a site at 127.0.0.1.
        self.address = f"http://localhost:{self._listener.getsockname()[1]}"
        self.gunicorn = Gunicorn(
            "website.wsgi:application",
            self._listener.fileno(),
            FOLDER,
            self.environment,
            folder / "gunicorn.log",
        )

    def manage(self, *arguments: str, **environment: str) -> str:
        """What the command says."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=FOLDER,
            env={**os.environ, **self.environment, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"manage.py {arguments[0]} failed:\n{done.stderr[-2000:]}")
        return done.stdout

    def close(self) -> None:
        self.gunicorn.terminate()
        self._listener.close()
