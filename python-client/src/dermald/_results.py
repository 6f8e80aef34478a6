"""What a caller gets and what it can ask for, as plain values. Knows no socket and no bytes."""

from __future__ import annotations

from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# In the order of their numbers on the wire.
FORMATS = ("png", "jpeg", "webp")
COLOUR_MAPS = ("jet", "turbo", "viridis", "inferno", "magma")
U32_MAX = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class RenderOverlay:
    """How the daemon draws the heatmap over the photo.

    format: "png", "jpeg" or "webp".
    longest_side: in pixels; 0 for the model's input size exactly, without the photo's aspect
        ratio.
    colour_map: "jet", "turbo", "viridis", "inferno" or "magma".
    alpha: from 0 (photo only) to 1 (heatmap only).
    photo: whether the photo is wanted as well, as it lies under the heatmap: upright, at the same
        size, as JPEG and without metadata. A page then need not send a large upload back.

    Raises `ValueError` for anything else.
    """

    format: str = "png"
    longest_side: int = 0
    colour_map: str = "jet"
    alpha: float = 0.4
    photo: bool = False

    def __post_init__(self) -> None:
        _one_of("format", self.format, FORMATS)
        _one_of("colour_map", self.colour_map, COLOUR_MAPS)
        if not 0 <= self.longest_side <= U32_MAX:
            raise ValueError(f"longest_side is {self.longest_side}; it counts pixels, 0 or more")
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha is {self.alpha}; it goes from 0 to 1")


@dataclass(frozen=True, slots=True)
class Label:
    """One class of the model.

    index: its place in the model's output.
    name: the model's own name for it.
    title: its name in the language that was asked for, else the same as `name`.
    probability: from 0 to 1.
    """

    index: int
    name: str
    title: str
    probability: float


@dataclass(frozen=True, slots=True)
class Heatmap:
    """Where the model looked: Grad-CAM at the resolution of its target layer.

    values: `height * width` numbers from 0 to 1, row by row from the top, over the upright photo.
    """

    height: int
    width: int
    values: tuple[float, ...]

    def rows(self) -> Iterator[tuple[float, ...]]:
        """The rows from top to bottom, `width` numbers each."""
        for start in range(0, self.height * self.width, self.width or 1):
            yield self.values[start : start + self.width]


@dataclass(frozen=True, slots=True)
class Overlay:
    """The photo with the heatmap over it, as a picture file.

    format: "png", "jpeg" or "webp". width, height: in pixels. data: the file.
    """

    format: str
    width: int
    height: int
    data: bytes

    @property
    def media_type(self) -> str:
        """The file's type for HTTP, such as `image/png`."""
        return f"image/{self.format}"


@dataclass(frozen=True, slots=True)
class Model:
    """Which model answered. digest: SHA-256 of the bundle's manifest, 64 hexadecimal digits."""

    name: str
    version: str
    digest: str


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the daemon spent its time, in microseconds.

    queue_us: waiting. load_us: loading runtime and model, 0 when they were loaded. decode_us:
    decoding and resizing the picture. inference_us: in ONNX Runtime. render_us: drawing the
    overlay.
    """

    queue_us: int
    load_us: int
    decode_us: int
    inference_us: int
    render_us: int


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer about one picture.

    labels: most probable first, at most `top_k`.
    explained: index of the class that heatmap or overlay explain; None without one.
    heatmap: with `explain="values"`. overlay: with `explain="overlay"` or a `RenderOverlay`.
    notice: what the model's maker wants shown with every answer.
    explanation: why the explanation that was asked for is missing.
    photo: with a `RenderOverlay` that asks for it: what lies under the heatmap, as JPEG.
    """

    labels: tuple[Label, ...]
    model: Model
    explained: int | None
    heatmap: Heatmap | None
    overlay: Overlay | None
    timings: Timings
    notice: str | None
    explanation: str | None
    photo: bytes | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the daemon can predict.

    state: "ready" (the model is loaded, or will be at the first request), "starting", "renewing"
    (it starts afresh; requests wait a moment), "failed", "stuck" (it hangs) or "stopping".
    message: why.
    model: digest of the model that answers, as in `Model`. version: the daemon's. Both are None
    from a daemon that is older than they are.
    """

    state: str
    message: str
    model: str | None = None
    version: str | None = None

    @property
    def ready(self) -> bool:
        """Whether predictions are answered now."""
        return self.state == "ready"


def _one_of(field: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{field} is {value!r}; it is one of {', '.join(allowed)}")
