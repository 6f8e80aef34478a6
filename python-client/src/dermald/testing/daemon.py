"""The fake daemon: a real socket, a thread for each connection, and a script.

Health, status and metrics are answered at once, as the real one does; pictures by the next step of
the script, and by `always` once the script is over.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from .._dialogue import PROTOCOL_VERSION
from .._wire import replies, requests
from .._wire.replies import encode_reply
from .._wire.values import WireError
from ._answers import Asked, answer, refusal, too_old
from ._peer import Peer
from .model import FakeModel
from .steps import Answer, Cut, GoAway, Hang, Nonsense, Refusal, Step

if TYPE_CHECKING:
    from types import TracebackType

    from django.test import override_settings

# The daemon's, whose place this takes.
_VERSION = "0"
# It only ends a thread whose client was forgotten.
_PATIENCE = 60.0


class FakeDaemon:
    """Listens at `path` from its making to `close`, or as a context manager.

    state: what health says, such as "ready", "starting" or "renewing"; may be changed at any time.
    asked: the pictures so far. status_more: goes into the status besides the model. metrics: the
    OpenMetrics text. version: of the protocol; one that the client does not speak refuses it.
    """

    def __init__(
        self, path: str | os.PathLike[str] | None = None, *, model: FakeModel | None = None
    ) -> None:
        self._folder = None if path is not None else _private_folder()
        self.path = Path(path) if path is not None else Path(str(self._folder)) / "dermald.sock"
        self.model = model or FakeModel()
        self.state = "ready"
        self.message = "a daemon of a test"
        self.version = PROTOCOL_VERSION
        self.status_more: dict[str, object] = {}
        self.metrics = "# EOF\n"
        self.asked: list[Asked] = []
        self.always: Step = Answer()
        self._script: deque[Step] = deque()
        self._lock = threading.Lock()
        self._clients: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()
        self._listener: socket.socket | None = None
        self.start()

    def then(self, *steps: Step) -> Self:
        """What to do with the next pictures, one step for each."""
        with self._lock:
            self._script.extend(steps)
        return self

    def override_settings(self, **entry: object) -> override_settings:
        """Django's `override_settings` with this daemon as `default`; `entry` are further keys."""
        from django.test import override_settings

        return override_settings(DERMALD={"default": {"SOCKET": str(self.path), **entry}})

    def start(self) -> None:
        """Listens (again, after `stop`)."""
        if self._listener is not None:
            return
        self._stopping.clear()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(self.path))
        self._listener.listen()
        self._spawn(self._accept, self._listener)

    def stop(self) -> None:
        """Leaves as if killed: the socket is gone, connections end."""
        if self._listener is None:
            return
        self._stopping.set()
        listener, self._listener = self._listener, None
        # Wakes the thread that accepts; closing alone would not.
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        self.path.unlink(missing_ok=True)
        with self._lock:
            clients, threads = list(self._clients), self._threads[:]
            self._threads.clear()
        for client in clients:
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(_PATIENCE)

    def close(self) -> None:
        self.stop()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _spawn(self, run: Any, sock: socket.socket) -> None:  # noqa: ANN401  # a method
        thread = threading.Thread(target=run, args=(sock,), daemon=True)
        with self._lock:
            self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                self._clients.add(client)
            self._spawn(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        peer = Peer(client, _PATIENCE)
        try:
            with client, suppress(EOFError, OSError, WireError):
                if not peer.welcome(version=self.version):
                    peer.send(too_old(self.version))
                    return
                while self._reply(peer, peer.read()):
                    pass
        finally:
            with self._lock:
                self._clients.discard(client)

    def _reply(self, peer: Peer, request: requests.Request) -> bool:
        """Whether the connection goes on."""
        if isinstance(request, requests.Health):
            more = (("model", self.model.digest.encode()), ("version", _VERSION.encode()))
            peer.send(replies.Health(request.id, self.state, self.message, more))
        elif isinstance(request, requests.Status):
            peer.send(replies.Status(request.id, json.dumps(self._status())))
        elif isinstance(request, requests.Metrics):
            peer.send(replies.Metrics(request.id, self.metrics))
        elif isinstance(request, requests.Renew):
            peer.send(replies.Renewed(request.id, 0))
        elif isinstance(request, requests.Predict):
            return self._predict(peer, request)
        return True

    def _predict(self, peer: Peer, request: requests.Predict) -> bool:
        with self._lock:
            self.asked.append(Asked.in_request(request))
            step = self._script.popleft() if self._script else self.always
        if isinstance(step, Hang):
            self._wait_until_left(peer)
            return False
        if step.delay and self._stopping.wait(step.delay):
            return False
        if isinstance(step, Answer):
            peer.send(answer(self.model, request, step))
            return True
        if isinstance(step, Refusal):
            peer.send(refusal(request.id, step))
            return True
        self._misbehave(peer, request, step)
        return False

    def _misbehave(
        self, peer: Peer, request: requests.Predict, step: Cut | GoAway | Nonsense
    ) -> None:
        if isinstance(step, GoAway):
            # At once: a client that has read only the first would use the connection again.
            peer.send(
                refusal(request.id, Refusal("going_away")),
                replies.GoingAway("stopping", "the daemon of a test stops"),
            )
        elif isinstance(step, Cut):
            whole = b"".join(encode_reply(answer(self.model, request, Answer())))
            peer.socket.sendall(whole[: len(whole) // 2])
        else:
            peer.socket.sendall(b"\0\0\0\x04HTTP")

    def _status(self) -> dict[str, object]:
        return {
            "daemon": {"version": _VERSION, "pid": os.getpid()},
            "state": self.state,
            "message": self.message,
            "model": self.model.status(loaded=self.state == "ready"),
            "outcomes": {"ok": len(self.asked)},
            **self.status_more,
        }

    @staticmethod
    def _wait_until_left(peer: Peer) -> None:
        while peer.socket.recv(2**16):
            pass


def _private_folder() -> str:
    # A Unix socket's path may have 107 bytes: not below a test's own long folder.
    shared = "/dev/shm"
    return tempfile.mkdtemp(prefix="dermald-", dir=shared if os.access(shared, os.W_OK) else None)
