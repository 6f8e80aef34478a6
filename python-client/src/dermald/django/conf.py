"""`settings.DERMALD`, read once into typed values. Opens nothing.

    DERMALD = {"default": {"SOCKET": "/run/dermald/dermald.sock", "TIMEOUT": 20}}

One entry per daemon, by alias; its keys are those of `keys`. Without the setting there is `default`
with the defaults below.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
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
from .keys import KEYS

if TYPE_CHECKING:
    from .._client import Explain

SETTING = "DERMALD"
DEFAULT_ALIAS = "default"
# In the photo's own shape and with the photo in the same size, so that the two lie beside each
# other, and large enough for a screen.
PAGE_OVERLAY = RenderOverlay(format="jpeg", longest_side=800, photo=True)

DEFAULT_TASK_TIMEOUT = 120.0


@dataclass(frozen=True, slots=True)
class DaemonSettings:
    """One entry of DERMALD. The keys are the names of these fields in capitals; `KEYS` tells what
    each means."""

    socket: str | None = None
    bundle: str | None = None
    timeout: float = DEFAULT_TIMEOUT
    explain: Explain = PAGE_OVERLAY
    top_k: int = 0
    # Below the daemon's longest request (20 MiB by default).
    max_bytes: int = 16 * 2**20
    pool_size: int = DEFAULT_POOL_SIZE
    retries: int = DEFAULT_RETRIES
    daemon_users: tuple[str | int, ...] = ()
    cache: str | None = None
    cache_timeout: float | None = 24 * 3600
    cache_overlays: bool = False
    worker_timeout: float | None = None
    metrics_token: str | None = None
    background: str | None = None
    task_queue: str | None = None
    task_timeout: float = DEFAULT_TASK_TIMEOUT
    # With the pauses between them, a quarter of an hour.
    task_attempts: int = 15
    task_overdue: float = 900.0


if {field.name.upper() for field in fields(DaemonSettings)} != KEYS.keys():
    raise AssertionError("DaemonSettings and KEYS differ")


@dataclass(frozen=True, slots=True)
class Mistake:
    """kind: "shape", "key" or "value"."""

    kind: str
    message: str
    hint: str

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()


@cache
def daemon_settings(alias: str = DEFAULT_ALIAS) -> DaemonSettings:
    """The settings of one daemon.

    Raises `ImproperlyConfigured`, naming the entry, for an alias, a key or a value that is wrong.
    """
    entries = raw_entries()
    if not isinstance(entries, Mapping):
        raise ImproperlyConfigured(str(_no_dict(entries)))
    if alias not in entries:
        raise ImproperlyConfigured(f"{SETTING} has no entry {alias!r}. {_nearest(alias, entries)}")
    entry = entries[alias]
    for mistake in _entry_mistakes(alias, entry):
        raise ImproperlyConfigured(str(mistake))
    values = {key.lower(): _plain(value) for key, value in entry.items()}
    return DaemonSettings(**values)  # type: ignore[arg-type]  # KEYS have checked each


def raw_entries() -> object:
    """The setting as it is written."""
    return getattr(settings, SETTING, {DEFAULT_ALIAS: {}})


def mistakes() -> Iterator[Mistake]:
    """All that is wrong with the setting as it is written."""
    entries = raw_entries()
    if not isinstance(entries, Mapping):
        yield _no_dict(entries)
        return
    for alias, entry in entries.items():
        yield from _entry_mistakes(alias, entry)


def sound_aliases() -> list[str]:
    """Those whose entries can be used."""
    entries = raw_entries()
    if not isinstance(entries, Mapping):
        return []
    return [alias for alias in entries if not any(_entry_mistakes(alias, entries[alias]))]


def _no_dict(entries: object) -> Mistake:
    return Mistake("shape", f"{SETTING} is {entries!r}; it is a dict of dicts, by alias.", "")


def _entry_mistakes(alias: object, entry: object) -> Iterator[Mistake]:
    if not isinstance(alias, str):
        yield Mistake("shape", f"{SETTING} has the alias {alias!r}; aliases are texts.", "")
    if not isinstance(entry, Mapping):
        yield Mistake("shape", f"{SETTING}[{alias!r}] is {entry!r}; it is a dict.", "")
        return
    for name, value in entry.items():
        where = f"{SETTING}[{alias!r}][{name!r}]"
        key = KEYS.get(name) if isinstance(name, str) else None
        if key is None:
            yield Mistake("key", f"{where} is unknown.", _nearest(str(name), KEYS))
        elif not key.fits(value):
            shown = "..." if name == "METRICS_TOKEN" else repr(value)
            yield Mistake("value", f"{where} is {shown}; it is {key.form}.", "")


def _plain(value: object) -> object:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return tuple(value) if isinstance(value, list) else value


def _nearest(name: str, known: Mapping[str, object]) -> str:
    near = get_close_matches(name.upper(), [str(key).upper() for key in known], n=1, cutoff=0.5)
    if near:
        original = next(str(key) for key in known if str(key).upper() == near[0])
        return f"Did you mean {original!r}?"
    return f"There is {', '.join(repr(str(key)) for key in known) or 'none'}."


@receiver(setting_changed)
def _forget(*, setting: str, **_: object) -> None:
    if setting == SETTING:
        daemon_settings.cache_clear()
