"""One word about the daemon, whatever it does: for pages that must answer in time."""

from __future__ import annotations

import logging

from django.core.exceptions import ImproperlyConfigured

from ..._errors import DeadlineExceeded, DermaldError, Unreachable, UntrustedDaemon
from ..clients import get_async_probe, get_probe
from ..conf import DEFAULT_ALIAS

_log = logging.getLogger("dermald")
# A hosting platform gives a health check five seconds, and the site needs some for itself.
PROBE_SECONDS = 2.0
# Predictions are answered in these, be it a little later.
GOOD = ("ready", "renewing")


def daemon_state(alias: str = DEFAULT_ALIAS) -> str:
    """The daemon's own word ("ready", "starting", "renewing", "failed", "stuck", "stopping"), or
    why there is none: "unreachable", "silent", "untrusted", "incompatible", "misconfigured",
    "unknown"."""
    try:
        return get_probe(alias).health(timeout=PROBE_SECONDS).state
    except (DermaldError, ImproperlyConfigured) as error:
        return _word(error)


async def adaemon_state(alias: str = DEFAULT_ALIAS) -> str:
    try:
        return (await get_async_probe(alias).health(timeout=PROBE_SECONDS)).state
    except (DermaldError, ImproperlyConfigured) as error:
        return _word(error)


def _word(error: DermaldError | ImproperlyConfigured) -> str:
    if isinstance(error, ImproperlyConfigured):
        _log.error("no health: %s", error)
        return "misconfigured"
    if isinstance(error, Unreachable):
        return "unreachable"
    if isinstance(error, DeadlineExceeded):
        return "silent"
    if isinstance(error, UntrustedDaemon):
        _log.error("no health: %s", error.message)
        return "untrusted"
    if error.code == "unsupported_version":
        _log.error("no health: %s", error.message)
        return "incompatible"
    return "unknown"
