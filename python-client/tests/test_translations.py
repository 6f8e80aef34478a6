"""Every text of the Django app is translated, and what is shipped is what was translated."""

from __future__ import annotations

import messages
from dermald._translation import translated


def test_catalogues_are_complete_and_compiled() -> None:
    assert [source.parts[-3] for source in messages.sources()] == ["vi", "vi"]
    for source in messages.sources():
        assert list(messages.faults(source)) == []


def test_unknown_text_stays_as_it_is() -> None:
    assert translated("Nobody translated this.") == "Nobody translated this."
