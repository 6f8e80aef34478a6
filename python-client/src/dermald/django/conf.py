"""`settings.DERMALD`, read once into typed values. Opens nothing.

    DERMALD = {"default": {"SOCKET": "/run/dermald/dermald.sock", "TIMEOUT": 20}}

One entry per daemon, by alias. Without the setting there is `default` with the defaults below.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from functools import cache
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.dispatch import receiver

from .._client import DEFAULT_POOL_SIZE, DEFAULT_RETRIES, DEFAULT_TIMEOUT
from .._results import RenderOverlay

if TYPE_CHECKING:
    from .._client import Explain

SETTING = "DERMALD"
DEFAULT_ALIAS = "default"
# In the photo's own shape, so that the two lie beside each other, and large enough for a screen.
PAGE_OVERLAY = RenderOverlay(format="jpeg", longest_side=800)


@dataclass(frozen=True, slots=True)
class DaemonSettings:
    """One entry of DERMALD. The keys are the names of these fields in capitals.

    socket: path of the daemon's Unix socket; None for $DERMALD_SOCKET, else the daemon's default.
    timeout: seconds that a prediction may take in all.
    explain: what the upload page asks for: None, "values", "overlay" or a `RenderOverlay`.
    top_k: classes that the upload page shows; 0 for all.
    pool_size: connections that one process of the site holds at most.
    retries: further attempts of a call that may succeed later.
    daemon_users: users besides the site's own and root that the daemon may run as.
    """

    socket: str | None = None
    timeout: float = DEFAULT_TIMEOUT
    explain: Explain = PAGE_OVERLAY
    top_k: int = 0
    pool_size: int = DEFAULT_POOL_SIZE
    retries: int = DEFAULT_RETRIES
    daemon_users: tuple[str | int, ...] = ()


@cache
def daemon_settings(alias: str = DEFAULT_ALIAS) -> DaemonSettings:
    """The settings of one daemon.

    Raises `ImproperlyConfigured`, naming the entry, for an alias, a key or a value that is wrong.
    """
    entries = getattr(settings, SETTING, {DEFAULT_ALIAS: {}})
    if not isinstance(entries, Mapping):
        raise ImproperlyConfigured(f"{SETTING} is {entries!r}; it is a dict of dicts, by alias.")
    if alias not in entries:
        raise ImproperlyConfigured(f"{SETTING} has no entry {alias!r}.{_nearest(alias, entries)}")
    entry = entries[alias]
    if not isinstance(entry, Mapping):
        raise ImproperlyConfigured(f"{SETTING}[{alias!r}] is {entry!r}; it is a dict.")
    return _read_entry(alias, entry)


def _read_entry(alias: str, entry: Mapping[object, object]) -> DaemonSettings:
    values: dict[str, object] = {}
    for key, value in entry.items():
        where = f"{SETTING}[{alias!r}][{key!r}]"
        if not isinstance(key, str) or key not in _ACCEPTED:
            raise ImproperlyConfigured(f"{where} is unknown.{_nearest(str(key), _ACCEPTED)}")
        fits, form = _ACCEPTED[key]
        if not fits(value):
            raise ImproperlyConfigured(f"{where} is {value!r}; it is {form}.")
        values[key.lower()] = _plain(value)
    return DaemonSettings(**values)  # type: ignore[arg-type]  # _ACCEPTED has checked each


def _plain(value: object) -> object:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return tuple(value) if isinstance(value, list) else value


def _is_int(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_seconds(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0


def _are_users(value: object) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(u, (str, int)) for u in value)


_ACCEPTED: dict[str, tuple[Callable[[object], bool], str]] = {
    "SOCKET": (lambda v: v is None or isinstance(v, (str, os.PathLike)), "a path or None"),
    "TIMEOUT": (_is_seconds, "a number of seconds above 0"),
    "EXPLAIN": (
        lambda v: v in (None, "values", "overlay") or isinstance(v, RenderOverlay),
        "None, 'values', 'overlay' or a dermald.RenderOverlay",
    ),
    "TOP_K": (lambda v: _is_int(v, 0), "a whole number, 0 for all classes"),
    "POOL_SIZE": (lambda v: _is_int(v, 1), "a whole number, at least 1"),
    "RETRIES": (lambda v: _is_int(v, 0), "a whole number, at least 0"),
    "DAEMON_USERS": (_are_users, "a list of user names or numbers"),
}
if _ACCEPTED.keys() != {field.name.upper() for field in fields(DaemonSettings)}:
    raise AssertionError("DaemonSettings and _ACCEPTED differ")


def _nearest(name: str, known: Mapping[str, object]) -> str:
    near = get_close_matches(name.upper(), [str(key).upper() for key in known], n=1, cutoff=0.5)
    if near:
        original = next(str(key) for key in known if str(key).upper() == near[0])
        return f" Did you mean {original!r}?"
    return f" There is {', '.join(repr(str(key)) for key in known) or 'none'}."


@receiver(setting_changed)
def _forget(*, setting: str, **_: object) -> None:
    if setting == SETTING:
        daemon_settings.cache_clear()
