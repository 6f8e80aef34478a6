"""Client of dermald, a daemon that classifies pictures and explains its answers with Grad-CAM.

    import dermald

    client = dermald.Client()
    answer = client.predict("photo.jpg", explain="overlay")
    print(answer.labels[0].title, answer.labels[0].probability)

`Client` blocks, `AsyncClient` is for asyncio. Results are frozen dataclasses; everything that can
go wrong with the daemon is a `DermaldError`. For a Django site see `dermald.django`. Importing
this package opens nothing.
"""

from __future__ import annotations

from ._client import Client
from ._errors import (
    Busy,
    DaemonError,
    DeadlineExceeded,
    DermaldError,
    GoingAway,
    OperatorError,
    PictureError,
    ProtocolError,
    RequestError,
    Unreachable,
    UntrustedDaemon,
)
from ._version import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._aio import AsyncClient
    from ._results import (
        Health,
        Heatmap,
        Label,
        Model,
        Overlay,
        Prediction,
        RenderOverlay,
        Timings,
    )

__version__ = VERSION

__all__ = [
    "AsyncClient",
    "Busy",
    "Client",
    "DaemonError",
    "DeadlineExceeded",
    "DermaldError",
    "GoingAway",
    "Health",
    "Heatmap",
    "Label",
    "Model",
    "OperatorError",
    "Overlay",
    "PictureError",
    "Prediction",
    "ProtocolError",
    "RenderOverlay",
    "RequestError",
    "Timings",
    "Unreachable",
    "UntrustedDaemon",
    "__version__",
]


# What `import dermald` leaves for its first use. asyncio alone is 43 ms and 8 MB, dataclasses
# (through inspect) 2.7 MB; a process that only imports us need not pay for either.
_LATER = {
    "AsyncClient": "_aio",
    "Health": "_results",
    "Heatmap": "_results",
    "Label": "_results",
    "Model": "_results",
    "Overlay": "_results",
    "Prediction": "_results",
    "RenderOverlay": "_results",
    "Timings": "_results",
}


def __getattr__(name: str) -> object:
    module = _LATER.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f".{module}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
