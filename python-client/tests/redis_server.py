"""A real Redis on a Unix socket of its own, which tests may stop, freeze and start again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from processes import Process

START_SECONDS = 10.0


class Redis:
    """Keeps nothing on disk. Skips the test, saying so, where Redis is not installed."""

    def __init__(self, folder: Path) -> None:
        self._binary = shutil.which("redis-server")
        if self._binary is None:
            pytest.skip(
                "NOT TESTED: a cache in Redis, Celery (Debian: apt-get install redis-server)"
            )
        self.path = folder / "redis.sock"
        self._folder = folder
        self.start()

    @property
    def location(self) -> str:
        return f"unix://{self.path}"

    def cache_entry(self) -> dict[str, object]:
        """For CACHES."""
        return {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": self.location,
            "OPTIONS": {"socket_timeout": 0.3, "socket_connect_timeout": 0.3},
        }

    def start(self) -> None:
        command = [str(self._binary), "--port", "0", "--unixsocket", str(self.path), "--save", ""]
        self._process = Process(command, folder=self._folder, log=self._folder / "redis.log")
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            assert time.monotonic() < deadline, (self._folder / "redis.log").read_text()
            time.sleep(0.02)

    def stop(self) -> None:
        self._process.terminate()

    def freeze(self) -> None:
        """It still takes connections, and answers nothing."""
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self._process.pid, signal.SIGCONT)

    @contextmanager
    def connected(self) -> Iterator[Any]:
        """A client of it."""
        import redis

        with redis.Redis.from_url(self.location) as client:
            yield client

    def contents(self) -> dict[bytes, bytes]:
        with self.connected() as client:
            return {key: client.get(key) for key in client.scan_iter()}

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as sock:
            try:
                sock.connect(str(self.path))
                sock.sendall(b"PING\r\n")
                return sock.recv(16).startswith(b"+PONG")
            except OSError:
                return False
