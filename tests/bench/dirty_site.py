"""What gunicorn loads for the benchmark: an application for its dirty worker that does no work,
and the site that calls it. Knows nothing of dermald.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

from calls import time_calls
from gunicorn.dirty import DirtyApp, get_dirty_client  # type: ignore[import-untyped]
from gunicorn.dirty.errors import DirtyError  # type: ignore[import-untyped]

StartResponse = Callable[[str, list[tuple[str, str]]], object]


class Length(DirtyApp):  # type: ignore[misc]  # it has no annotations
    """Answers with the length of what it was sent: all transport, no work."""

    def measure(self, body: bytes) -> int:
        return len(body)


def application(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """Times `count` calls with the posted body, `pause` seconds apart; answers JSON.

    503 when the dirty arbiter refuses: its worker may be on its way.
    """
    query = parse_qs(environ["QUERY_STRING"])
    body = environ["wsgi.input"].read()
    client = get_dirty_client()

    def call() -> float:
        length = client.execute("dirty_site:Length", "measure", body)
        if length != len(body):
            raise RuntimeError(f"{len(body)} bytes were sent and {length!r} came back")
        return 0.0

    try:
        took = time_calls(call, int(query["count"][0]), float(query["pause"][0]))
    except DirtyError as error:
        return _answer(start_response, "503 Service Unavailable", {"error": str(error)})
    return _answer(start_response, "200 OK", {"milliseconds": took})


def _answer(start_response: StartResponse, status: str, value: object) -> Iterable[bytes]:
    start_response(status, [("Content-Type", "application/json")])
    return [json.dumps(value).encode()]
