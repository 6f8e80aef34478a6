"""The model that a fake daemon says it has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from .._results import Label, Model

_TITLES: dict[str, dict[str, str]] = {
    "spot": {"en": "Spot", "vi": "Đốm"},
    "ring": {"en": "Ring", "vi": "Vòng tròn"},
    "clear": {"en": "Clear skin", "vi": "Da lành"},
}


@dataclass(frozen=True, slots=True)
class FakeModel:
    """labels: the names in the model's order, each with its titles by language. notice: by
    language. side: of the input, in pixels."""

    name: str = "fake"
    version: str = "1"
    labels: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: _TITLES)
    notice: Mapping[str, str] = field(default_factory=dict)
    side: int = 300
    explains: bool = True

    @property
    def digest(self) -> str:
        """Another one for another model."""
        said = repr((self.name, self.version, list(self.labels), self.side))
        return sha256(said.encode()).hexdigest()

    def identity(self) -> Model:
        return Model(self.name, self.version, self.digest)

    def ranked(self, shares: Mapping[str, float], language: str | None) -> tuple[Label, ...]:
        """Labels for shares, most probable first; a name that the model lacks comes behind its
        own."""
        names = [*self.labels, *(name for name in shares if name not in self.labels)]
        ranked = sorted(shares.items(), key=lambda item: -item[1])
        return tuple(
            Label(names.index(name), name, self.title(name, language), share)
            for name, share in ranked
        )

    def title(self, name: str, language: str | None) -> str:
        return self.labels.get(name, {}).get(language or "", name)

    def status(self, *, loaded: bool) -> dict[str, object]:
        """As the daemon's status has it."""
        return {
            "name": self.name,
            "version": self.version,
            "digest": self.digest,
            "description": "A model of a test.",
            "explains": self.explains,
            "input": {"width": self.side, "height": self.side},
            "labels": [{"name": name, "titles": {**t}} for name, t in self.labels.items()],
            "loaded": loaded,
            "notice": {**self.notice},
        }
