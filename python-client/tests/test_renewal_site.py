"""A daemon that renews itself under a site: no visitor and no platform notices."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client as Browser
from django.test import override_settings

import dermald
from conftest import StartDaemon
from first_site_running import FirstSite
from photos import variants
from processes import Daemon

UPLOADS = int(os.environ.get("TEST_RENEWAL_UPLOADS", "60"))
CLIENTS = 8
RENEWALS = 5
PATIENCE_SECONDS = 120.0


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


def test_no_upload_and_no_health_check_notices_renewals(
    site: FirstSite, daemon: Daemon, photo: Path
) -> None:
    photos = variants(photo, CLIENTS)
    expected = []
    for picture in photos:
        status, page = site.upload_file(picture)
        assert status == 200
        expected.append(shares_in(page))
    assert len({str(shares) for shares in expected}) == CLIENTS
    wrong: list[object] = []
    numbers, stop = count(), threading.Event()

    def visit(place: int) -> None:
        while next(numbers) < UPLOADS or renewals_of(daemon) < RENEWALS:
            status, page = site.upload_file(photos[place])
            if status != 200 or shares_in(page) != expected[place] or b"data:image" not in page:
                wrong.append((status, page[:300]))

    def watch() -> None:
        with override_settings(DERMALD={"default": {"SOCKET": daemon.socket}}):
            while not stop.is_set():
                told = Browser().get("/skin/health/", {"daemon": "required"})
                if told.status_code != 200:
                    wrong.append((told.status_code, told.content))
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
    print(f"{next(numbers)} uploads, {renewals_of(daemon)} renewals")


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
