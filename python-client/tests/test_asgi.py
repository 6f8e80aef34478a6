"""The asynchronous pages under a real ASGI server: no thread waits for the daemon."""

from __future__ import annotations

import http.client
import json
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import dermald
from dermald.testing import Answer, FakeDaemon
from processes import Process

HERE = Path(__file__).resolve().parent
AT_ONCE = 20
DELAY_SECONDS = 1.0
START_SECONDS = 30.0
PHOTO = b"\xff\xd8\xff" + bytes(1000)


class Site(Process):
    def __init__(self, daemon: FakeDaemon, folder: Path) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = int(self._listener.getsockname()[1])
        self.log = folder / "gunicorn.log"
        source = Path(dermald.__path__[0]).parent
        paths = ":".join(map(str, (source, HERE, HERE.parent / "example")))
        command = [sys.executable, "-m", "gunicorn", "asgi_site:application"]
        command += ["--worker-class", "asgi", "--workers", "1", "--worker-tmp-dir", "/dev/shm"]
        command += ["--bind", f"fd://{self._listener.fileno()}"]
        environment = {
            "DERMALD_SOCKET": str(daemon.path),
            "DJANGO_SETTINGS_MODULE": "asgi_settings",
            "PYTHONPATH": paths,
        }
        inherit = (self._listener.fileno(),)
        super().__init__(command, environment, folder=folder, log=self.log, inherit=inherit)

    def ask(self, method: str, path: str, body: bytes = b"", kind: str = "") -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=START_SECONDS)
        try:
            headers = {"Accept": "application/json", "Content-Type": kind}
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def upload(self) -> tuple[int, str]:
        boundary = secrets.token_hex(16)
        head = 'Content-Disposition: form-data; name="image"; filename="x.jpg"\r\n\r\n'
        body = f"--{boundary}\r\n{head}".encode() + PHOTO + f"\r\n--{boundary}--\r\n".encode()
        return self.ask("POST", "/skin/", body, f"multipart/form-data; boundary={boundary}")

    def close(self) -> None:
        self._listener.close()
        self.terminate()


@pytest.fixture
def daemon() -> Iterator[FakeDaemon]:
    with FakeDaemon() as running:
        yield running


@pytest.fixture
def site(daemon: FakeDaemon, folder: Path) -> Iterator[Site]:
    running = Site(daemon, folder)
    yield running
    running.close()


class Visitors:
    """Who come at once. answers: status and body of each."""

    def __init__(self, ask: Callable[[], tuple[int, str]]) -> None:
        self.answers: list[tuple[int, str]] = []
        self._threads = [
            threading.Thread(target=lambda: self.answers.append(ask())) for _ in range(AT_ONCE)
        ]
        for thread in self._threads:
            thread.start()

    def waiting(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def join(self) -> None:
        for thread in self._threads:
            thread.join()


def test_waiting_for_the_daemon_takes_no_thread(daemon: FakeDaemon, site: Site) -> None:
    """No more than a view takes that does nothing: Django itself has a thread for each request."""
    assert site.upload()[0] == 200, site.log.read_text()
    idle = Visitors(lambda: site.ask("GET", "/rest/"))
    resting = 0
    while idle.waiting():
        resting = max(resting, int(site.ask("GET", "/threads/")[1]))
    idle.join()
    assert [status for status, _ in idle.answers] == [200] * AT_ONCE

    daemon.always = Answer(delay=DELAY_SECONDS)
    began = time.monotonic()
    visitors = Visitors(site.upload)
    # As many as the client has connections wait in the daemon, the others for a connection.
    while len(daemon.asked) < 1 + 8:
        assert time.monotonic() - began < START_SECONDS, site.log.read_text()
        time.sleep(0.01)
    waiting = int(site.ask("GET", "/threads/")[1])
    health = json.loads(site.ask("GET", "/skin/health/")[1])
    visitors.join()
    assert [status for status, _ in visitors.answers] == [200] * AT_ONCE, site.log.read_text()
    assert health == {"status": "ok", "daemon": "ready"}
    assert waiting <= resting + 1
    # One after the other would take 20 seconds, 8 at a time take 3.
    assert time.monotonic() - began < AT_ONCE * DELAY_SECONDS / 2
