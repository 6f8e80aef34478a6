"""A daemon whose script plays each connection byte by byte, where `dermald.testing` is too polite.

Each connection is handled by the next step of the script, on one thread, in order.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dermald._results import Label, Model, Timings
from dermald._wire import replies, requests
from dermald._wire.replies import Reply
from dermald.testing._peer import Peer as Plain

FRAME_BYTES = 2**20
LIMITS = replies.Limits(FRAME_BYTES, 16, 2**25, 8, 60_000)
# Longer than any test takes; it only ends a test that hangs.
PATIENCE = 20


class Peer(Plain):
    """One client; what it should have done is asserted."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock, PATIENCE)

    def welcome(self, limits: replies.Limits = LIMITS, version: int = 1) -> bool:
        return super().welcome(limits, version)

    def read_predict(self) -> requests.Predict:
        request = self.read()
        assert isinstance(request, requests.Predict)
        return request

    def wait_until_left(self) -> None:
        """Returns when the client has closed its end."""
        try:
            while self.socket.recv(2**16):
                pass
        except ConnectionResetError:
            pass


Step = Callable[[Peer], None]


class FakeDaemon:
    """Listens until its script is over. `errors` holds what went wrong in it."""

    def __init__(self, path: Path, script: list[Step]) -> None:
        self.path = path
        self.errors: list[BaseException] = []
        self.served = 0
        self._script = script
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen()
        self._listener.settimeout(PATIENCE)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def join(self) -> None:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the script is not over"

    def close(self) -> None:
        self._listener.close()

    def _run(self) -> None:
        try:
            for step in self._script:
                client, _ = self._listener.accept()
                with client:
                    step(Peer(client))
                self.served += 1
        except BaseException as error:  # noqa: BLE001  # told to the test, on its own thread
            self.errors.append(error)


@contextmanager
def fake_daemon(path: Path, *script: Step) -> Iterator[FakeDaemon]:
    """Plays the script, and checks at the end that it was played without an error."""
    daemon = FakeDaemon(path, list(script))
    try:
        yield daemon
        daemon.join()
        assert daemon.errors == []
    finally:
        daemon.close()


def prediction(request_id: int, name: str = "spot", *, notice: str | None = None) -> Reply:
    extensions = () if notice is None else (("notice", notice.encode()),)
    return replies.Prediction(
        id=request_id,
        model=Model("fake", "1", "0" * 64),
        labels=(Label(0, name, name, 1.0),),
        explained=None,
        heatmap=None,
        overlay=None,
        timings=Timings(1, 2, 3, 4, 5),
        extensions=extensions,
    )


def error(
    request_id: int | None,
    code: str,
    fault: str = "daemon",
    *,
    retryable: bool = False,
    retry_after_ms: int | None = None,
) -> Reply:
    return replies.Error(
        request_id, code, fault, retryable, retry_after_ms, f"A sentence about {code}."
    )


def serve_predictions(peer: Peer) -> None:
    """Answers each picture with its own bytes as the label, until the client leaves."""
    peer.welcome()
    try:
        while True:
            request = peer.read_predict()
            peer.send(prediction(request.id, bytes(request.picture).decode()))
    except EOFError:
        pass
