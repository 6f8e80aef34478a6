"""Many who upload the same picture at once, in processes of their own."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import dermald
from conftest import DEMO, StartDaemon

PROCESSES = 20

# Connects, says so, and asks when it is told to.
UPLOAD = """
import sys, dermald
with dermald.Client(sys.argv[1]) as client:
    client.health()
    print("connected", flush=True)
    sys.stdin.readline()
    answer = client.predict(open(sys.argv[2], "rb").read())
    print([(label.index, label.probability) for label in answer.labels])
"""


def test_twenty_processes_with_one_picture_are_one_inference(start_daemon: StartDaemon) -> None:
    daemon = start_daemon("unhurried")
    command = [sys.executable, "-c", UPLOAD, str(daemon.socket), str(DEMO / "sample.jpg")]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(PROCESSES)
    ]
    with dermald.Client(daemon.socket) as client:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "connected\n"
        # The model is busy with another picture while all twenty come in.
        busy = threading.Thread(target=client.predict, args=[other_picture()])
        busy.start()
        with dermald.Client(daemon.socket) as observer:
            while not running(observer):
                pass
            for process in processes:
                assert process.stdin is not None
                process.stdin.write("\n")
                process.stdin.flush()
            answers = {process.communicate(timeout=60)[0] for process in processes}
            busy.join()
            status = observer.status()
    assert len(answers) == 1
    assert next(iter(answers)).startswith("[(")
    assert status["coalesced"] == PROCESSES - 1
    assert status["runs"] == 2


def running(client: dermald.Client) -> bool:
    queue = client.status()["queue"]
    assert isinstance(queue, dict)
    return bool(queue["running"])


def other_picture() -> Path:
    return DEMO / "selftest-1.png"
