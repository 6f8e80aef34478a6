"""`dermald run` with gunicorn: who is killed, who notices, and what is left."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import dermald
from browser import UploadError
from photos import variants
from running_site import PAGE, RunningSite, is_alive, wait_until

KILLS = int(os.environ.get("TEST_KILLS", "5"))
CLIENTS = 6
START = Callable[..., RunningSite]


@pytest.fixture
def start(binary: Path, folder: Path) -> Iterator[START]:
    started: list[RunningSite] = []

    def start(*gunicorn: str) -> RunningSite:
        started.append(RunningSite(binary, folder, *gunicorn))
        return started[-1]

    yield start
    for site in started:
        everybody = site.everybody()
        site.kill()
        for pid in everybody:
            assert not is_alive(pid) or _ends(pid)


def _ends(pid: int) -> bool:
    wait_until(lambda: not is_alive(pid), lambda: f"{pid} is left behind")
    return True


def test_no_caller_notices_that_the_daemon_is_killed(start: START, photo: Path) -> None:
    """At random moments, those in which it starts included."""
    site = start()
    pictures = variants(photo, CLIENTS)
    stop = threading.Event()
    failures: list[dermald.DermaldError] = []
    took: list[float] = []

    def ask(picture: bytes) -> None:
        with dermald.Client(site.socket) as client:
            while not stop.is_set():
                began = time.monotonic()
                try:
                    client.predict(picture)
                except dermald.DermaldError as error:
                    failures.append(error)
                took.append(time.monotonic() - began)

    wait_until(site.socket.exists, site.said)
    threads = [threading.Thread(target=ask, args=(picture,)) for picture in pictures]
    for thread in threads:
        thread.start()
    chance = random.Random(7)
    killed: set[int] = set()
    try:
        for _ in range(KILLS):
            time.sleep(chance.uniform(0.0, 1.0))
            daemon = site.daemon()
            os.kill(daemon, signal.SIGKILL)
            killed.add(daemon)
            wait_until(lambda pid=daemon: not is_alive(pid), site.said)
        asked = len(took)
        wait_until(lambda: len(took) > asked + CLIENTS, site.said)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert len(killed) == KILLS
    print(f"{KILLS} kills, {len(took)} requests, longest {max(took):.2f} s, {failures[:3]}")
    assert failures == []


def test_killed_worker_costs_its_request_and_no_more(start: START, photo: Path) -> None:
    site = start()
    visitor = site.visitor()
    visitor.upload(PAGE, photo, "application/json")
    daemon, worker = site.daemon(), site.worker()
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: not is_alive(worker), site.said)
    answer = json.loads(visitor.upload(PAGE, photo, "application/json"))
    assert answer["labels"]
    assert site.daemon() == daemon


def test_killed_master_ends_everything(start: START, photo: Path) -> None:
    site = start()
    site.visitor().upload(PAGE, photo, "application/json")
    # The worker comes to us when its master is gone.
    site.worker()
    everybody = site.everybody()
    assert len(everybody) == 4
    os.kill(site.master(), signal.SIGKILL)
    assert site.ended() == 128 + signal.SIGKILL, site.said()
    assert [pid for pid in everybody if is_alive(pid)] == []
    assert site.leaves() == []


@pytest.mark.parametrize("flags", [(), ("--preload",)], ids=["plain", "preload"])
def test_uploads_in_flight_are_answered_when_the_host_says_stop(
    start: START, photo: Path, flags: tuple[str, ...]
) -> None:
    site = start(*flags)
    visitors = [site.visitor() for _ in range(2)]
    for visitor in visitors:
        visitor.upload(PAGE, photo, "application/json")
    answers: list[str] = []
    failures: list[UploadError | OSError] = []

    def upload(place: int) -> None:
        try:
            answers.append(visitors[place].upload(PAGE, photo, "application/json"))
        except (UploadError, OSError) as error:
            failures.append(error)

    # A daemon that stands still keeps both in flight for sure.
    daemon = site.daemon()
    os.kill(daemon, signal.SIGSTOP)
    threads = [threading.Thread(target=upload, args=(place,)) for place in range(2)]
    for thread in threads:
        thread.start()
    # Both have sent all that they send.
    time.sleep(1.0)
    everybody = site.everybody()
    os.kill(site.pid, signal.SIGTERM)
    time.sleep(0.3)
    assert not answers
    os.kill(daemon, signal.SIGCONT)
    for thread in threads:
        thread.join()
    assert failures == []
    assert all(json.loads(answer)["labels"] for answer in answers)
    assert site.ended() == 0, site.said()
    assert [pid for pid in everybody if is_alive(pid)] == []
    assert site.leaves() == []


def test_stop_of_workers_that_take_too_long_is_a_stop(start: START, photo: Path) -> None:
    """gunicorn kills them, ends with 0 and waits for none of them, so that they come to us."""
    site = start("--graceful-timeout", "1")
    visitor = site.visitor()
    visitor.upload(PAGE, photo, "application/json")
    everybody = site.everybody()
    daemon, master = site.daemon(), site.master()
    os.kill(daemon, signal.SIGSTOP)

    def upload() -> None:
        with suppress(UploadError, OSError):
            visitor.upload(PAGE, photo, "application/json")

    stuck = threading.Thread(target=upload)
    stuck.start()
    time.sleep(1.0)
    os.kill(site.pid, signal.SIGTERM)
    wait_until(lambda: not is_alive(master), site.said)
    os.kill(daemon, signal.SIGCONT)
    stuck.join()
    assert site.ended() == 0, site.said()
    assert "--daemon" not in site.said()
    assert [pid for pid in everybody if is_alive(pid)] == []
    assert site.leaves() == []


def test_gunicorn_that_goes_into_the_background_is_ended_and_told(
    start: START, folder: Path
) -> None:
    pidfile = folder / "gunicorn.pid"
    site = start("--daemon", "--pid", str(pidfile))
    assert site.ended() == 125, site.said()
    assert "leave out gunicorn's --daemon" in site.said()
    assert site.leaves() == []
