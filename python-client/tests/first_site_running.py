"""The site of `first_site/` in a folder of its own, under gunicorn, and what it stored."""

from __future__ import annotations

import difflib
import http.client
import json
import os
import secrets
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote_plus

from processes import Process

HERE = Path(__file__).resolve().parent / "first_site"
# TensorFlow takes its time on a busy machine.
PATIENCE_SECONDS = 180.0


@dataclass(frozen=True)
class Row:
    """A line of the site's table."""

    results: list[dict[str, object]]
    heatmap: str | None


def added_lines() -> list[str]:
    """What a team writes to change over: the lines that `after/` has and `site/` lacks."""
    added: list[str] = []
    for path in sorted(HERE.glob("after/**/*")):
        if path.is_file():
            old = HERE / "site" / path.relative_to(HERE / "after")
            diff = difflib.unified_diff(old.read_text().split("\n"), path.read_text().split("\n"))
            added += [line[1:] for line in diff if line.startswith("+") and line[:3] != "+++"]
    return added


class FirstSite:
    """changed: with the files of `after/`. python: of the environment that has what it needs;
    `packages` are further folders of packages, behind its own."""

    def __init__(
        self,
        folder: Path,
        *,
        changed: bool,
        python: str = sys.executable,
        packages: tuple[Path, ...] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder / ("after" if changed else "before")
        shutil.copytree(HERE / "site", self.folder)
        if changed:
            shutil.copytree(HERE / "after", self.folder, dirs_exist_ok=True)
        self._python = python
        self._packages = packages
        self._environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **(environment or {})}
        self._manage("migrate", "-v0")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.log = self.folder / "gunicorn.log"
        run = "from gunicorn.app.wsgiapp import run; run()"
        arguments = ["dermai.wsgi:application", "--bind", f"fd://{self._listener.fileno()}"]
        arguments += ["--workers", "1", "--threads", "2", "--worker-class", "gthread"]
        arguments += ["--timeout", "300", "--worker-tmp-dir", "/dev/shm"]
        self.gunicorn = Process(
            [*self._command(run), *arguments],
            self._environment,
            folder=self.folder,
            log=self.log,
            inherit=(self._listener.fileno(),),
        )

    def get(self, path: str) -> tuple[int, bytes]:
        return self._ask("GET", path, None, {})

    def upload_file(self, photo: bytes) -> tuple[int, bytes]:
        """Status and body; for a redirect, those of the page that it leads to."""
        boundary = secrets.token_hex(16)
        head = (
            f"--{boundary}\r\n"
            'Content-Disposition: form-data; name="image"; filename="x.jpg"\r\n\r\n'
        )
        body = head.encode() + photo + f"\r\n--{boundary}--\r\n".encode()
        kind = f"multipart/form-data; boundary={boundary}"
        return self._ask("POST", "/upload/file/", body, {"Content-Type": kind})

    def upload_camera(self, photo: bytes) -> tuple[int, bytes]:
        text = f"data:image/jpeg;base64,{b64encode(photo).decode()}"
        body = f"image={quote_plus(text)}".encode()
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._ask("POST", "/upload/", body, kind)

    def rows(self) -> list[Row]:
        with sqlite3.connect(self.folder / "db.sqlite3") as database:
            stored = database.execute("SELECT results, heatmap FROM Dermal_diagnosis ORDER BY id")
            rows = [Row(json.loads(results), heatmap) for results, heatmap in stored]
        database.close()
        return rows

    def worker(self) -> int:
        """The process that serves."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(pids := self.gunicorn.pids()) < 2:
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)
        return pids[1]

    def close(self) -> None:
        self._listener.close()
        self.gunicorn.terminate()

    def _manage(self, *arguments: str) -> None:
        run = "import sys; sys.argv[0] = 'manage.py'; exec(open('manage.py').read())"
        subprocess.run(
            [*self._command(run), *arguments],
            cwd=self.folder,
            env=self._environment,
            check=True,
        )

    def _command(self, run: str) -> list[str]:
        paths = [str(path) for path in self._packages]
        return [self._python, "-c", f"import sys; sys.path += {paths!r}; {run}"]

    def _ask(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        if response.status == 302:
            return self.get(response.headers["Location"])
        return response.status, text
