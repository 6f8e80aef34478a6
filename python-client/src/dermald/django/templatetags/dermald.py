"""Filters for templates: a class's title, and the status page's figures and words.

{% load dermald %}
{{ result.class|class_title }}
"""

from __future__ import annotations

from typing import Any

from django import template
from django.utils.formats import number_format
from django.utils.translation import get_language

from ..._translation import translated
from ..serving import SERVE, knows_a_bundle
from ..titles import class_titles

register = template.Library()


def _(text: str) -> str:
    """Marks a text for the catalogue; it is translated when it is shown."""
    return text


_STATES = {
    "ready": _("ready"),
    "starting": _("starting"),
    "renewing": _("renewing itself"),
    "failed": _("failed"),
    "stuck": _("stuck"),
    "stopping": _("stopping"),
}
_STAGES = {
    "queue": _("waiting"),
    "load": _("loading the model"),
    "decode": _("reading the photo"),
    "inference": _("model"),
    "render": _("drawing"),
}
_UNITS = ((_("d"), 86400), (_("h"), 3600), (_("min"), 60), (_("s"), 1))
_REASONS = {
    "memory": _("its memory passed the threshold"),
    "idle": _("nobody asked for a while"),
    "requests": _("it had answered as many as it may"),
    "reload": _("a new configuration or model"),
    "asked": _("somebody asked for it"),
    "hang": _("it hung over a picture"),
}


@register.simple_tag
def serve_command() -> str:
    """What a developer types for a daemon. It runs as it stands where the model is known."""
    return SERVE if knows_a_bundle() else f"{SERVE} --bundle FOLDER"


@register.filter
def class_title(name: str) -> str:
    """A class of the daemon's model in the visitor's language; the name itself where the model or
    the daemon has no word for it."""
    return class_titles(get_language()).get(name, name)


@register.filter
def state_word(state: str) -> str:
    return translated(_STATES.get(state, state))


@register.filter
def stage_words(stage: str) -> str:
    return translated(_STAGES.get(stage, stage))


@register.filter
def reason_words(reason: str) -> str:
    return translated(_REASONS.get(reason, reason))


@register.filter
def mib(count: Any) -> str:  # noqa: ANN401  # whatever a template holds
    return f"{number_format(int(count) / 2**20, 1 if int(count) < 100 * 2**20 else 0)} MiB"


@register.filter
def milliseconds(value: float) -> str:
    """Three digits: nobody reads more of an estimate."""
    decimals = 2 if value < 1 else 1 if value < 100 else 0
    return f"{number_format(value, decimals)} ms"


@register.filter
def duration(seconds: float) -> str:
    """The two largest units, such as `2 h 5 min`."""
    left, parts = round(seconds), []
    for unit, size in _UNITS:
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {translated(unit)}")
    return " ".join(parts[:2]) or f"0 {translated('s')}"
