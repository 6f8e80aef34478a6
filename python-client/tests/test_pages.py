"""The pages for platform and team: health, memory, metrics and status, against the real daemon."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client as Browser
from django.test import override_settings

import dermald
from conftest import StartDaemon
from dermald._memory import memory_limit, process_memory
from dermald.django.status.chart import draw
from dermald.django.status.latency import quantile, read_stages
from dermald.django.status.snapshot import Renewal, Sample, read_snapshot
from processes import Daemon, memory

HEALTH, MEMORY, METRICS, STATUS = (
    f"/skin/{name}/" for name in ("health", "memory", "metrics", "status")
)
# What a hosting platform allows a health check.
HEALTH_SECONDS = 5.0
MIB = 2**20


def configured(socket: Path, **entry: object) -> override_settings:
    return override_settings(DERMALD={"default": {"SOCKET": socket, **entry}})


def signed_in(*, staff: bool) -> Browser:
    name = "staff" if staff else "user"
    user, _ = User.objects.get_or_create(username=name, is_staff=staff)
    browser = Browser()
    browser.force_login(user)
    return browser


@pytest.fixture
def staff(database: None) -> Browser:
    return signed_in(staff=True)


@pytest.fixture
def user(database: None) -> Browser:
    return signed_in(staff=False)


# Health.

both_healths = pytest.mark.parametrize("page", [HEALTH, "/later/health/"])


@both_healths
def test_health_tells_the_state_and_nothing_else(page: str, daemon: Daemon) -> None:
    with configured(daemon.socket):
        response = Browser().get(page)
    assert response.status_code == 200
    assert response.json() == {"status": "ok", "daemon": "ready"}
    assert "no-store" in response["Cache-Control"]


@both_healths
def test_health_is_for_everybody_where_all_else_needs_a_login(page: str, daemon: Daemon) -> None:
    from django.conf import settings

    middleware = [
        *settings.MIDDLEWARE,
        "django.contrib.auth.middleware.LoginRequiredMiddleware",
    ]
    with configured(daemon.socket), override_settings(MIDDLEWARE=middleware):
        assert Browser().get(page).status_code == 200
        assert Browser().get("/skin/").status_code == 302


@both_healths
def test_health_is_there_while_the_daemon_works(
    page: str, start_daemon: StartDaemon, photo: Path
) -> None:
    """With every connection of the site's own client in use."""
    daemon = start_daemon("slow")
    with configured(daemon.socket, POOL_SIZE=1), dermald.Client(daemon.socket) as other:
        threads = [threading.Thread(target=ask_in_vain, args=(photo,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        while not other.status()["queue"]["running"]:  # type: ignore[index]
            time.sleep(0.005)
        began = time.monotonic()
        response = Browser().get(page)
        assert time.monotonic() - began < 1
        assert response.status_code == 200
        assert response.json()["daemon"] in ("ready", "starting")
        for thread in threads:
            thread.join()


def ask_in_vain(photo: Path) -> None:
    from dermald.django import get_client

    with pytest.raises(dermald.DeadlineExceeded):
        get_client().predict(photo, timeout=1.0)


@both_healths
def test_health_stays_in_time_when_the_daemon_hangs(page: str, start_daemon: StartDaemon) -> None:
    daemon = start_daemon()
    os.kill(daemon.pid, signal.SIGSTOP)
    try:
        with configured(daemon.socket):
            began = time.monotonic()
            response = Browser().get(page)
            assert time.monotonic() - began < HEALTH_SECONDS
    finally:
        os.kill(daemon.pid, signal.SIGCONT)
    assert response.status_code == 200
    assert response.json() == {"status": "ok", "daemon": "silent"}


@both_healths
def test_health_is_200_without_a_daemon_unless_that_is_asked(page: str, folder: Path) -> None:
    with configured(folder / "nobody.sock"):
        response = Browser().get(page)
        required = Browser().get(page, {"daemon": "required"})
    assert (response.status_code, response.json()["daemon"]) == (200, "unreachable")
    assert (required.status_code, required.json()["daemon"]) == (503, "unreachable")


@both_healths
def test_health_of_a_wrong_setting_says_so(page: str) -> None:
    with override_settings(DERMALD={"default": {"TIMOUT": 1}}):
        assert Browser().get(page).json()["daemon"] == "misconfigured"


@both_healths
def test_health_tells_a_broken_model(page: str, start_daemon: StartDaemon, photo: Path) -> None:
    daemon = start_daemon("self-test-wrong")
    with configured(daemon.socket), dermald.Client(daemon.socket) as client:
        with pytest.raises(dermald.OperatorError):
            client.predict(photo)
        assert Browser().get(page).json() == {"status": "ok", "daemon": "failed"}
        assert Browser().get(page, {"daemon": "required"}).status_code == 503


def test_django_health_check_knows_the_daemon(daemon: Daemon, folder: Path) -> None:
    with configured(daemon.socket):
        good = Browser().get("/checks/", {"format": "json"})
    with configured(folder / "nobody.sock"):
        bad = Browser().get("/checks/", {"format": "json"})
    assert good.status_code == 200
    assert bad.status_code == 500
    assert "The daemon is unreachable." in bad.content.decode()


# Who may see the rest.


@pytest.mark.parametrize("page", [MEMORY, METRICS, STATUS])
def test_the_rest_needs_a_login(page: str) -> None:
    browser = Browser().get(page, headers={"accept": "text/html,*/*;q=0.8"})
    assert browser.status_code == 302
    assert browser["Location"] == f"/login/?next={page}"
    program = Browser().get(page, headers={"accept": "application/json"})
    assert program.status_code == 403
    assert program.json() == {"error": {"code": "login_required"}}
    assert Browser().post(page).status_code == 405


@pytest.mark.parametrize("page", [MEMORY, METRICS, STATUS])
def test_site_without_accounts_shows_nothing(page: str) -> None:
    with override_settings(
        MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
        INSTALLED_APPS=["dermald.django"],
    ):
        assert Browser().get(page).status_code == 403


def test_status_is_for_staff(user: Browser) -> None:
    assert user.get(STATUS).status_code == 403


def test_scraper_shows_a_token(daemon: Daemon) -> None:
    def ask(header: str) -> int:
        return Browser().get(METRICS, headers={"authorization": header}).status_code

    with configured(daemon.socket, METRICS_TOKEN="let me in"):
        assert ask("Bearer let me in") == 200
        for wrong in ("Bearer let me", "let me in", "Bearer ", "Bearer lét me in", ""):
            assert ask(wrong) in (302, 403)
    with configured(daemon.socket):
        assert ask("Bearer None") in (302, 403)
        assert ask("Bearer ") in (302, 403)


# Memory and metrics.


def test_memory_keeps_the_contract_and_adds_the_daemon(
    user: Browser, daemon: Daemon, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENABLE_GRADCAM", "true")
    with configured(daemon.socket), dermald.Client(daemon.socket) as client:
        client.predict(photo)
        answer = user.get(MEMORY).json()
    own = process_memory()
    assert answer["status"] == "ok"
    assert answer["memory"]["rss_mb"] == pytest.approx(own.rss / MIB, rel=0.2)
    assert answer["memory"]["vms_mb"] == pytest.approx(own.virtual / MIB, rel=0.2)
    limit = memory_limit()
    assert limit is not None
    assert answer["memory"]["percent"] == pytest.approx(100 * own.rss / limit, rel=0.2, abs=0.1)
    assert answer["model_loaded"] is True
    assert answer["gradcam_enabled"] is True
    assert re.fullmatch(r"3\.\d+\.\d+", answer["python_version"])
    seen = memory("dermald", daemon.pid)
    assert answer["daemon"]["state"] == "ready"
    assert answer["daemon"]["memory"]["rss_mb"] == pytest.approx(seen.rss, rel=0.1)
    assert answer["daemon"]["memory"]["anonymous_mb"] == pytest.approx(seen.anonymous, rel=0.2)
    monkeypatch.setenv("ENABLE_GRADCAM", "no")
    with configured(daemon.socket):
        assert user.get(MEMORY).json()["gradcam_enabled"] is False


def test_memory_is_told_without_a_daemon(user: Browser, folder: Path) -> None:
    with configured(folder / "nobody.sock"):
        answer = user.get(MEMORY).json()
    assert answer["daemon"] is None
    assert answer["model_loaded"] is False
    assert answer["memory"]["rss_mb"] > 1


@pytest.mark.parametrize(
    ("groups", "files", "limit"),
    [
        ("0::/a/b", {"a/b/memory.max": "max", "a/memory.max": "512", "memory.max": "900"}, 512),
        ("0::/a/b", {"a/b/memory.max": "100", "a/memory.max": "512"}, 100),
        # In a container: the host's path, of which only the mount itself is there.
        ("0::/system.slice/docker-1", {"memory.max": "700"}, 700),
        ("0::/", {}, 4096 * 1024),
        ("4:memory:/x\n0::/", {"memory/x/memory.limit_in_bytes": "300"}, 300),
        ("4:cpu,memory:/x", {"memory/memory.limit_in_bytes": "9223372036854771712"}, 4096 * 1024),
    ],
)
def test_limit_is_the_least_on_the_way_up(
    tmp_path: Path, groups: str, files: dict[str, str], limit: int
) -> None:
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "cgroup").write_text(groups + "\n")
    (tmp_path / "proc" / "meminfo").write_text("MemTotal:        4096 kB\n")
    for name, text in files.items():
        path = tmp_path / "sys" / "fs" / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    assert memory_limit(tmp_path) == limit
    assert memory_limit(tmp_path / "nothing") is None


def test_metrics_are_the_daemons(user: Browser, daemon: Daemon) -> None:
    with configured(daemon.socket):
        response = user.get(METRICS)
    assert response["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert "dermald_memory_bytes{" in response.content.decode()
    assert response.content.decode().endswith("# EOF\n")


def test_metrics_without_a_daemon_fail(user: Browser, folder: Path) -> None:
    with configured(folder / "nobody.sock"):
        response = user.get(METRICS)
    assert (response.status_code, response.content) == (503, b"# unreachable\n")


# The status page.


def test_status_page_shows_what_the_daemon_says(
    staff: Browser, daemon: Daemon, photo: Path
) -> None:
    with configured(daemon.socket), dermald.Client(daemon.socket) as client:
        client.predict(photo, explain="overlay")
        response = staff.get(STATUS)
        model = client.status()["model"]
    page = response.content.decode()
    assert response.status_code == 200
    assert isinstance(model, dict)
    assert model["digest"][:16] in page
    assert "Ring" in page
    assert "Time of a prediction" in page
    assert "<script" not in page
    assert not re.search(r'(src|href)="(?!/skin/status/|data:)', page)


def test_status_page_is_in_the_teams_language(staff: Browser, daemon: Daemon) -> None:
    with configured(daemon.socket):
        page = staff.get(STATUS, headers={"accept-language": "vi"}).content.decode()
    assert "Trạng thái bộ phân loại" in page
    assert "Vòng tròn" in page
    assert "sẵn sàng" in page


def test_status_page_says_that_there_is_no_daemon(staff: Browser, folder: Path) -> None:
    with configured(folder / "nobody.sock"):
        response = staff.get(STATUS)
    assert response.status_code == 200
    page = response.content.decode()
    assert "No daemon listens at" in page
    assert page.count("manage.py dermald serve") == 1


def collect(client: dermald.Client, photo: Path, count: int) -> list[Sample]:
    """Memory of a daemon that loads its model and predicts, as it tells it itself."""
    told: list[tuple[float, Any]] = []
    for _ in range(count):
        told.append((time.monotonic(), client.status()["memory"]))
        client.predict(photo)
        time.sleep(0.05)
    end = time.monotonic()
    return [Sample(end - at, memory["rss"], memory["anonymous"]) for at, memory in told]


def test_memory_chart_is_drawn_from_the_daemons_own_samples(
    start_daemon: StartDaemon, photo: Path
) -> None:
    daemon = start_daemon()
    with dermald.Client(daemon.socket) as client:
        samples = collect(client, photo, 20)
    renewals = [Renewal(1.0, "memory", 12), Renewal(99.0, "idle", None)]
    chart = draw(samples, renewals, 64 * MIB)
    assert chart is not None
    points = [tuple(map(float, point.split())) for point in re.split("[ML]", chart.rss_line)[1:]]
    assert len(points) == len(samples) == 20
    assert (points[0][0], points[-1][0]) == (0, 1000)
    top = 1.15 * max(64 * MIB, *(sample.rss for sample in samples))
    for (_, down), sample in zip(points, samples, strict=True):
        assert (1 - down / 1000) * top == pytest.approx(sample.rss, rel=0.01)
    # It grew when the model was loaded, and the line goes up for it.
    assert points[-1][1] < points[0][1] - 100
    assert [mark.renewal.reason for mark in chart.marks] == ["memory"]
    assert chart.threshold is not None
    assert float(chart.threshold.place.rstrip("%")) == pytest.approx(
        100 - 100 * 64 * MIB / top, abs=0.01
    )


def test_marks_that_lie_close_together_do_not_cover_each_other() -> None:
    samples = [Sample(3600.0, MIB, MIB), Sample(0.0, MIB, MIB)]
    renewals = [Renewal(ago, "asked", 3) for ago in (3000.0, 2990.0, 2980.0, 1000.0)]
    chart = draw(samples, renewals, None)
    assert chart is not None
    assert [mark.number for mark in chart.marks] == [1, 2, 3, 4]
    rows = [mark.down for mark in chart.marks]
    assert (rows[0], rows[3]) == (0, 0)
    # Their dots are 18 pixels high.
    assert rows[1] >= rows[0] + 18
    assert rows[2] >= rows[1] + 18


@pytest.mark.parametrize("samples", [[], [Sample(1, 5, 4)], [Sample(1, 5, 4), Sample(1, 6, 4)]])
def test_no_chart_without_time(samples: list[Sample]) -> None:
    assert draw(samples, [], None) is None


@pytest.mark.parametrize(("oldest", "charts"), [(300, 1), (3 * 3600, 2)])
def test_status_page_draws_history_and_renewals(
    staff: Browser, daemon: Daemon, monkeypatch: pytest.MonkeyPatch, oldest: int, charts: int
) -> None:
    """With the history that a daemon tells, its rings naming their columns."""
    with dermald.Client(daemon.socket) as client:
        told = client.status()
    told["memory_limit"] = 300 * MIB
    told["memory_history"] = {
        "hour": {
            "columns": ["seconds_ago", "rss", "anonymous", "later"],
            "samples": [[age, (400 - age) * MIB, 90 * MIB, 1] for age in range(300, 0, -10)],
        },
        "day": {"columns": ["rss", "seconds_ago"], "samples": [[90 * MIB, oldest]]},
    }
    told["renewals"] = {
        "recent": [
            {"seconds_ago": 200, "reason": "memory", "pause_ms": 41},
            {"seconds_ago": 100, "reason": "<of tomorrow>", "rss_before": 1},
        ]
    }
    monkeypatch.setattr(dermald.Client, "status", lambda *_, **__: told)
    with configured(daemon.socket):
        page = staff.get(STATUS).content.decode()
    assert page.count('<svg class="chart" role="img"') == charts
    assert page.count('class="mark"') == 2 * charts
    assert "its memory passed the threshold (41 ms)" in page
    assert "&lt;of tomorrow&gt;" in page
    assert page.count("renewed past 300 MiB") == 1 + charts


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"memory": None, "model": [], "queue": 5, "outcomes": [], "renewals": {"recent": [1]}},
        {"memory_history": {"hour": {"columns": ["rss"], "samples": [[1]]}, "day": []}},
        {"model": {"labels": [1, {"name": "x"}], "input": None}, "uptime_seconds": "long"},
    ],
)
def test_page_takes_what_is_there(told: dict[str, Any]) -> None:
    from django.template.loader import render_to_string

    from dermald.django.views.status import status_context

    snapshot = read_snapshot(told, "vi")
    assert (snapshot.hour, snapshot.day, snapshot.renewals) == ((), (), ())
    context = {**status_context(snapshot, ""), "site_rss": 3 * MIB, "limit": None}
    assert "3.0 MiB" in render_to_string("dermald/status.html", context)


def test_percentiles_agree_with_the_daemons_own_timings(daemon: Daemon, photo: Path) -> None:
    """Within the bucket that the true one lies in: a histogram knows no more."""
    with dermald.Client(daemon.socket) as client:
        client.predict(photo)
        before = json.dumps([stage.count for stage in read_stages(client.metrics())])
        times = [client.predict(photo).timings.inference_us / 1000 for _ in range(40)]
        stages = {stage.name: stage for stage in read_stages(client.metrics())}
    assert before
    assert list(stages) == ["queue", "load", "decode", "inference", "render"][: len(stages)]
    bounds = [0, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 10000]
    median = sorted(times)[20]
    low, high = max(b for b in bounds if b < median), min(b for b in bounds if b >= median)
    # Earlier predictions of this module's daemon are in the histogram too: a neighbour is near.
    assert bounds[max(0, bounds.index(low) - 1)] <= stages["inference"].p50
    assert stages["inference"].p50 <= bounds[bounds.index(high) + 1]


@pytest.mark.parametrize(
    ("buckets", "share", "expected"),
    [
        ([(1.0, 0), (2.0, 10), (float("inf"), 10)], 0.5, 1.5),
        ([(1.0, 10), (2.0, 10), (float("inf"), 10)], 0.5, 0.5),
        ([(1.0, 5), (2.0, 5), (4.0, 10), (float("inf"), 10)], 0.75, 3.0),
        ([(1.0, 0), (2.0, 0), (float("inf"), 10)], 0.5, 2.0),
    ],
)
def test_quantile_is_interpolated(
    buckets: list[tuple[float, float]], share: float, expected: float
) -> None:
    assert quantile(buckets, share) == pytest.approx(expected)
