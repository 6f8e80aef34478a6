"""The blocking client: one call, one deadline, retries where they are safe."""

from __future__ import annotations

import os
import time

from ._errors import DermaldError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType
    from typing import Literal, Self, TypeAlias, TypeVar

    from ._deadline import Deadline
    from ._dialogue import MakeRequest
    from ._picture import Image
    from ._results import Health, Prediction, RenderOverlay
    from ._wire import replies

    T = TypeVar("T")
    Explain: TypeAlias = Literal["values", "overlay"] | RenderOverlay | None
    Priority: TypeAlias = Literal["interactive", "batch"]

DEFAULT_SOCKET = "/dev/shm/dermald/dermald.sock"
DEFAULT_TIMEOUT = 30.0
# gunicorn's threads per worker are few; more than this many predictions at once from one process
# only wait in the daemon's queue.
DEFAULT_POOL_SIZE = 8
# A daemon that was killed is back within a tenth of a second, but may be killed again: of 100 kills
# half a second apart, with 6 callers, two calls were met three times in a row.
DEFAULT_RETRIES = 3


def socket_path(socket: str | os.PathLike[str] | None) -> str:
    """The socket to use: the given one, else $DERMALD_SOCKET, else the daemon's default."""
    if socket is not None:
        return os.fspath(socket)
    return os.environ.get("DERMALD_SOCKET") or DEFAULT_SOCKET


def check_counts(pool_size: int, retries: int) -> None:
    """Raises `ValueError` for a pool without connections or a negative number of retries."""
    if pool_size < 1:
        raise ValueError(f"pool_size is {pool_size}; it is at least 1")
    if retries < 0:
        raise ValueError(f"retries is {retries}; it is at least 0")


class Client:
    """Asks a dermald daemon on this host.

    socket: path of its Unix socket; None for $DERMALD_SOCKET, else
        /dev/shm/dermald/dermald.sock.
    timeout: seconds that a call may take in all, where the call names none.
    pool_size: connections that one process holds at most; further threads wait for one.
    retries: further attempts when the daemon asks to come back (busy, stopping), and as many when
        it cannot be reached or the connection is lost. All within the call's timeout.
    daemon_users: names or numbers of users, besides this process's own and root, that the daemon
        may run as. Anybody else's process at the socket is sent nothing.

    Safe to share between threads, and to create before a fork: connections are opened at the
    first call, and again in each process. Every call may raise a `DermaldError`.
    """

    def __init__(
        self,
        socket: str | os.PathLike[str] | None = None,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        pool_size: int = DEFAULT_POOL_SIZE,
        retries: int = DEFAULT_RETRIES,
        daemon_users: Iterable[str | int] = (),
    ) -> None:
        # The machinery is loaded here, not by `import dermald`: a management command that never
        # predicts does not pay for it, and gunicorn --preload still shares it between workers.
        from . import _ask, _deadline
        from ._pool import Pool
        from ._socket import uids_of

        check_counts(pool_size, retries)
        self._ask = _ask
        self._deadlines = _deadline
        self._timeout = _deadline.Deadline(timeout).timeout
        self._retries = retries
        self._pool = Pool(socket_path(socket), uids_of(daemon_users), pool_size)

    def predict(
        self,
        image: Image,
        *,
        top_k: int = 0,
        target: int | None = None,
        explain: Explain = None,
        language: str | None = None,
        priority: Priority = "interactive",
        timeout: float | None = None,
        traceparent: str | None = None,
    ) -> Prediction:
        """Classifies a picture, and explains the answer if asked to.

        image: the picture file as bytes, a path, an open binary file (read from where it stands)
            or Django's `UploadedFile`.
        top_k: how many classes to return; 0 for all.
        target: index of the class to explain; None for the most probable one.
        explain: "values" for the heatmap as numbers, "overlay" for a PNG of the model's input
            size, a `RenderOverlay` for any other picture.
        language: of titles and notice, such as "vi"; None for the model's own names.
        priority: "interactive", or "batch" for work that nobody waits for.
        timeout: seconds for everything, retries included; None for the client's own.
        traceparent: W3C trace context for the daemon's log.

        Raises `PictureError` when the picture cannot be classified, another `DermaldError` for
        all else that daemon or connection refuse, `OSError` when the file cannot be read,
        `ValueError` or `TypeError` for an argument that makes no sense.
        """
        options = self._ask.PredictOptions(top_k, target, explain, language, priority, traceparent)
        deadline = self._deadline(timeout)
        make = self._ask.make_predict(image, options, deadline)
        return self._call(make, self._ask.read_prediction, deadline)

    def health(self, *, timeout: float | None = None) -> Health:
        """Whether the daemon can predict. Answered at once, however long its queue is."""
        return self._call(self._ask.make_health, self._ask.read_health, self._deadline(timeout))

    def status(self, *, timeout: float | None = None) -> dict[str, object]:
        """What the daemon says about itself; keys are only ever added."""
        return self._call(self._ask.make_status, self._ask.read_status, self._deadline(timeout))

    def metrics(self, *, timeout: float | None = None) -> str:
        """The daemon's counters as OpenMetrics text."""
        return self._call(self._ask.make_metrics, self._ask.read_metrics, self._deadline(timeout))

    def renew(self, *, timeout: float | None = None) -> float:
        """Has the daemon replace itself by a fresh process image; no request of anybody is lost.

        For root and the user that the daemon runs as; others get a `RequestError` (`not_allowed`).
        Returns the seconds for which the daemon read nothing from its clients.
        """
        return self._call(self._ask.make_renew, self._ask.read_renewed, self._deadline(timeout))

    def close(self) -> None:
        """Closes the connections. A later call raises `RuntimeError`."""
        self._pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _deadline(self, timeout: float | None) -> Deadline:
        return self._deadlines.Deadline(self._timeout if timeout is None else timeout)

    def _call(
        self, make: MakeRequest, read: Callable[[replies.Answer], T], deadline: Deadline
    ) -> T:
        retries = self._deadlines.Retries(self._retries, deadline)
        while True:
            try:
                return read(self._attempt(make, deadline))
            except DermaldError as error:
                pause = retries.pause(error)
                if pause is None:
                    raise
            time.sleep(pause)

    def _attempt(self, make: MakeRequest, deadline: Deadline) -> replies.Answer:
        connection = self._pool.take(deadline)
        try:
            return connection.call(make, deadline)
        finally:
            self._pool.give(connection)
