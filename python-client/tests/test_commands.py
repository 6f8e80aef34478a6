"""`manage.py dermald`: what it tells, and a daemon that runs beside runserver."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.test import Client as Browser
from django.test import override_settings
from django.utils import translation
from PIL import Image

import dermald
from browser import UploadError, Visitor
from conftest import DEMO, StartDaemon
from dermald.testing import FakeDaemon, FakeModel
from processes import Daemon, Process

EXAMPLE = Path(__file__).resolve().parents[1] / "example"
START_SECONDS = 30.0


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command("dermald", *arguments, stdout=out, no_color=True)
    return out.getvalue()


def at(socket: Path, **entry: object) -> override_settings:
    return override_settings(DERMALD={"default": {"SOCKET": socket, "RETRIES": 0, **entry}})


def test_health_is_told(daemon: Daemon) -> None:
    with at(daemon.socket):
        assert run("health").startswith("ready: ")


def test_health_of_a_failed_daemon_fails(start_daemon: StartDaemon, photo: Path) -> None:
    daemon = start_daemon("self-test-wrong")
    with dermald.Client(daemon.socket) as client, pytest.raises(dermald.OperatorError):
        client.predict(photo)
    with at(daemon.socket), pytest.raises(CommandError, match="failed: "):
        run("health")


def test_health_compares_settings_with_the_model() -> None:
    with FakeDaemon(model=FakeModel(explains=False)) as daemon, daemon.override_settings():
        assert "it has no Grad-CAM" in run("health")
        with daemon.override_settings(EXPLAIN=None):
            assert "Grad-CAM" not in run("health")


def test_renewal_is_no_failure() -> None:
    with FakeDaemon() as daemon, daemon.override_settings():
        daemon.state = "renewing"
        assert run("health").startswith("renewing: ")


@pytest.mark.parametrize("action", ["health", "status", "predict"])
def test_missing_daemon_is_told_with_the_command_that_starts_one(
    action: str, folder: Path, photo: Path
) -> None:
    arguments = [action, str(photo)] if action == "predict" else [action]
    with at(folder / "nobody.sock"), pytest.raises(CommandError) as caught:
        run(*arguments)
    assert "No daemon listens at" in str(caught.value)
    assert "manage.py dermald serve" in str(caught.value)


def test_wrong_setting_and_alias_are_told() -> None:
    with override_settings(DERMALD={"default": {"TIMOUT": 3}}):
        with pytest.raises(CommandError, match="Did you mean 'TIMEOUT'"):
            run("health")
        with pytest.raises(CommandError, match="has no entry 'second'"):
            run("health", "--alias", "second")


def test_status_is_told_for_people_and_programs(daemon: Daemon) -> None:
    with at(daemon.socket), translation.override("vi"):
        page = run("status")
        told = json.loads(run("status", "--json"))
    assert "model       dermald-demo 1.0.0" in page
    assert "Vòng tròn" in page
    assert told["model"]["labels"][0]["titles"]["vi"] == "Vòng tròn"


def test_photo_is_classified(daemon: Daemon, photo: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "overlay.png"
    with at(daemon.socket):
        told = run("predict", str(photo), "--top-k", "1", "--overlay", str(overlay))
        inverse = run("predict", str(photo), "--language", "vi")
    assert told.splitlines()[0].endswith("  Ring")
    assert len(told.splitlines()) == 2
    assert "It is no diagnosis." in told
    assert "Vòng tròn" in inverse
    with Image.open(overlay) as picture:
        assert picture.size == (128, 128)


def test_bad_photo_is_told(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture " * 50)
    with at(daemon.socket):
        with pytest.raises(CommandError, match="no picture that dermald reads"):
            run("predict", str(tmp_path / "notes.txt"))
        with pytest.raises(CommandError, match="No such file"):
            run("predict", str(tmp_path / "missing.jpg"))


def test_waiting_ends_when_the_daemon_is_ready(binary: Path, folder: Path) -> None:
    environment = {**os.environ, "DERMALD_SOCKET": str(folder / "dermald.sock")}
    waiter = subprocess.Popen(
        [sys.executable, "manage.py", "dermald", "wait", "--timeout", "30"],
        cwd=EXAMPLE,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    daemon = Daemon(binary, DEMO, folder / "dermald.sock")
    try:
        assert waiter.communicate(timeout=START_SECONDS)[0].strip() == "ready"
        assert waiter.returncode == 0
    finally:
        waiter.kill()
        daemon.terminate()


def test_waiting_in_vain_ends_with_the_reason(folder: Path) -> None:
    with at(folder / "nobody.sock"), pytest.raises(CommandError, match=r"after 0.3 s. No daemon"):
        run("wait", "--timeout", "0.3")
    with FakeDaemon() as daemon, daemon.override_settings():
        daemon.state, daemon.message = "failed", "the model is broken"
        with pytest.raises(CommandError, match="failed: the model is broken"):
            run("wait", "--timeout", "60")


# `serve`, as a developer runs it.


class Site(Process):
    """A copy of the example, with its manage.py running `dermald serve`."""

    def __init__(self, folder: Path, binary: Path, *arguments: str) -> None:
        self.folder = folder / "site"
        shutil.copytree(EXAMPLE, self.folder, ignore=shutil.ignore_patterns("__pycache__"))
        self.log = folder / "serve.log"
        self.socket = folder / "dermald.sock"
        command = [sys.executable, "manage.py", "dermald", "serve"]
        command += ["--daemon", str(binary), "--bundle", str(DEMO), *arguments]
        super().__init__(
            command,
            {"DERMALD_SOCKET": str(self.socket), "PYTHONUNBUFFERED": "1"},
            folder=self.folder,
            log=self.log,
        )

    def wait_for(self, what: Callable[[], object]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not what():
            assert self.running(), self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def daemon_pid(self) -> int | None:
        try:
            with dermald.Client(self.socket, retries=0) as client:
                daemon = client.status()["daemon"]
        except dermald.DermaldError:
            return None
        assert isinstance(daemon, dict)
        return int(daemon["pid"])


@pytest.fixture
def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture
def site(folder: Path, binary: Path) -> Iterator[Callable[..., Site]]:
    started: list[Site] = []

    def start(*arguments: str) -> Site:
        started.append(Site(folder, binary, *arguments))
        return started[-1]

    yield start
    for running in started:
        running.kill()


def test_daemon_survives_autoreload(site: Callable[..., Site], free_port: int, photo: Path) -> None:
    running = site("--runserver", f"127.0.0.1:{free_port}")
    visitor = Visitor("127.0.0.1", free_port, 10)
    settings = running.folder / "site_settings.py"
    settings.write_text(settings.read_text().replace("DEBUG = False", "DEBUG = True"))

    def classified() -> bool:
        try:
            return "Ring" in visitor.upload("/skin/", photo, "text/html")
        except (OSError, UploadError):
            return False

    running.wait_for(running.daemon_pid)
    running.wait_for(classified)
    pid = running.daemon_pid()
    served = running.log.read_text().count("Watching for file changes")
    urls = running.folder / "site_urls.py"
    urls.write_text(urls.read_text() + "\n# changed\n")
    running.wait_for(lambda: running.log.read_text().count("Watching for file changes") > served)
    running.wait_for(classified)
    assert running.daemon_pid() == pid
    children = running.pids()
    assert running.terminate() == 0
    assert not any(Path(f"/proc/{child}").exists() for child in children)
    assert not running.socket.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serving_ends_with_a_signal(site: Callable[..., Site], number: int) -> None:
    running = site()
    running.wait_for(running.daemon_pid)
    pid = running.daemon_pid()
    os.kill(running.pid, number)
    deadline = time.monotonic() + START_SECONDS
    while running.running():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert not Path(f"/proc/{pid}").exists()


def test_daemon_that_runs_already_is_told(daemon: Daemon) -> None:
    with at(daemon.socket), pytest.raises(CommandError, match=r"answers at .* already"):
        run("serve", "--bundle", str(DEMO))


def test_what_serving_needs_is_told(
    folder: Path, binary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DERMALD_BUNDLE", raising=False)
    with at(folder / "x.sock"):
        with pytest.raises(CommandError, match="is no program"):
            run("serve", "--daemon", str(folder / "missing"))
        with pytest.raises(CommandError, match="--bundle FOLDER, BUNDLE in DERMALD"):
            run("serve", "--daemon", str(binary))
        monkeypatch.setenv("PATH", str(folder))
        if not (Path(sys.executable).parent / "dermald").exists():
            with pytest.raises(CommandError, match="no program `dermald` here"):
                run("serve")


def test_daemon_that_does_not_start_fails_the_command(folder: Path, binary: Path) -> None:
    with at(folder / "x.sock"), pytest.raises(CommandError, match="The daemon ended"):
        run("serve", "--daemon", str(binary), "--bundle", str(folder))
    with at(folder / "x.sock", BUNDLE=folder), pytest.raises(CommandError, match="daemon ended"):
        run("serve", "--daemon", str(binary))


def test_command_that_pages_show_can_be_run_as_it_stands(folder: Path) -> None:
    for entry, wanted in (({}, "dermald serve --bundle FOLDER"), ({"BUNDLE": folder}, "serve</")):
        with at(folder / "nobody.sock", **entry), override_settings(DEBUG=True):
            assert wanted in Browser().get("/skin/").content.decode()
