"""The few pictures that a bundle brings to be tried on, and what it must answer.

The pictures are drawn, never anybody's. `dermald prepare` runs them on the machine that will
serve: a CPU that computes something else is found before the first visitor.
"""

import io
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dermald_model.lesions import LABELS, draw

FILE_NAME = "selftest.toml"
PICTURES = 4
_SEED = 512

# What float32 sums in another order may change, with room: measured at most 2e-6 and 1e-5.
FLOAT_TOLERANCES = (1e-3, 1e-2)
# int8 rounds: a value at the border of two steps falls to either side on another CPU.
INT8_TOLERANCES = (5e-2, 5e-2)


@dataclass(frozen=True)
class Case:
    """One picture, uint8 [height, width, 3], the class to explain, and the answer."""

    pixels: NDArray[np.uint8]
    target: int
    probabilities: NDArray[np.float32]
    heatmap: NDArray[np.float32] | None


def pictures(width: int, height: int) -> list[NDArray[np.uint8]]:
    """Drawn skin of this size: the same at every call. Few colours, so that the files are small."""
    drawn = []
    for number in range(PICTURES):
        rng = np.random.default_rng([_SEED, number])
        # Drawn at a size that the brushes are made for.
        picture = draw(rng, number % len(LABELS), 320, 320)
        small = Image.fromarray(picture.pixels).resize((width, height), Image.Resampling.LANCZOS)
        drawn.append(np.asarray(small.quantize(32, dither=Image.Dither.NONE).convert("RGB")))
    return drawn


def write(bundle: Path, cases: list[Case], tolerances: tuple[float, float]) -> list[str]:
    """Writes the cases into a bundle's folder; returns the names of the files."""
    names = [FILE_NAME]
    lines = [
        "schema = 1",
        f"probability_tolerance = {tolerances[0]}",
        f"heatmap_tolerance = {tolerances[1]}",
    ]
    for number, case in enumerate(cases, 1):
        name = f"selftest-{number}.png"
        (bundle / name).write_bytes(_png(case.pixels))
        names.append(name)
        lines += ["", "[[cases]]", f'picture = "{name}"', f"target = {case.target}"]
        lines.append(f"probabilities = {_numbers(case.probabilities)}")
        if case.heatmap is not None:
            lines.append(f"heatmap = {_numbers(case.heatmap.ravel())}")
    (bundle / FILE_NAME).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return names


def read(bundle: Path) -> list[dict[str, Any]]:
    """The cases of a bundle as they stand in its file; none when it has no self-test."""
    path = bundle / FILE_NAME
    if not path.exists():
        return []
    cases: list[dict[str, Any]] = tomllib.loads(path.read_text(encoding="utf-8"))["cases"]
    return cases


def _png(pixels: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    # A palette: the same pixels in a third of the bytes.
    Image.fromarray(pixels).quantize(256, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return file.getvalue()


def _numbers(values: NDArray[np.float32]) -> str:
    return "[" + ", ".join(f"{float(value):.6g}" for value in values) + "]"
