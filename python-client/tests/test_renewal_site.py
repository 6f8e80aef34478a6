"""A daemon that renews itself under a site: no visitor and no platform notices."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client as Browser
from django.test import override_settings

import dermald
from browser import UploadError, Visitor
from conftest import StartDaemon
from first_site_running import FirstSite
from photos import variants
from processes import Daemon, Gunicorn

UPLOADS = int(os.environ.get("TEST_RENEWAL_UPLOADS", "60"))
CLIENTS = 8
RENEWALS = 5
PATIENCE_SECONDS = 120.0
# What a hosting platform allows a health check.
HEALTH_SECONDS = 5.0
EXAMPLE = Path(__file__).resolve().parents[1] / "example"


@pytest.fixture
def daemon(start_daemon: StartDaemon) -> Daemon:
    return start_daemon("demo", "--least-lifetime", "100ms")


@pytest.fixture
def site(daemon: Daemon, tmp_path: Path) -> Iterator[FirstSite]:
    environment = {
        "DERMALD_SOCKET": str(daemon.socket),
        "PYTHONPATH": str(Path(dermald.__path__[0]).parent),
    }
    running = FirstSite(tmp_path, changed=True, environment=environment)
    yield running
    running.close()


@pytest.fixture
def own_page(daemon: Daemon, tmp_path: Path) -> Iterator[Callable[[], Visitor]]:
    """The pages of `dermald.django` under another gunicorn, for one more visitor at each call."""
    environment = {
        "DERMALD_SOCKET": str(daemon.socket),
        "PYTHONPATH": str(Path(dermald.__path__[0]).parent),
    }
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
        log = tmp_path / "own-page.log"
        site = Gunicorn("site_wsgi:application", listener.fileno(), EXAMPLE, environment, log)
        try:
            yield lambda: Visitor("127.0.0.1", port, PATIENCE_SECONDS)
        finally:
            site.terminate()


def renewals_of(daemon: Daemon) -> int:
    with dermald.Client(daemon.socket) as client:
        told: Any = client.status()
    return sum(told["renewals"]["counts"].values())


def renew(daemon: Daemon, wanted: int, stop: threading.Event) -> None:
    """Until it has done so `wanted` times."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (done := renewals_of(daemon)) < wanted and not stop.is_set():
        os.kill(daemon.pid, signal.SIGHUP)
        while renewals_of(daemon) == done and not stop.is_set():
            assert time.monotonic() < deadline
            time.sleep(0.02)


def shares_in(page: bytes) -> list[tuple[str, str]]:
    return re.findall(r"<li>([\w-]+): ([\d,]+) %", page.decode())


def top_of(answer: str) -> tuple[str, float]:
    top = json.loads(answer)["labels"][0]
    return top["name"], top["probability"]


def test_no_upload_and_no_health_check_notices_renewals(
    site: FirstSite,
    own_page: Callable[[], Visitor],
    daemon: Daemon,
    photo: Path,
    tmp_path: Path,
) -> None:
    photos, files = variants(photo, CLIENTS), []
    expected = []
    for place, picture in enumerate(photos):
        status, page = site.upload_file(picture)
        assert status == 200
        expected.append(shares_in(page))
        files.append(tmp_path / f"{place}.jpg")
        files[-1].write_bytes(picture)
    assert len({str(shares) for shares in expected}) == CLIENTS
    # A larger overlay has more of the photo decoded, which changes the shares a little.
    visitor = own_page()
    expected_here = [top_of(visitor.upload("/skin/", file, "application/json")) for file in files]
    wrong: list[object] = []
    states: set[str] = set()
    numbers, stop = count(), threading.Event()

    def visit(place: int) -> None:
        """One half of them at the first site, the other at our own page."""
        visitor = own_page() if place % 2 else None
        while next(numbers) < UPLOADS or renewals_of(daemon) < RENEWALS:
            if visitor is None:
                status, page = site.upload_file(photos[place])
                right = status == 200 and shares_in(page) == expected[place]
                if not right or b"data:image" not in page:
                    wrong.append((status, page[:300]))
                continue
            try:
                top = top_of(visitor.upload("/skin/", files[place], "application/json"))
            except UploadError as error:
                wrong.append(error)
            else:
                if top != expected_here[place]:
                    wrong.append((top, expected_here[place]))

    def watch() -> None:
        visitor = own_page()
        while not stop.is_set():
            began = time.monotonic()
            try:
                states.add(json.loads(visitor.get("/skin/health/?daemon=required"))["daemon"])
            except UploadError as error:
                wrong.append(error)
            if time.monotonic() - began > HEALTH_SECONDS:
                wrong.append("a slow health check")
            time.sleep(0.01)

    renewer = threading.Thread(target=renew, args=(daemon, RENEWALS, stop))
    watcher = threading.Thread(target=watch)
    visitors = [threading.Thread(target=visit, args=(place,)) for place in range(CLIENTS)]
    for thread in (renewer, watcher, *visitors):
        thread.start()
    for thread in visitors:
        thread.join()
    stop.set()
    renewer.join()
    watcher.join()
    assert wrong == []
    assert renewals_of(daemon) >= RENEWALS
    assert states <= {"ready", "renewing"}
    print(f"{next(numbers)} uploads, {renewals_of(daemon)} renewals, health said {states}")


def test_status_page_names_a_real_renewal(daemon: Daemon, photo: Path, database: None) -> None:
    """From the daemon's own history: the first sample of a step, and now."""
    staff, _ = User.objects.get_or_create(username="renewal", is_staff=True)
    browser = Browser()
    browser.force_login(staff)
    with dermald.Client(daemon.socket) as client:
        client.predict(photo)
    renew(daemon, 1, threading.Event())
    deadline = time.monotonic() + PATIENCE_SECONDS
    page = ""
    with override_settings(DERMALD={"default": {"SOCKET": daemon.socket}}):
        # A chart has a width once a second has passed.
        while "a new configuration or model" not in page:
            assert time.monotonic() < deadline, page[-3000:]
            page = browser.get("/skin/status/").content.decode()
            time.sleep(0.1)
    assert page.count('class="mark"') >= 1
    assert 'svg class="chart" role="img"' in page
