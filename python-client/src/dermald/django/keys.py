"""The keys of one entry of `settings.DERMALD`: what each may hold, and what it means.

The documentation's table and the system checks are made from this. Knows no settings module.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass

from .._results import RenderOverlay


@dataclass(frozen=True, slots=True)
class Key:
    """fits: whether a value is sound. form: what is, in words. meaning: for the documentation."""

    fits: Callable[[object], bool]
    form: str
    meaning: str


def _is_int(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_seconds(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf


def _are_users(value: object) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(u, (str, int)) for u in value)


def _is_text_or_none(value: object) -> bool:
    return value is None or (isinstance(value, str) and value != "")


KEYS: dict[str, Key] = {
    "SOCKET": Key(
        lambda v: v is None or isinstance(v, (str, os.PathLike)),
        "a path or None",
        "path of the daemon's socket; `None` for `$DERMALD_SOCKET`, else the daemon's default",
    ),
    "BUNDLE": Key(
        lambda v: v is None or isinstance(v, (str, os.PathLike)),
        "the path of a folder, or None",
        "folder of the model for `manage.py dermald serve`; `None` for `$DERMALD_BUNDLE`. A daemon "
        "that serves visitors has a configuration of its own",
    ),
    "TIMEOUT": Key(
        _is_seconds,
        "a number of seconds above 0",
        "seconds that a prediction may take in all",
    ),
    "EXPLAIN": Key(
        lambda v: v in (None, "values", "overlay") or isinstance(v, RenderOverlay),
        "None, 'values', 'overlay' or a dermald.RenderOverlay",
        'what the upload page asks for beside the classes: `None`, `"values"`, `"overlay"` or a '
        "`dermald.RenderOverlay`",
    ),
    "TOP_K": Key(
        lambda v: _is_int(v, 0),
        "a whole number, 0 for all classes",
        "classes that the upload page shows; 0 for all",
    ),
    "MAX_BYTES": Key(
        lambda v: _is_int(v, 1),
        "a whole number of bytes, at least 1",
        "the largest photo that forms, upload page and cache take",
    ),
    "POOL_SIZE": Key(
        lambda v: _is_int(v, 1),
        "a whole number, at least 1",
        "connections that one process holds at most",
    ),
    "RETRIES": Key(
        lambda v: _is_int(v, 0),
        "a whole number, at least 0",
        "further attempts of a call that may succeed later",
    ),
    "DAEMON_USERS": Key(
        _are_users,
        "a list of user names or numbers",
        "users besides the site's own and root that the daemon may run as",
    ),
    "CACHE": Key(
        _is_text_or_none,
        "the name of an entry of CACHES, or None",
        "entry of `CACHES` that remembers predictions; `None` for no cache",
    ),
    "CACHE_TIMEOUT": Key(
        lambda v: v is None or _is_seconds(v),
        "a number of seconds above 0, or None for ever",
        "seconds that a prediction is remembered; `None` for ever",
    ),
    "CACHE_OVERLAYS": Key(
        lambda v: isinstance(v, bool),
        "True or False",
        "whether answers with an overlay are remembered too: an overlay shows the photo",
    ),
    "WORKER_TIMEOUT": Key(
        lambda v: v is None or _is_seconds(v),
        "a number of seconds above 0, or None",
        "seconds after which the web server ends a silent worker, to check `TIMEOUT` against; "
        "`None` for what `$GUNICORN_CMD_ARGS` says",
    ),
    "METRICS_TOKEN": Key(
        _is_text_or_none,
        "a text, or None",
        "bearer token with which a scraper reads `metrics/` and `memory/` without a login",
    ),
    "BACKGROUND": Key(
        lambda v: v in (None, "celery", "tasks"),
        "None, 'celery' or 'tasks'",
        'which queue [background predictions](background.md) go to: `"celery"`, `"tasks"` '
        "(django.tasks), or `None` for a site without",
    ),
    "TASK_QUEUE": Key(
        _is_text_or_none,
        "a text, or None",
        "the queue's name; `None` for its default",
    ),
    "TASK_TIMEOUT": Key(
        _is_seconds,
        "a number of seconds above 0",
        "seconds that one attempt of a background prediction may take, and the longest pause "
        "between two; a quarter more, and its process is killed",
    ),
    "TASK_ATTEMPTS": Key(
        lambda v: _is_int(v, 1),
        "a whole number, at least 1",
        "attempts until a background prediction has failed for good; a backfill stops after as "
        "many for one picture",
    ),
    "TASK_OVERDUE": Key(
        _is_seconds,
        "a number of seconds above 0",
        "seconds after which `manage.py dermald requeue` sends a background prediction again that "
        "no worker began",
    ),
}
