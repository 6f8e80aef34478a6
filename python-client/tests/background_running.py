"""The site `background_site` as real processes: its commands, Celery workers, db_workers, and a
look into its database from outside."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import dermald
from processes import Process
from redis_server import Redis

TESTS = Path(__file__).resolve().parent
PATIENCE_SECONDS = 60.0
_EMPTY_DATABASE: list[bytes] = []


class BackgroundSite:
    """Database and photos in `folder`. `entry` is DERMALD["default"]; each worker is told its own
    socket."""

    def __init__(self, folder: Path, entry: dict[str, object], redis: Redis | None = None) -> None:
        paths = [str(Path(dermald.__path__[0]).parent), str(TESTS)]
        paths += filter(None, [os.environ.get("PYTHONPATH")])
        self.folder = folder
        self.environment = {
            "DJANGO_SETTINGS_MODULE": "background_site.settings",
            "PYTHONPATH": os.pathsep.join(paths),
            "SITE_FOLDER": str(folder),
            "SITE_DERMALD": json.dumps(entry),
            "SITE_BROKER": f"redis+socket://{redis.path}" if redis else "redis://127.0.0.1:1",
        }
        self._started: list[Worker] = []
        self._make_database()

    def manage(self, *arguments: str, socket: Path | None = None, fails: bool = False) -> str:
        """What the command says. `fails` is what is expected of it."""
        done = subprocess.run(
            [sys.executable, "-m", "django", *arguments],
            env={**os.environ, **self.environment, **_socket(socket)},
            cwd=TESTS,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stdout + done.stderr

    def upload(self, *photos: Path, options: tuple[str, ...] = ()) -> list[dict[str, Any]]:
        return told_by(self.manage("upload", *map(str, photos), *options))

    def celery(self, name: str, socket: Path, *options: str, concurrency: int = 2) -> Worker:
        """A worker that takes tasks already."""
        command = ["celery", "-A", "background_site.celery_app", "worker", "-n", f"{name}@test"]
        command += ["--concurrency", str(concurrency), "--loglevel", "INFO"]
        command += ["--without-gossip", "--without-mingle", "--without-heartbeat", *options]
        worker = self._worker(command, name, socket, {"SITE_WARM": "1"})
        worker.wait_for_words(f"{name}@test ready")
        return worker

    def db_worker(self, name: str, socket: Path) -> Worker:
        command = ["django", "db_worker", "--interval", "0.1", "--no-startup-delay"]
        command += ["--worker-id", name, "--queue-name", "*", "--no-reload"]
        return self._worker(command, name, socket, {})

    def process(self, *arguments: str, name: str, socket: Path | None = None) -> Worker:
        """A command that stays."""
        return self._worker(["django", *arguments], name, socket, {})

    def predictions(self) -> list[dict[str, Any]]:
        return self.rows("SELECT * FROM dermald_background_storedprediction ORDER BY created_at")

    def rows(self, query: str) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(self.folder / "db.sqlite3", timeout=20)) as database:
            database.row_factory = sqlite3.Row
            return [dict(row) for row in database.execute(query)]

    def states(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for row in self.predictions():
            counts[row["state"]] = counts.get(row["state"], 0) + 1
        return counts

    def wait_until(self, true: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < deadline, (self.states(), self.logs())
            time.sleep(0.02)

    def wait_for(self, seconds: float = PATIENCE_SECONDS, **states: int) -> None:
        self.wait_until(lambda: self.states() == states, seconds)

    def logs(self) -> str:
        return "\n".join(f"{worker.log}\n{worker.said()[-3000:]}" for worker in self._started)

    def close(self) -> None:
        for worker in self._started:
            worker.kill()

    def _make_database(self) -> None:
        """The tables, made once in a run of the tests."""
        database = self.folder / "db.sqlite3"
        if _EMPTY_DATABASE:
            database.write_bytes(_EMPTY_DATABASE[0])
            return
        self.manage("migrate", "--run-syncdb", "--verbosity", "0")
        _EMPTY_DATABASE.append(database.read_bytes())

    def _worker(
        self, command: list[str], name: str, socket: Path | None, more: dict[str, str]
    ) -> Worker:
        environment = {**self.environment, **_socket(socket), **more}
        log = self.folder / f"{name}-{len(self._started)}.log"
        self._started.append(Worker(command, environment, log))
        return self._started[-1]


class Worker(Process):
    """A worker's process and those that it forked."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Path) -> None:
        self.log = log
        super().__init__([sys.executable, "-m", *command], environment, folder=TESTS, log=log)

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for_words(self, words: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while words not in self.said():
            assert self.running(), self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.02)


def told_by(said: str) -> list[dict[str, Any]]:
    """What the command `upload` tells, one upload each."""
    return [json.loads(line) for line in said.splitlines() if line.startswith("{")]


@contextmanager
def background_site(
    folder: Path, entry: dict[str, object], redis: Redis | None = None
) -> Iterator[BackgroundSite]:
    site = BackgroundSite(folder, entry, redis)
    try:
        yield site
    finally:
        site.close()


def _socket(socket: Path | None) -> dict[str, str]:
    return {"DERMALD_SOCKET": str(socket)} if socket else {}
