"""`memory/`: what the site's process and its daemon hold, as JSON.

Keeps the keys that sites had for a model in their own process, and adds the daemon beside them.
"""

from __future__ import annotations

import logging
import platform
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, JsonResponse

from ..._environment import gradcam_enabled
from ..._errors import DermaldError
from ..._memory import memory_limit, process_memory
from ..clients import get_probe
from ..conf import DEFAULT_ALIAS
from .access import for_signed_in, scraper_token
from .state import PROBE_SECONDS

_log = logging.getLogger("dermald")
_MIB = 2**20


def memory_report(alias: str = DEFAULT_ALIAS) -> dict[str, object]:
    own, limit = process_memory(), memory_limit()
    try:
        status: dict[str, Any] | None = get_probe(alias).status(timeout=PROBE_SECONDS)
    except DermaldError:
        status = None
    except ImproperlyConfigured as error:
        _log.error("no status of the daemon: %s", error)
        status = None
    model = (status or {}).get("model") or {}
    return {
        "status": "ok",
        "memory": _figures(own.rss, own.virtual, limit),
        "model_loaded": bool(model.get("loaded")),
        "python_version": platform.python_version(),
        "gradcam_enabled": gradcam_enabled() and bool(model.get("explains", True)),
        "daemon": None if status is None else _daemon(status, limit),
        "limit_mb": None if limit is None else _mb(limit),
    }


def _daemon(status: dict[str, Any], limit: int | None) -> dict[str, object]:
    memory = status.get("memory") or {}
    figures = _figures(memory.get("rss", 0), memory.get("virtual_size", 0), limit)
    return {
        "state": status.get("state"),
        "memory": {**figures, "anonymous_mb": _mb(memory.get("anonymous", 0))},
    }


def _figures(rss: int, virtual: int, limit: int | None) -> dict[str, float | None]:
    """percent: of the cgroup's limit, or of the host's memory where that is less."""
    percent = None if not limit else round(100 * rss / limit, 1)
    return {"rss_mb": _mb(rss), "vms_mb": _mb(virtual), "percent": percent}


def _mb(count: int) -> float:
    return round(count / _MIB, 1)


def _memory_status(request: HttpRequest, alias: str = DEFAULT_ALIAS) -> JsonResponse:
    return JsonResponse(memory_report(alias))


memory_status = for_signed_in(_memory_status, token=scraper_token)
