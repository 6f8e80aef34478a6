"""System checks: mistakes that `manage.py check` finds without asking a daemon.

Every id means one thing and keeps it. What only a running daemon can tell is asked by
`manage.py dermald health`.

    E001 DERMALD is no dict of dicts            W002 the socket's folder cannot be entered
    E002 unknown key                            W003 TIMEOUT is longer than the web server's
    E003 value of the wrong form                W004 a hanging Redis would hold up visitors
    E004 CACHE names no entry of CACHES         W005 the cache is not shared (deploy)
    W001 no entry `default`                     W006 photos are written to disk (deploy)
    W008 others may put a socket there (deploy) W007 camera photos are refused (deploy)
                                                W012 the cache would remember nothing of the page

Those of background predictions are made by `task_checks`:

    E005 the background's app is missing        W009 visibility_timeout is not stated
    E006 the queue's package is missing         W010 a hanging broker would hold up visitors
    E007 visibility_timeout is too short        W011 TASKS runs nothing later (deploy)
    E008 Celery knows no broker here
"""

from __future__ import annotations

import os
import shlex
import stat
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning

from .._client import socket_path
from .._results import RenderOverlay
from . import task_checks
from .conf import (
    DEFAULT_ALIAS,
    SETTING,
    DaemonSettings,
    daemon_settings,
    mistakes,
    raw_entries,
    sound_aliases,
)

_MISTAKE_IDS = {"shape": "dermald.E001", "key": "dermald.E002", "value": "dermald.E003"}
# gunicorn's own, where its arguments are known and name none.
_GUNICORN_TIMEOUT = 30.0
_REDIS = "django.core.cache.backends.redis.RedisCache"
_NOT_SHARED = ("locmem.LocMemCache", "dummy.DummyCache")
_MIB = 2**20
TAG = "dermald"

Apps = Sequence[AppConfig] | None


def check_settings(app_configs: Apps = None, **_: Any) -> list[CheckMessage]:  # noqa: ANN401
    """What holds everywhere."""
    found: list[CheckMessage] = [
        Error(mistake.message, hint=mistake.hint or None, id=_MISTAKE_IDS[mistake.kind])
        for mistake in mistakes()
    ]
    entries = raw_entries()
    if isinstance(entries, Mapping) and DEFAULT_ALIAS not in entries:
        hint = f"The upload page and get_client() use the entry {DEFAULT_ALIAS!r}."
        found.append(Warning(f"{SETTING} has no entry 'default'.", hint=hint, id="dermald.W001"))
    for alias, daemon in _daemons():
        found += [*_folder(alias, daemon), *_timeout(alias, daemon), *_cache(alias, daemon)]
        found += [*task_checks.queue(alias, daemon)]
    return found


def check_deployment(app_configs: Apps = None, **_: Any) -> list[CheckMessage]:  # noqa: ANN401
    """What holds where visitors come: `manage.py check --deploy`."""
    found: list[CheckMessage] = []
    for alias, daemon in _daemons():
        found += [*_shared_cache(alias, daemon), *_open_folder(alias, daemon)]
        found += [*_uploads(alias, daemon), *task_checks.queue_deployed(alias, daemon)]
    return found


def worker_timeout(daemon: DaemonSettings) -> float | None:
    """Seconds after which the web server gives up on a worker; None when nobody told."""
    if daemon.worker_timeout is not None:
        return daemon.worker_timeout
    arguments = os.environ.get("GUNICORN_CMD_ARGS")
    if arguments is None:
        return None
    parser = ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("-t", "--timeout", type=float, default=_GUNICORN_TIMEOUT)
    # What cannot be read is gunicorn's to complain about.
    with suppress(Exception):
        return float(parser.parse_known_args(shlex.split(arguments))[0].timeout)
    return None


def _daemons() -> Iterator[tuple[str, DaemonSettings]]:
    for alias in sound_aliases():
        yield alias, daemon_settings(alias)


def _folder(alias: str, daemon: DaemonSettings) -> Iterator[CheckMessage]:
    # A folder that is missing may come with the daemon's start; checks run on build machines too.
    folder = _socket_folder(daemon)
    if not os.path.lexists(folder):
        return
    if not os.path.isdir(folder):
        hint = "SOCKET names the socket itself, in a folder that the daemon makes."
        text = f"{folder}, where the socket of {SETTING}[{alias!r}] shall be, is no folder."
    elif not os.access(folder, os.X_OK):
        hint = "Let the site's user enter it: same user as the daemon's, or a common group."
        text = f"This user ({os.geteuid()}) cannot enter {folder}, the folder of the socket."
    else:
        return
    yield Warning(text, hint=hint, id="dermald.W002")


