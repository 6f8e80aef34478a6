"""A site of one page: what the daemon says of the demonstration's photo."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import dermald

PHOTO = Path("/var/lib/dermald/model/sample.jpg")
CLIENT = dermald.Client()


def application(
    _environ: object, start: Callable[[str, list[tuple[str, str]]], object]
) -> Iterable[bytes]:
    """The most likely label."""
    label = CLIENT.predict(PHOTO).labels[0].name
    start("200 OK", [("Content-Type", "text/plain")])
    return [label.encode()]
