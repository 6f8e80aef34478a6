"""A daemon that is killed in the middle of everything, and started again on the same socket."""

from __future__ import annotations

import subprocess
import threading
import time
from pathlib import Path

import pytest

import dermald
from conftest import DEMO, StartDaemon

CLIENTS = 6


@pytest.mark.parametrize("renewing", [False, True], ids=["serving", "renewing"])
def test_next_daemon_takes_the_socket_over_and_clients_go_on(
    start_daemon: StartDaemon, binary: Path, renewing: bool
) -> None:
    photo = (DEMO / "sample.jpg").read_bytes()
    daemon = start_daemon()
    stop, lock = threading.Event(), threading.Lock()
    answered = 0
    failures: list[tuple[float, dermald.DermaldError]] = []
    renewers: list[subprocess.Popen[bytes]] = []

    def ask() -> None:
        nonlocal answered
        with dermald.Client(daemon.socket) as client:
            while not stop.is_set():
                try:
                    client.predict(photo)
                except dermald.DermaldError as error:
                    with lock:
                        failures.append((time.monotonic(), error))
                else:
                    with lock:
                        answered += 1

    def wait_for(count: int) -> None:
        give_up = time.monotonic() + 30
        while answered < count:
            assert time.monotonic() < give_up, f"{answered} answers, {failures[-3:]}"
            time.sleep(0.01)

    threads = [threading.Thread(target=ask) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            wait_for(answered + 3 * CLIENTS)
            if renewing:
                command: list[str | Path] = [binary, "renew", "--socket", daemon.socket]
                renewers.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))
                time.sleep(0.01)
            daemon.kill()
            daemon = start_daemon()
            up = time.monotonic()
            before = len(failures)
            wait_for(answered + 3 * CLIENTS)
            with lock:
                late = [error for at, error in failures[before:] if at > up]
            assert late == []
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        for renewer in renewers:
            renewer.wait()
