"""Who listens at the socket is checked before anything is sent, with a real second user."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client as Browser
from django.test import override_settings

import dermald
from dermald.testing import FakeDaemon

NOBODY = 65534

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can start a listener of another user"
)


class ForeignListener:
    """A process of user `nobody` that listens, and passes on all that it is sent."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read_end, write_end = os.pipe()
        # Bound by root, since the folder is private; listen() is what the kernel reports.
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(path))
        self._pid = os.fork()
        if self._pid == 0:
            try:
                _listen_as_nobody(listener, write_end)
            finally:
                os._exit(0)
        listener.close()
        os.close(write_end)
        assert os.read(self._read_end, 1) == b"!", "the listener did not start"

    def received(self) -> bytes:
        """What the first client sent until it left."""
        data = b""
        while piece := os.read(self._read_end, 2**16):
            data += piece
        return data

    def close(self) -> None:
        os.close(self._read_end)
        os.waitpid(self._pid, 0)


def _listen_as_nobody(listener: socket.socket, write_end: int) -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    listener.listen()
    listener.settimeout(20)
    os.write(write_end, b"!")
    client, _ = listener.accept()
    client.settimeout(20)
    while data := client.recv(2**16):
        os.write(write_end, data)


@pytest.fixture
def foreign(folder: Path) -> Iterator[ForeignListener]:
    listener = ForeignListener(folder / "foreign.sock")
    yield listener
    listener.close()


def test_foreign_daemon_is_sent_nothing(foreign: ForeignListener) -> None:
    with dermald.Client(foreign.path) as client:
        with pytest.raises(dermald.UntrustedDaemon, match=f"runs as user {NOBODY}"):
            client.predict(b"a picture of a patient")
    assert foreign.received() == b""


def test_foreign_daemon_is_sent_nothing_by_the_async_client(foreign: ForeignListener) -> None:
    async def ask() -> None:
        async with dermald.AsyncClient(foreign.path) as client:
            await client.predict(b"a picture of a patient")

    with pytest.raises(dermald.UntrustedDaemon, match=f"runs as user {NOBODY}"):
        asyncio.run(ask())
    assert foreign.received() == b""


@pytest.mark.parametrize("prefix", ["/skin/", "/later/"])
def test_site_tells_a_foreign_daemon_nothing_but_says_so(
    foreign: ForeignListener, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The visitor gets a sentence, the team the reason in the log, the foreigner nothing."""
    photo = SimpleUploadedFile("x.jpg", b"\xff\xd8\xff a patient")
    with override_settings(DERMALD={"default": {"SOCKET": foreign.path, "RETRIES": 0}}):
        response = Browser().post(prefix, {"image": photo})
    assert response.status_code == 502
    assert "could not be classified" in response.content.decode()
    assert f"runs as user {NOBODY}" in caplog.text
    assert foreign.received() == b""


def test_health_names_a_foreign_daemon(foreign: ForeignListener) -> None:
    with override_settings(DERMALD={"default": {"SOCKET": foreign.path}}):
        assert Browser().get("/skin/health/").json() == {"status": "ok", "daemon": "untrusted"}
    assert foreign.received() == b""


def test_socket_that_root_opened_for_the_daemon_is_trusted() -> None:
    """As with systemd's sockets: root listens, whoever serves, and the client is another user."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        os.chmod(folder, 0o755)
        path = f"{folder}/d.sock"
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(path)
            os.chmod(path, 0o666)
            listener.listen()
            listener.settimeout(20)
            pid = os.fork()
            if pid == 0:
                _ask_as_nobody(path)
            served, _ = listener.accept()
            with served:
                served.settimeout(20)
                assert b"dermald-python/" in served.recv(2**16)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def _ask_as_nobody(path: str) -> NoReturn:
    code = 1
    try:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        dermald.Client(path, retries=0).health(timeout=20)
    except dermald.UntrustedDaemon:
        code = 2
    except dermald.Unreachable:
        # It hangs up without a welcome, once it has heard the hello.
        code = 0
    finally:
        os._exit(code)


@pytest.mark.parametrize("user", [NOBODY, "nobody"])
def test_named_daemon_user_is_trusted(foreign: ForeignListener, user: str | int) -> None:
    with dermald.Client(foreign.path, daemon_users=[user]) as client:
        # It never says welcome; what matters is that the hello reached it.
        with pytest.raises(dermald.DeadlineExceeded):
            client.health(timeout=0.2)
    assert b"dermald-python/" in foreign.received()


def test_user_that_does_not_exist_is_named() -> None:
    with pytest.raises(ValueError, match="no-such-user"):
        dermald.Client(daemon_users=["no-such-user"])


@pytest.mark.parametrize(
    ("owner", "mode", "reason"),
    [(NOBODY, 0o755, f"belongs to user {NOBODY}"), (0, 0o777, "may be written in by everybody")],
)
@pytest.mark.parametrize("is_async", [False, True])
def test_socket_where_others_could_have_put_it_is_sent_nothing(
    is_async: bool, owner: int, mode: int, reason: str, folder: Path
) -> None:
    place = folder / "place"
    place.mkdir()
    with FakeDaemon(place / "dermald.sock") as daemon:
        os.chown(place, owner, -1)
        place.chmod(mode)
        with pytest.raises(dermald.UntrustedDaemon, match=reason):
            ask_for_health(daemon.path, is_async)
        # As /dev/shm is: everybody may put something in, and nobody replace it.
        os.chown(place, 0, -1)
        place.chmod(0o1777)
        assert ask_for_health(daemon.path, is_async).ready


def ask_for_health(path: Path, is_async: bool) -> dermald.Health:
    async def ask() -> dermald.Health:
        async with dermald.AsyncClient(path, retries=0) as client:
            return await client.health()

    if is_async:
        return asyncio.run(ask())
    with dermald.Client(path, retries=0) as client:
        return client.health()
