"""Background predictions with Celery: real workers, a real Redis, real daemons, a real database.

Each outcome is told in docs/background.md.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import dermald
from background_running import BackgroundSite, background_site, told_by
from conftest import bundle
from photos import variants
from processes import Daemon
from redis_server import Redis
from running_site import children

pytest.importorskip("celery", reason="NOT TESTED: Celery (pip install 'dermald[celery]')")

# 500 in `make proof`.
UPLOADS = int(os.environ.get("TEST_BACKGROUND_UPLOADS", "60"))
PATIENCE = 60.0 + 2 * UPLOADS
# As short as the pictures of these tests allow: what a lost machine held is worked on again after
# the visibility timeout, which must be above three and a half times as much.
TASK_TIMEOUT = 3.0
ENTRY: dict[str, object] = {"BACKGROUND": "celery", "TASK_TIMEOUT": TASK_TIMEOUT}
VISIBILITY = "11"

MakeDaemon = Callable[..., Daemon]


@pytest.fixture
def redis(folder: Path) -> Iterator[Redis]:
    running = Redis(folder)
    yield running
    running.stop()


@pytest.fixture
def site(folder: Path, redis: Redis) -> Iterator[BackgroundSite]:
    with background_site(folder, ENTRY, redis) as made:
        yield made


@pytest.fixture
def daemon_at(binary: Path, folder: Path) -> Iterator[MakeDaemon]:
    """Starts a daemon of a machine of its own."""
    started: list[Daemon] = []

    def start(machine: str, model: str = "demo", *options: str) -> Daemon:
        started.append(Daemon(binary, bundle(model), folder / f"{machine}.sock", *options))
        return started[-1]

    yield start
    for daemon in started:
        daemon.terminate()


def photos(photo: Path, folder: Path, count: int) -> list[Path]:
    made = []
    for number, data in enumerate(variants(photo, count)):
        made.append(folder / f"{number}.jpg")
        made[-1].write_bytes(data)
    return made


def assert_right(
    site: BackgroundSite, sent: list[dict[str, Any]], expected: dict[str, Any]
) -> None:
    """Every upload has its result, once, and it is its own."""
    rows = site.predictions()
    assert sorted(row["id"] for row in rows) == sorted(told["id"].replace("-", "") for told in sent)
    names = {told["id"].replace("-", ""): told["name"] for told in sent}
    for row in rows:
        assert row["state"] == "done", row
        labels = json.loads(row["result"])["labels"]
        assert labels == expected[names[row["id"]]], "the result is another picture's"


def expected_of(daemon: Daemon, files: list[Path]) -> dict[str, Any]:
    with dermald.Client(daemon.socket) as client:
        return {
            file.name: [
                {
                    "index": one.index,
                    "name": one.name,
                    "title": one.title,
                    "probability": one.probability,
                }
                for one in client.predict(file).labels
            ]
            for file in files
        }


def test_machines_that_share_a_queue_are_killed_and_nothing_is_lost(
    site: BackgroundSite, daemon_at: MakeDaemon, photo: Path, folder: Path
) -> None:
    """Two machines with a worker and a daemon each; one of each is killed in the middle."""
    site.environment["SITE_VISIBILITY"] = VISIBILITY
    daemons = {name: daemon_at(name, "brisk") for name in ("a", "b")}
    workers = {name: site.celery(name, daemon.socket) for name, daemon in daemons.items()}
    (folder / "photos").mkdir()
    files = photos(photo, folder / "photos", UPLOADS)
    begun = time.monotonic()
    # Visitors go on uploading meanwhile.
    uploads = site.process("upload", *map(str, files), name="uploads")
    site.wait_until(lambda: site.states().get("done", 0) >= UPLOADS // 6, PATIENCE)
    workers["a"].kill()
    site.wait_until(lambda: site.states().get("done", 0) >= UPLOADS // 3, PATIENCE)
    assert site.states().get("done", 0) < UPLOADS, "nothing was left to lose"
    daemons["b"].kill()
    daemons["b"] = daemon_at("b", "brisk")
    site.celery("a", daemons["a"].socket)
    site.wait_for(done=UPLOADS, seconds=PATIENCE)
    seconds = time.monotonic() - begun
    assert_right(site, told_by(uploads.said()), expected_of(daemons["b"], files))
    attempts = [row["attempts"] for row in site.predictions()]
    print(
        f"\n{UPLOADS} uploads, {UPLOADS} results in {seconds:.1f} s; "
        f"{sum(attempts) - UPLOADS} attempts were repeated"
    )


def test_broker_that_is_away_hangs_is_full_or_forgets_loses_nothing(
    site: BackgroundSite, daemon_at: MakeDaemon, photo: Path, redis: Redis
) -> None:
    daemon = daemon_at("a")
    worker = site.celery("a", daemon.socket)
    redis.stop()
    (away,) = site.upload(photo)
    assert site.states() == {"waiting": 1}
    assert "the queue took no more" in site.manage("dermald", "requeue", fails=True)
    redis.start()
    with redis.connected() as client:
        client.config_set("maxmemory", "1")
        site.upload(photo)
        client.config_set("maxmemory", "0")
    redis.freeze()
    (hanging,) = site.upload(photo)
    redis.thaw()
    for sent in (away, hanging):
        assert sent["seconds"] < 10, "a visitor waited for a broker"
    # It is itself again, and the worker finds it by itself. One that met a full broker while it
    # connected has ended, and is started again as by any supervisor.
    if not worker.running():
        assert "OutOfMemoryError" in worker.said()
        worker = site.celery("a", daemon.socket)
    site.manage("dermald", "requeue")
    site.wait_for(done=3)
    # It is started again and has forgotten what it held.
    os.killpg(worker.pid, signal.SIGSTOP)
    site.upload(photo, photo)
    redis.stop()
    redis.start()
    assert "0 sent again" in site.manage("dermald", "requeue"), "overdue before its time"
    assert "2 sent again" in site.manage("dermald", "requeue", "--all")
    # It may hold one of the two already.
    os.killpg(worker.pid, signal.SIGCONT)
    site.wait_for(done=5)


def test_worker_killed_during_inference_has_its_task_run_again(
    site: BackgroundSite, daemon_at: MakeDaemon, photo: Path
) -> None:
    daemon = daemon_at("a", "unhurried")
    site.environment["SITE_DERMALD"] = json.dumps({**ENTRY, "TASK_TIMEOUT": 60})
    worker = site.celery("a", daemon.socket, concurrency=1)
    site.upload(photo)
    with dermald.Client(daemon.socket) as client:
        site.wait_until(lambda: is_computing(client))
    (forked,) = children(worker.pid)
    os.kill(forked, signal.SIGKILL)
    site.wait_for(done=1)
    (row,) = site.predictions()
    assert row["attempts"] == 2
    assert "WorkerLostError" in worker.said()


def is_computing(client: dermald.Client) -> bool:
    told: Any = client.status()
    return bool(told["queue"]["running"])


def test_each_picture_has_the_end_that_it_deserves(
    site: BackgroundSite, daemon_at: MakeDaemon, photo: Path, folder: Path
) -> None:
    """In one queue: deleted before its turn, broken, delivered twice, sound."""
    broken = folder / "broken.jpg"
    broken.write_bytes(photo.read_bytes()[:200])
    gone, poison, twice = site.upload(photo, broken, photo)
    (row,) = site.rows("SELECT image FROM background_site_upload ORDER BY id LIMIT 1")
    (site.folder / "media" / row["image"]).unlink()
    site.manage("dermald", "requeue", "--all")
    worker = site.celery("a", daemon_at("a").socket, concurrency=1)
    site.wait_for(done=1, failed=2)
    rows = {row["id"]: row for row in site.predictions()}
    ends = [rows[told["id"].replace("-", "")] for told in (gone, poison, twice)]
    assert [row["code"] for row in ends] == ["picture_missing", "picture_broken", ""]
    assert [row["problem"] for row in ends] == ["gone", "picture", ""]
    assert [row["attempts"] for row in ends] == [1, 1, 1]
    # What Celery itself keeps is the row's id and state: no picture, no name, no answer.
    result = site.manage("shell", "-c", RESULT.format(id=twice["id"]))
    assert f"{{'id': '{twice['id']}', 'state': 'done'}}" in result
    assert photo.stem not in worker.said()


RESULT = """
from background_site.celery_app import app
print(app.AsyncResult("{id}").get(timeout=10))
"""


def test_daemon_with_a_short_queue_slows_workers_and_loses_nothing(
    site: BackgroundSite, daemon_at: MakeDaemon, photo: Path, folder: Path
) -> None:
    daemon = daemon_at("a", "brisk", "--queue-requests", "1")
    site.environment["SITE_DERMALD"] = json.dumps({**ENTRY, "RETRIES": 0, "TASK_ATTEMPTS": 50})
    files = photos(photo, folder, 12)
    sent = site.upload(*files[:10], options=("--priority", "batch"))
    sent += site.upload(*files[10:])
    site.celery("a", daemon.socket, concurrency=4)
    site.wait_for(done=12)
    assert sum(row["attempts"] for row in site.predictions()) > 12, "the queue was never full"
    assert_right(site, sent, expected_of(daemon, files))
    # The two for whom somebody waits were sent last and taken first.
    order = [row["priority"] for row in site.rows(ORDER)]
    assert order.index("interactive") < 4, order


ORDER = "SELECT priority FROM dermald_background_storedprediction ORDER BY finished_at"


def test_task_that_hangs_is_ended_and_one_that_will_not_end_is_killed(
    site: BackgroundSite, daemon_at: MakeDaemon, photo: Path, folder: Path
) -> None:
    # The last, should the hard limit strike before a worker told when it comes back.
    entry = {**ENTRY, "TASK_TIMEOUT": 2, "TASK_ATTEMPTS": 2, "TASK_OVERDUE": 5}
    site.environment["SITE_DERMALD"] = json.dumps(entry)
    for name in ("stuck.jpg", "stone.jpg"):
        (folder / name).write_bytes(photo.read_bytes())
    site.upload(folder / "stuck.jpg", folder / "stone.jpg")
    worker = site.celery("a", daemon_at("a").socket)
    site.process("dermald", "requeue", "--every", "0.5", name="requeue")
    site.wait_for(failed=2)
    stuck, stone = site.predictions()
    assert (stuck["code"], stuck["attempts"]) == ("SoftTimeLimitExceeded", 2)
    assert (stone["code"], stone["attempts"]) == ("worker_lost", 3)
    assert "Hard time limit (2.5s) exceeded" in worker.said()