def _timeout(alias: str, daemon: DaemonSettings) -> Iterator[CheckMessage]:
    limit = worker_timeout(daemon)
    # gunicorn's 0 means no limit.
    if not limit or daemon.timeout < limit:
        return
    yield Warning(
        f"{SETTING}[{alias!r}] waits {daemon.timeout:g} s for a prediction; the web server ends a "
        f"silent worker after {limit:g} s.",
        hint="The visitor of a slow prediction would see a broken page instead of a sentence. Make "
        "TIMEOUT shorter, or gunicorn's --timeout longer.",
        id="dermald.W003",
    )


def _cache(alias: str, daemon: DaemonSettings) -> Iterator[CheckMessage]:
    if daemon.cache is None:
        return
    cache = settings.CACHES.get(daemon.cache)
    if cache is None:
        hint = f"CACHES has {', '.join(map(repr, settings.CACHES))}."
        text = f"{SETTING}[{alias!r}]['CACHE'] is {daemon.cache!r}, which is no entry of CACHES."
        yield Error(text, hint=hint, id="dermald.E004")
        return
    timed = "socket_timeout" in {**cache.get("OPTIONS", {})} or "socket_timeout" in str(
        cache.get("LOCATION", "")
    )
    if cache.get("BACKEND") == _REDIS and not timed:
        yield Warning(
            f"CACHES[{daemon.cache!r}] has no socket_timeout.",
            hint="A Redis that hangs would hold up visitors for as long as its client waits. Set "
            "OPTIONS = {'socket_timeout': 0.5, 'socket_connect_timeout': 0.5}.",
            id="dermald.W004",
        )
    shows_the_photo = daemon.explain == "overlay" or isinstance(daemon.explain, RenderOverlay)
    if shows_the_photo and not daemon.cache_overlays:
        yield Warning(
            f"{SETTING}[{alias!r}] has a CACHE, but the upload page asks for an overlay, which is "
            "not remembered.",
            hint="CACHE_OVERLAYS = True remembers overlays too; they show the visitor's photo. "
            "Silence this when the cache is for views of your own.",
            id="dermald.W012",
        )


def _shared_cache(alias: str, daemon: DaemonSettings) -> Iterator[CheckMessage]:
    backend = settings.CACHES.get(daemon.cache or "", {}).get("BACKEND", "")
    if backend.endswith(_NOT_SHARED):
        yield Warning(
            f"{SETTING}[{alias!r}]['CACHE'] is {daemon.cache!r}, whose backend is {backend}.",
            hint="It remembers for one process, or not at all. Redis serves all of them.",
            id="dermald.W005",
        )


def _uploads(alias: str, daemon: DaemonSettings) -> Iterator[CheckMessage]:
    if daemon.max_bytes > settings.FILE_UPLOAD_MAX_MEMORY_SIZE:
        yield Warning(
            "Photos above FILE_UPLOAD_MAX_MEMORY_SIZE "
            f"({settings.FILE_UPLOAD_MAX_MEMORY_SIZE / _MIB:.1f} MiB) are written to disk during "
            "their upload.",
            hint=f"To keep all of them in memory set it to {daemon.max_bytes}, the MAX_BYTES of "
            f"{SETTING}[{alias!r}].",
            id="dermald.W006",
        )
    limit: int | None = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    needed = daemon.max_bytes * 4 // 3 + 4096
    if limit is not None and limit < needed:
        yield Warning(
            "A camera's photo that is sent as a `data:` text is refused above "
            f"DATA_UPLOAD_MAX_MEMORY_SIZE ({limit / _MIB:.1f} MiB), with a bare 400.",
            hint=f"Base64 adds a third: {needed} lets photos of {daemon.max_bytes} bytes through. "
            "Silence this when the site takes files only.",
            id="dermald.W007",
        )


def _open_folder(alias: str, daemon: DaemonSettings) -> Iterator[CheckMessage]:
    folder = _socket_folder(daemon)
    try:
        mode = os.stat(folder).st_mode
    except OSError:
        return
    if mode & stat.S_IWOTH:
        yield Warning(
            f"Any user of this host may put a socket into {folder}, the folder of "
            f"{SETTING}[{alias!r}].",
            hint="The client sends nothing to another user's process, but that one could keep the "
            "daemon out. Use a folder of the daemon's own.",
            id="dermald.W008",
        )


def _socket_folder(daemon: DaemonSettings) -> str:
    return os.path.dirname(os.path.abspath(socket_path(daemon.socket)))
