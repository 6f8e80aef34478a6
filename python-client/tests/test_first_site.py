"""A site like the first one, changed over to the daemon by a few lines, under gunicorn."""

from __future__ import annotations

import io
import json
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

import dermald
from first_site_running import HERE, FirstSite, added_lines
from processes import Daemon, memory

# What a worker with our client may hold, in MiB.
WORKER_MIB = 70


@pytest.fixture(scope="module")
def site(daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FirstSite]:
    environment = {
        "DERMALD_SOCKET": str(daemon.socket),
        "PYTHONPATH": str(Path(dermald.__path__[0]).parent),
        "ENABLE_GRADCAM": "true",
    }
    folder = tmp_path_factory.mktemp("first")
    running = FirstSite(folder, changed=True, environment=environment)
    yield running
    running.close()


def test_change_is_at_most_five_lines() -> None:
    assert 1 <= len(added_lines()) <= 5
    assert (HERE / "after" / "Dermal" / "AI_detection.py").read_text().count("\n") == 1


def test_pages_answer_and_rows_are_stored(site: FirstSite, photo: Path) -> None:
    assert site.get("/health/") == (200, b"ok")
    data = photo.read_bytes()
    for upload in (site.upload_file, site.upload_camera):
        status, page = upload(data)
        assert status == 200
        assert b"<li>ring: " in page
        assert b"data:image/png;base64," in page
    rows = site.rows()
    assert len(rows) == 2
    assert rows[0] == rows[1]
    assert [set(line) for line in rows[0].results] == [{"class", "probability"}] * 5
    assert rows[0].heatmap is not None
    with Image.open(io.BytesIO(b64decode(rows[0].heatmap))) as overlay:
        assert (overlay.format, overlay.mode, overlay.size) == ("PNG", "RGBA", (128, 128))


def test_memory_page_still_works(site: FirstSite, photo: Path) -> None:
    site.upload_file(photo.read_bytes())
    status, page = site.get("/memory/")
    told = json.loads(page)
    assert status == 200
    assert told["model_loaded"] is True
    assert told["gradcam_enabled"] is True
    assert set(told["memory"]) == {"rss_mb", "vms_mb", "percent"}


def test_bad_photos_are_told_in_the_sites_language(site: FirstSite) -> None:
    stored = len(site.rows())
    for upload in (site.upload_file, site.upload_camera):
        status, body = upload(b"This is no picture. " * 40)
        assert status == 400
        assert json.loads(body)["error"].startswith("Không đọc được tệp này")
    assert len(site.rows()) == stored


def test_upload_of_a_hundred_megabytes_is_told(site: FirstSite) -> None:
    status, body = site.upload_file(b"\xff\xd8\xff" + bytes(100 * 2**20))
    assert status == 400
    assert "quá lớn" in json.loads(body)["error"]


def test_worker_stays_small(site: FirstSite, photo: Path) -> None:
    for _ in range(10):
        site.upload_file(photo.read_bytes())
    held = memory("worker", site.worker())
    print(f"worker: {held.rss:.1f} MiB RSS")
    assert held.rss < WORKER_MIB
