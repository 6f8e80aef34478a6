"""Skin, light, hair and lens of a drawn photograph; it knows nothing of lesions or labels.

Colours are sRGB values in 0..255 as float32. Lengths are shares of the picture's short side, so
that a picture looks the same at every size.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Plane = NDArray[np.float32]
Colours = NDArray[np.float32]

# From very light to very dark skin, evenly spaced; between two neighbours colours are blended.
_TONES = np.array(
    [
        (238, 205, 186),
        (226, 183, 158),
        (203, 155, 126),
        (170, 119, 90),
        (128, 85, 63),
        (88, 59, 46),
    ],
    np.float32,
)


@dataclass(frozen=True)
class Light:
    """The direction that light comes from: a unit vector in the picture, x right and y down."""

    x: float
    y: float


@dataclass(frozen=True)
class Window:
    """The part of a picture around a disc; `right`, `down` and `away` count in its radii."""

    where: tuple[slice, slice]
    right: Plane
    down: Plane
    away: Plane


@dataclass(frozen=True)
class Disc:
    """A small round thing, in pixels; drawn in a window, because most of the picture is far."""

    x: float
    y: float
    radius: float

    def window(self, height: int, width: int, reach: float) -> Window:
        """Everything up to `reach` radii away that lies in the picture; it may be empty."""
        far = reach * self.radius
        top, bottom = (int(np.clip(v, 0, height)) for v in (self.y - far, self.y + far + 2))
        left, end = (int(np.clip(v, 0, width)) for v in (self.x - far, self.x + far + 2))
        rows, columns = np.mgrid[top:bottom, left:end].astype(np.float32)
        right = ((columns - self.x) / self.radius).astype(np.float32)
        down = ((rows - self.y) / self.radius).astype(np.float32)
        return Window((slice(top, bottom), slice(left, end)), right, down, np.hypot(right, down))


def noise(rng: np.random.Generator, height: int, width: int, scale: float) -> Plane:
    """Smooth noise of about unit variance with one knot every `scale` pixels."""
    scale = max(scale, 1.0)
    rows, columns = int(height / scale) + 4, int(width / scale) + 4
    knots = rng.standard_normal((rows, columns), np.float32)
    left, top = rng.uniform(0, 1, 2)
    box = (1 + left, 1 + top, 1 + left + width / scale, 1 + top + height / scale)
    stretched = Image.fromarray(knots).resize((width, height), Image.Resampling.BICUBIC, box)
    # Interpolation averages between knots and leaves a deviation of about 0.8; this makes it 1.1.
    return np.asarray(stretched, np.float32) * np.float32(1.4)


def blend(under: Colours, over: Colours, share: Plane) -> Colours:
    """`over` laid on `under`, where `share` is 0 for none of it and 1 for all."""
    mixed: Colours = under + (over - under) * share[..., None]
    return mixed


def bare_skin(rng: np.random.Generator, height: int, width: int) -> Colours:
    """Skin of a random tone with blotches, pores, furrows and a few freckles."""
    short = min(height, width)
    place = rng.uniform(0, len(_TONES) - 1)
    below = min(int(place), len(_TONES) - 2)
    tone = _TONES[below] + (_TONES[below + 1] - _TONES[below]) * (place - below)
    tone = tone * (1 + rng.normal(0, 0.025, 3))
    skin = np.broadcast_to(tone.astype(np.float32), (height, width, 3)).copy()

    flush = noise(rng, height, width, 0.35 * short) * rng.uniform(0.01, 0.035)
    skin *= 1 + flush[..., None] * np.array([0.3, 1.0, 0.9], np.float32)
    mottle = noise(rng, height, width, 0.07 * short) * rng.uniform(0.005, 0.02)
    pores = noise(rng, height, width, 0.011 * short) * rng.uniform(0.005, 0.022)
    # Where smooth noise crosses zero there are thin joined lines, much like skin furrows.
    stretch = noise(rng, height, width, rng.uniform(0.025, 0.05) * short)
    furrows = np.exp(-((stretch / 0.18) ** 2)) * rng.uniform(0.0, 0.06)
    skin *= (1 + mottle + pores - furrows)[..., None]
    return _freckles(rng, skin)


def _freckles(rng: np.random.Generator, skin: Colours) -> Colours:
    """A few faint freckles, far smaller than any lesion; most pictures have none."""
    height, width = skin.shape[:2]
    short = min(height, width)
    count = int(rng.integers(1, 14)) if rng.random() < 0.35 else 0
    for _ in range(count):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        near = Disc(x, y, rng.uniform(0.004, 0.011) * short).window(height, width, 2.5)
        spot = np.exp(-(near.away**2)) * rng.uniform(0.1, 0.35)
        skin[near.where] *= 1 - spot[..., None] * np.array([0.5, 0.75, 0.85], np.float32)
    return skin


def random_light(rng: np.random.Generator) -> Light:
    """Light from any side."""
    angle = rng.uniform(0, 2 * np.pi)
    return Light(float(np.cos(angle)), float(np.sin(angle)))


def lay_hairs(rng: np.random.Generator, skin: Colours) -> Colours:
    """Hairs that grow roughly one way; about half of the pictures have none."""
    if rng.random() < 0.45:
        return skin
    height, width = skin.shape[:2]
    short = min(height, width)
    # Drawn at twice the size and reduced, because the drawing itself has hard edges.
    layer = Image.new("L", (2 * width, 2 * height), 0)
    pen = ImageDraw.Draw(layer)
    direction = rng.uniform(0, 2 * np.pi)
    steps = np.linspace(0, 1, 16)[:, None]
    for _ in range(int(rng.integers(2, 45))):
        start = rng.uniform(-0.1, 1.1, 2) * (width, height)
        angle = direction + rng.normal(0, 0.35)
        way = np.array([np.cos(angle), np.sin(angle)]) * rng.uniform(0.08, 0.45) * short
        bend = np.array([-way[1], way[0]]) * rng.normal(0, 0.18)
        path = start + way * steps + bend * (4 * steps * (1 - steps))
        thickness = max(1, round(2 * rng.uniform(0.0018, 0.0045) * short))
        pen.line([(2 * x, 2 * y) for x, y in path], int(rng.integers(120, 256)), thickness)
    share = np.asarray(layer.resize((width, height), Image.Resampling.BOX), np.float32)
    brown = (np.array([62, 46, 38]) * rng.uniform(0.4, 1.5)).astype(np.float32)
    return blend(skin, brown, share * np.float32(0.85 / 255))


def take_photo(rng: np.random.Generator, skin: Colours, light: Light) -> NDArray[np.uint8]:
    """The picture as a camera would give it: uneven light, colour cast, soft focus, noise."""
    height, width = skin.shape[:2]
    short = min(height, width)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    y, x = y / height - 0.5, x / width - 0.5
    slope = rng.uniform(0, 0.4) * (x * light.x + y * light.y)
    vignette = rng.uniform(0, 0.45) * (x * x + y * y)
    gain = rng.uniform(0.82, 1.1) * (1 + slope - vignette)
    cast = (1 + rng.normal(0, 0.035, 3)).astype(np.float32)
    seen = skin * gain[..., None].astype(np.float32) * cast
    if rng.random() < 0.3:
        seen = _add_shine(rng, seen, light)

    lens = Image.fromarray(np.clip(seen, 0, 255).astype(np.uint8))
    if rng.random() < 0.7:
        lens = lens.filter(ImageFilter.GaussianBlur(float(rng.uniform(0, 0.0045)) * short))
    grain = rng.standard_normal((height, width, 3), np.float32)
    grain *= np.float32(rng.uniform(0.5, 5.0))
    pixels: NDArray[np.uint8] = np.clip(np.asarray(lens, np.float32) + grain, 0, 255).astype(
        np.uint8
    )
    return pixels


def _add_shine(rng: np.random.Generator, seen: Colours, light: Light) -> Colours:
    """A broad pale reflection of a lamp, towards the light."""
    height, width = seen.shape[:2]
    short = min(height, width)
    centre_y = height * (0.5 + 0.35 * light.y) + rng.normal(0, 0.08) * height
    centre_x = width * (0.5 + 0.35 * light.x) + rng.normal(0, 0.08) * width
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    radius = rng.uniform(0.15, 0.4) * short
    squared = ((y - centre_y) ** 2 + (x - centre_x) ** 2) / radius**2
    grainy = 1 + 0.25 * noise(rng, height, width, 0.015 * short)
    shine = np.exp(-squared) * grainy * rng.uniform(8, 32)
    shining: Colours = seen + shine[..., None].astype(np.float32)
    return shining
