"""A bundle whose heatmap is what the photo shows, and overlays as Pillow and matplotlib draw them.

The heatmap, 10 x 10, is the red of each tenth of the model's input: a photo decides what there is
to draw. The model's size is the first site's, 300 x 300.
"""

from __future__ import annotations

from pathlib import Path

import dermald
import matplotlib
import numpy as np
from dermald_model import manifest
from dermald_model.parts import constant, float_tensor, node, target_tensor, to_bytes, to_model
from numpy.typing import NDArray
from PIL import Image

SIDE, CELLS = 300, 10
KINDS = ("flat", "peak", "random", "edges")
SIZES = ((300, 300), (640, 400), (210, 700))

Pixels = NDArray[np.uint8]


def write(bundle: Path, fit: str = "stretch") -> Path:
    """Writes the bundle and returns its folder."""
    cell = SIDE // CELLS
    nodes = [
        node("ReduceMean", ["image"], "means", axes=[1, 2], keepdims=0),
        node("Softmax", ["means"], "probabilities", axis=1),
        node("Transpose", ["image"], "planes", perm=[0, 3, 1, 2]),
        node("AveragePool", ["planes"], "cells", kernel_shape=[cell, cell], strides=[cell, cell]),
        node("Gather", ["cells", "red"], "reds", axis=1),
        node("Reshape", ["reds", "square"], "levels"),
        node("Mul", ["levels", "share"], "heatmap"),
    ]
    constants = [
        constant("red", np.array(0, np.int64)),
        constant("square", np.array([CELLS, CELLS], np.int64)),
        constant("share", np.array(1 / 255, np.float32)),
    ]
    outputs = [float_tensor("probabilities", [1, 3]), float_tensor("heatmap", [CELLS, CELLS])]
    # Whichever class is asked for, the map is the same.
    inputs = [float_tensor("image", [1, SIDE, SIDE, 3]), target_tensor()]
    model = to_model("mirror", nodes, constants, inputs, outputs)
    bundle.mkdir(parents=True)
    (bundle / "model.onnx").write_bytes(to_bytes(model))
    manifest.Manifest(
        name="mirror",
        version="1.0.0",
        description="A bundle for tests.",
        origin="Written by tests/python/mirror.py.",
        licence="MIT OR Apache-2.0",
        notice={},
        files={"model.onnx": manifest.sha256(bundle / "model.onnx")},
        input=manifest.Input("image", SIDE, SIDE, fit=fit),
        output=manifest.Output("probabilities", "none"),
        gradcam=manifest.GradCam("heatmap", "target_class", "cells"),
        labels=tuple(manifest.Label(name, {}) for name in ("red", "green", "blue")),
    ).write(bundle)
    return bundle


def photo(kind: str, size: tuple[int, int], seed: int = 1) -> Image.Image:
    """Soft green and blue with a sensor's noise; the red is of the kind that was named."""
    width, height = size
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(40, 216, (5, 6, 3), dtype=np.uint8))
    pixels = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC)).astype(np.int16)
    pixels += random.integers(-12, 13, (height, width, 1), dtype=np.int16)
    y, x = np.mgrid[0:height, 0:width] / np.array([height, width])[:, None, None]
    red = {
        "flat": np.full((height, width), 97.0),
        "peak": 255 * np.exp(-((x - 0.7) ** 2 + (y - 0.3) ** 2) / 0.02),
        "random": random.integers(0, 256, (CELLS, CELLS))[
            (y * CELLS).astype(int), (x * CELLS).astype(int)
        ],
        "edges": np.where((x * CELLS // 1 + y * CELLS // 3) % 3 < 1, 255.0, 0.0),
    }[kind]
    pixels[..., 0] = red
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def first_sites(picture: Image.Image, heatmap: dermald.Heatmap, colour_map: str) -> Pixels:
    """The form of the first site: 8 bits, bilinear to the model's size, 0.4 over the photo."""
    size = (SIDE, SIDE)
    base = picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    levels = Image.fromarray((255 * cells(heatmap)).astype(np.uint8))
    levels = levels.resize(size, Image.Resampling.BILINEAR)
    colours = matplotlib.colormaps[colour_map](np.asarray(levels))[..., :3]
    heat = Image.fromarray((255 * colours).astype(np.uint8))
    return np.asarray(Image.blend(base, heat, 0.4))


def upright(
    picture: Image.Image, heatmap: dermald.Heatmap, look: dermald.RenderOverlay
) -> NDArray[np.float64]:
    """The whole photo in its aspect ratio, the map bicubic in floating point."""
    ratio = look.longest_side / max(picture.size)
    size = (max(1, round(picture.width * ratio)), max(1, round(picture.height * ratio)))
    base = picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    smooth = Image.fromarray(cells(heatmap)).resize(size, Image.Resampling.BICUBIC)
    shares = np.clip(np.asarray(smooth), 0, 1)
    heat = 255 * matplotlib.colormaps[look.colour_map](shares)[..., :3]
    mixed: NDArray[np.float64] = np.asarray(base) * (1 - look.alpha) + heat * look.alpha
    return mixed


def cells(heatmap: dermald.Heatmap) -> NDArray[np.float32]:
    """The values of a heatmap in rows."""
    return np.array(heatmap.values, np.float32).reshape(heatmap.height, heatmap.width)
