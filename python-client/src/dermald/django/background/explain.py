"""`explain` as JSON and back. Knows no row."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..._results import RenderOverlay

if TYPE_CHECKING:
    from ..._client import Explain


def explain_as_json(explain: Explain) -> str | dict[str, object] | None:
    return asdict(explain) if isinstance(explain, RenderOverlay) else explain


def explain_of(value: Any) -> Explain:  # noqa: ANN401  # what JSON holds
    return RenderOverlay(**value) if isinstance(value, dict) else value
