"""Background predictions with django.tasks (its backport on Django 5.2): real `db_worker`s, real
daemons, a real database. Each outcome is told in docs/background.md."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import dermald
from background_running import BackgroundSite, background_site
from conftest import StartDaemon
from photos import variants

pytest.importorskip("django_tasks_db", reason="NOT TESTED: django.tasks (dermald[tasks])")
ENTRY: dict[str, object] = {"BACKGROUND": "tasks", "TASK_TIMEOUT": 5}


@pytest.fixture
def site(folder: Path) -> Iterator[BackgroundSite]:
    with background_site(folder, ENTRY) as made:
        yield made


def test_db_worker_predicts_and_a_killed_ones_task_is_found(
    site: BackgroundSite, start_daemon: StartDaemon, photo: Path, folder: Path
) -> None:
    daemon = start_daemon("unhurried")
    site.environment["SITE_DERMALD"] = json.dumps({**ENTRY, "TASK_TIMEOUT": 4})
    site.upload(photo)
    worker = site.db_worker("first", daemon.socket)
    with dermald.Client(daemon.socket) as client:
        site.wait_until(lambda: computing(client))
    os.kill(worker.pid, signal.SIGKILL)
    daemon.terminate()
    start_daemon("demo")
    site.db_worker("second", daemon.socket)
    # The queue itself takes the task for one that runs, for ever.
    assert [row["status"] for row in queued(site)] == ["RUNNING"]
    site.process("dermald", "requeue", "--every", "0.5", name="requeue")
    site.wait_for(done=1)
    (row,) = site.predictions()
    assert row["attempts"] == 2
    ends = ["RUNNING", "SUCCESSFUL"]
    site.wait_until(lambda: sorted(row["status"] for row in queued(site)) == ends)


def test_each_picture_has_the_end_that_it_deserves(
    site: BackgroundSite, start_daemon: StartDaemon, photo: Path, folder: Path
) -> None:
    broken = folder / "broken.jpg"
    broken.write_bytes(photo.read_bytes()[:200])
    names = []
    for number, data in enumerate(variants(photo, 6)):
        names.append(folder / f"{number}.jpg")
        names[-1].write_bytes(data)
    sent = site.upload(names[0], broken, *names[1:])
    late = site.upload(names[0], options=("--priority", "batch"))
    (row, *_) = site.rows("SELECT image FROM background_site_upload ORDER BY id")
    (site.folder / "media" / row["image"]).unlink()
    # Every task is there twice.
    site.manage("dermald", "requeue", "--all")
    # The first attempts find no daemon.
    workers = [site.db_worker(name, folder / "dermald.sock") for name in ("a", "b")]
    site.wait_until(lambda: any(row["attempts"] for row in site.predictions()))
    start_daemon("demo")
    site.wait_for(done=6, failed=2)
    rows = {row["id"]: row for row in site.predictions()}
    codes = [rows[told["id"].replace("-", "")]["code"] for told in sent]
    assert codes == ["picture_missing", "picture_broken", "", "", "", "", ""]
    labels = [
        json.loads(rows[told["id"].replace("-", "")]["result"])["labels"] for told in sent[2:]
    ]
    assert len({json.dumps(one) for one in labels}) == 5
    assert late[0]["id"].replace("-", "") in rows
    assert all("Traceback" not in worker.said() for worker in workers)


def queued(site: BackgroundSite) -> list[dict[str, Any]]:
    return site.rows("SELECT * FROM django_tasks_database_dbtaskresult ORDER BY enqueued_at")


def computing(client: dermald.Client) -> bool:
    told: Any = client.status()
    return bool(told["queue"]["running"])
