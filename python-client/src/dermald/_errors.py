"""What can go wrong, by whose fault it is:

    DermaldError
      RequestError            the caller's fault: the same request fails again
        PictureError          the picture is empty, broken, too large or of an unknown format
      DaemonError             the daemon's fault: load or a bug
        Busy                  its queue is full
        DeadlineExceeded      no answer in time
        GoingAway             it stops; nothing was run
      OperatorError           the set-up of the host: runtime or model
      Unreachable             nobody listens, or the connection was lost before the answer
      UntrustedDaemon         another user's process listens where the daemon should
      ProtocolError           the other side does not speak the protocol

Mirrors the error codes of docs/protocol.md.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._wire import replies


class DermaldError(Exception):
    """Base of all errors of this package. `str()` of one is a sentence for a log.

    code: stable; the daemon's own (docs/protocol.md), or one of "unreachable", "protocol" and
        "untrusted_daemon".
    fault: "caller", "daemon" or "operator".
    retryable: the same request may succeed later.
    retry_after: in seconds, when the daemon said when; else None.
    """

    code = "internal"
    fault = "daemon"
    retryable = False
    retry_after: float | None = None

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        fault: str | None = None,
        retryable: bool | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = type(self).code if code is None else code
        self.fault = type(self).fault if fault is None else fault
        self.retryable = type(self).retryable if retryable is None else retryable
        self.retry_after = retry_after

    @property
    def message(self) -> str:
        """The sentence."""
        return str(self.args[0])


class RequestError(DermaldError):
    """The request cannot be answered as it is."""

    code = "invalid_request"
    fault = "caller"


class PictureError(RequestError):
    """The picture cannot be classified: choose another one."""

    code = "picture_broken"


class DaemonError(DermaldError):
    """The daemon could not answer, through no fault of the caller."""


class Busy(DaemonError):
    """The queue is full, or too many are connected; `retry_after` may say when to come back."""

    code = "busy"
    retryable = True


class DeadlineExceeded(DaemonError):
    """The answer did not come in time."""

    code = "deadline_exceeded"


class GoingAway(DaemonError):
    """The daemon stops. Nothing was run: the next daemon can be asked the same."""

    code = "going_away"
    retryable = True


class OperatorError(DermaldError):
    """The host is not set up for predictions: ONNX Runtime or the model bundle is at fault."""

    code = "runtime_unavailable"
    fault = "operator"


class Unreachable(DermaldError):
    """Nobody listens at the socket, or the connection was lost before the answer came."""

    code = "unreachable"
    fault = "operator"
    retryable = True


class UntrustedDaemon(DermaldError):
    """A process of an unexpected user listens at the socket. Nothing was sent to it."""

    code = "untrusted_daemon"
    fault = "operator"


class ProtocolError(DermaldError):
    """The other side broke the protocol; client and daemon may be of different versions."""

    code = "protocol"


_BY_CODE: dict[str, type[DermaldError]] = {
    "frame_too_large": PictureError,
    "picture_empty": PictureError,
    "picture_unsupported": PictureError,
    "picture_broken": PictureError,
    "picture_too_large": PictureError,
    "busy": Busy,
    "too_many_connections": Busy,
    "deadline_exceeded": DeadlineExceeded,
    "going_away": GoingAway,
}
_BY_FAULT: dict[str, type[DermaldError]] = {
    "caller": RequestError,
    "daemon": DaemonError,
    "operator": OperatorError,
}


def from_reply(reply: replies.Error) -> DermaldError:
    """The exception for an Error of the daemon; a code that is unknown here goes by its fault."""
    kind = _BY_CODE.get(reply.code) or _BY_FAULT[reply.fault]
    return kind(
        reply.message,
        code=reply.code,
        fault=reply.fault,
        retryable=reply.retryable,
        retry_after=None if reply.retry_after_ms is None else reply.retry_after_ms / 1000,
    )


def picture_too_long(limit_bytes: int) -> PictureError:
    """A picture that the daemon would refuse by its length alone; it is not sent."""
    return PictureError(
        f"The picture is larger than the {limit_bytes / 2**20:.1f} MiB that the daemon takes.",
        code="picture_too_large",
    )
