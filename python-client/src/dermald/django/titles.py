"""The classes' names for people, as the daemon's model has them in its manifest.

For sites that store the model's own names and show them later.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.dispatch import receiver

from .._errors import DermaldError
from .clients import get_probe
from .conf import DEFAULT_ALIAS, SETTING

# A list of a hundred results asks once, and a new model's names are there soon.
_REMEMBERED_SECONDS = 30.0
_PROBE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class _Known:
    until: float
    titles: Mapping[str, Mapping[str, str]]


_known: dict[str, _Known] = {}


def class_titles(language: str | None, alias: str = DEFAULT_ALIAS) -> dict[str, str]:
    """From the model's names to those in `language` (such as `vi` or `pt-br`), where it has them.

    Empty while the daemon does not answer.
    """
    known = _known.get(alias)
    if known is None or time.monotonic() >= known.until:
        known = _Known(time.monotonic() + _REMEMBERED_SECONDS, _ask(alias))
        _known[alias] = known
    wanted = (language or "").lower()
    return {
        name: title
        for name, titles in known.titles.items()
        if (title := titles.get(wanted) or titles.get(wanted.split("-")[0]))
    }


def _ask(alias: str) -> dict[str, Mapping[str, str]]:
    try:
        model = get_probe(alias).status(timeout=_PROBE_SECONDS).get("model")
    except (DermaldError, ImproperlyConfigured):
        return {}
    labels = model.get("labels") if isinstance(model, dict) else None
    return {label["name"]: label.get("titles") or {} for label in labels or ()}


@receiver(setting_changed)
def _forget(*, setting: str, **_: object) -> None:
    if setting == SETTING:
        _known.clear()
