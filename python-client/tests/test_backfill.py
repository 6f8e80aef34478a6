"""`manage.py dermald backfill`: existing rows, a real daemon, a real database, and visitors."""

from __future__ import annotations

import json
import os
import signal
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import dermald
from background_running import BackgroundSite, background_site
from conftest import StartDaemon
from photos import variants
from processes import Daemon

# 1000 in `make proof`.
ROWS = int(os.environ.get("TEST_BACKFILL_ROWS", "40"))
COLUMN = ("background_site.Upload.image", "--result", "result")
# What two cores that others use too add to a figure of some tens of milliseconds.
SLACK_SECONDS = 0.05


@pytest.fixture
def site(folder: Path) -> Iterator[BackgroundSite]:
    with background_site(folder, {}) as made:
        yield made


def fill(site: BackgroundSite, photo: Path, count: int) -> list[bytes]:
    """Rows whose pictures are a dozen different ones."""
    pictures = variants(photo, 12)
    files = []
    for number in range(count):
        files.append(site.folder / f"{number}.jpg")
        files[-1].write_bytes(pictures[number % len(pictures)])
    site.upload(*files, options=("--row-only",))
    return pictures


def answered(site: BackgroundSite) -> dict[int, str]:
    rows = site.rows("SELECT id, result FROM background_site_upload WHERE result IS NOT NULL")
    return {row["id"]: row["result"] for row in rows}


def test_backfill_that_is_killed_goes_on_where_it_was(
    site: BackgroundSite, start_daemon: StartDaemon, photo: Path
) -> None:
    daemon = start_daemon("brisk")
    pictures = fill(site, photo, ROWS)
    running = site.process("dermald", "backfill", *COLUMN, name="fill", socket=daemon.socket)
    site.wait_until(lambda: len(answered(site)) >= 5)
    os.kill(running.pid, signal.SIGKILL)
    running.kill()
    before = answered(site)
    assert 5 <= len(before) < ROWS
    said = site.manage("dermald", "backfill", *COLUMN, socket=daemon.socket)
    rest = ROWS - len(before)
    assert f"{rest} of {rest} rows have their answer." in said
    assert f"{rest} of {rest}, " in said
    assert " rows/s" in said
    after = answered(site)
    assert len(after) == ROWS
    assert {pk: after[pk] for pk in before} == before, "an answer was stored twice"
    with dermald.Client(daemon.socket) as client:
        right = [client.predict(picture).labels[0].probability for picture in pictures]
    for pk, result in after.items():
        told = json.loads(result)["labels"][0]["probability"]
        assert told == right[(pk - 1) % len(pictures)]
    assert "0 of 0 rows" in site.manage("dermald", "backfill", *COLUMN, socket=daemon.socket)


def test_backfill_waits_for_a_daemon_that_is_started_again(
    site: BackgroundSite, start_daemon: StartDaemon, photo: Path
) -> None:
    daemon = start_daemon("brisk")
    fill(site, photo, 20)
    running = site.process("dermald", "backfill", *COLUMN, name="fill", socket=daemon.socket)
    site.wait_until(lambda: len(answered(site)) >= 5)
    daemon.kill()
    start_daemon("brisk")
    site.wait_until(lambda: len(answered(site)) == 20)
    running.wait_for_words("20 of 20 rows have their answer.")


def test_pictures_that_are_broken_or_gone_are_told_and_tried_again_next_time(
    site: BackgroundSite, start_daemon: StartDaemon, photo: Path
) -> None:
    daemon = start_daemon()
    fill(site, photo, 3)
    files = sorted((site.folder / "media" / "photos").iterdir())
    good = files[0].read_bytes()
    files[0].write_bytes(b"no picture" * 30)
    files[1].unlink()
    said = site.manage("dermald", "backfill", *COLUMN, socket=daemon.socket, fails=True)
    assert "background_site.Upload 1: picture_unsupported" in said
    assert "background_site.Upload 2: picture_missing" in said
    assert "1 of 3 rows have their answer." in said
    files[0].write_bytes(good)
    said = site.manage("dermald", "backfill", *COLUMN, socket=daemon.socket, fails=True)
    assert "1 of 2 rows have their answer." in said


WRONG = {
    "background_site.Uplod.image --result result": "is no app.Model.field",
    "image --result result": "is no app.Model.field",
    "background_site.Upload.photo --result result": "has no field 'photo'",
    "background_site.Upload.result --result result": "is no FileField",
    "background_site.Upload.image --result id": "is no JSONField",
    "background_site.Upload.image --result question": "question has no null=True",
}
TRY_ALL = """
from django.core.management import CommandError, call_command
for arguments in {}:
    try:
        call_command("dermald", "backfill", *arguments.split())
    except CommandError as error:
        print(error)
"""


def test_what_cannot_be_filled_is_told(site: BackgroundSite) -> None:
    said = site.manage("shell", "-c", TRY_ALL.format(list(WRONG))).splitlines()
    said = [line for line in said if line.startswith(("background_site.Upl", "'"))]
    assert len(said) == len(WRONG)
    for words, line in zip(WRONG.values(), said, strict=True):
        assert words in line


def test_visitor_waits_at_most_one_inference_longer(
    site: BackgroundSite, start_daemon: StartDaemon, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon = start_daemon(os.environ.get("TEST_BACKFILL_BUNDLE", "brisk"))
    pictures = fill(site, photo, ROWS)
    quiet, inference = visits(daemon, pictures, lambda done: done >= 20)
    running = site.process("dermald", "backfill", *COLUMN, name="fill", socket=daemon.socket)
    site.wait_until(lambda: len(answered(site)) >= 2)
    busy, _ = visits(daemon, pictures, lambda _: len(answered(site)) >= ROWS - 2)
    running.wait_for_words(f"{ROWS} of {ROWS} rows have their answer.")
    with capsys.disabled():
        print(
            f"\na visitor's answer, median and p95 in ms: {told(quiet)} alone ({len(quiet)} "
            "visits), "
            f"{told(busy)} during a backfill of {ROWS} rows ({len(busy)} visits); "
            f"one inference: {inference * 1000:.0f}"
        )
    longest = inference + SLACK_SECONDS
    assert statistics.median(busy) <= statistics.median(quiet) + longest
    assert p95(busy) <= p95(quiet) + longest
    # And the batch did not starve: it ended while somebody always waited.
    assert len(busy) >= 3


def visits(daemon: Daemon, pictures: list[bytes], over: object) -> tuple[list[float], float]:
    """Seconds that each visitor waited, one after the other, and of the longest work on one."""
    assert callable(over)
    waited: list[float] = []
    longest = 0.0
    with dermald.Client(daemon.socket) as client:
        client.predict(pictures[0])
        while not over(len(waited)):
            # Another explanation than the backfill asks for: no answer is shared with it.
            picture = pictures[len(waited) % len(pictures)]
            begun = time.monotonic()
            times = client.predict(picture, explain="values").timings
            waited.append(time.monotonic() - begun)
            worked = times.decode_us + times.inference_us + times.render_us
            longest = max(longest, worked / 1e6)
            time.sleep(0.02)
    return waited, longest


def p95(seconds: list[float]) -> float:
    return sorted(seconds)[int(0.95 * (len(seconds) - 1))]


def told(seconds: list[float]) -> str:
    return f"{statistics.median(seconds) * 1000:.0f} and {p95(seconds) * 1000:.0f}"
