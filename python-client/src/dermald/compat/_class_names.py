"""`CLASS_NAMES`: the labels of the daemon's model, also for a site that imports them before the
daemon runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import overload

from ._daemon import model_facts


def class_names() -> Sequence[str]:
    """A list, when the daemon answers; else a sequence that asks again whenever it is read."""
    return _names_in(model_facts()) or LateClassNames()


class LateClassNames(Sequence[str]):
    """Empty until the daemon answers.

    A site starts together with its daemon, and `from AI_detection import CLASS_NAMES` must not
    depend on who is first.
    """

    def __init__(self) -> None:
        self._names: list[str] = []

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        return self._known()[index]

    def __len__(self) -> int:
        return len(self._known())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, LateClassNames):
            return self._known() == other._known()
        return self._known() == other

    def __hash__(self) -> int:
        raise TypeError("class names are compared as a list, and not hashable either")

    def __repr__(self) -> str:
        return repr(self._known())

    def _known(self) -> list[str]:
        if not self._names:
            self._names = _names_in(model_facts())
        return self._names


def _names_in(facts: Mapping[str, object] | None) -> list[str]:
    labels = (facts or {}).get("labels")
    if not isinstance(labels, list):
        return []
    return [str(label["name"]) for label in labels if isinstance(label, dict)]
