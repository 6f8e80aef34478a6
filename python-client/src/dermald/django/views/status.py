"""`status/`: a page for the team about the daemon. Drawn by the server; no scripts."""

from __future__ import annotations

import logging

from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import get_language

from ..._errors import DermaldError
from ..._memory import memory_limit, process_memory
from ..._visitors import FAILED, problem_of
from ..clients import get_probe
from ..conf import DEFAULT_ALIAS
from ..status.chart import draw
from ..status.latency import read_stages
from ..status.snapshot import Sample, Snapshot, read_snapshot
from .access import for_signed_in
from .state import PROBE_SECONDS

_log = logging.getLogger("dermald")
_TEMPLATE = "dermald/status.html"
_HOUR_SECONDS = 3600


def status_context(snapshot: Snapshot, metrics: str) -> dict[str, object]:
    """All that the template shows of a daemon."""
    memory = snapshot.memory
    stages = read_stages(metrics)
    slowest = max((stage.p99 for stage in stages), default=0.0)
    now = Sample(0.0, memory.rss, memory.anonymous)
    charts = {
        name: draw((*samples, now), snapshot.renewals, memory.threshold)
        for name, samples in (("hour", snapshot.hour), ("day", snapshot.day))
    }
    if charts["hour"] and charts["day"] and charts["day"].span_seconds <= _HOUR_SECONDS:
        # A young daemon's day would be its hour once more.
        charts["day"] = None
    measured = memory.anonymous if memory.measure == "anonymous" else memory.rss
    return {
        "daemon": snapshot,
        "charts": [(name, chart) for name, chart in charts.items() if chart is not None],
        "stages": [
            {"stage": stage, "p50": _share(stage.p50, slowest), "p99": _share(stage.p99, slowest)}
            for stage in stages
        ],
        "filled": _share(measured, memory.threshold) if memory.threshold else None,
        "answers": sum(count for _, count in snapshot.outcomes),
    }


def _share(value: float, most: float) -> str:
    return f"{min(100.0, 100 * value / most if most else 0):.2f}%"


def _status(request: HttpRequest, alias: str = DEFAULT_ALIAS) -> HttpResponse:
    site = {"site_rss": process_memory().rss, "limit": memory_limit()}
    try:
        probe = get_probe(alias)
        snapshot = read_snapshot(probe.status(timeout=PROBE_SECONDS), get_language())
        metrics = probe.metrics(timeout=PROBE_SECONDS)
    except (DermaldError, ImproperlyConfigured) as error:
        _log.warning("no status of the daemon: %s", error)
        return render(request, _TEMPLATE, {**_problem(error), **site})
    return render(request, _TEMPLATE, {**status_context(snapshot, metrics), **site})


def _problem(error: DermaldError | ImproperlyConfigured) -> dict[str, object]:
    """A sentence in the reader's language, and what the error itself says."""
    if not isinstance(error, DermaldError):
        return {"problem": FAILED.sentence(), "detail": str(error)}
    unreachable = error.code == "unreachable"
    return {
        "problem": problem_of(error).sentence(),
        "detail": error.message,
        "show_command": unreachable,
    }


status = for_signed_in(_status, staff=True)
