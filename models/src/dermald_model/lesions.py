"""Draws labelled pictures of skin with known lesion masks; it knows nothing of models or files.

The five classes are named after what is drawn, not after diseases. Every picture is a function of
its generator alone: the same seed, index and size give the same pixels.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dermald_model.skin import (
    Colours,
    Disc,
    Light,
    Plane,
    bare_skin,
    blend,
    lay_hairs,
    noise,
    random_light,
    take_photo,
)


@dataclass(frozen=True)
class Picture:
    """A drawn photograph and what is known of it.

    `pixels` is uint8 [height, width, 3]. `mask` is true where the lesion is: everything within
    its outline (a ring's middle included), for bumps also the reddened ground between them.
    Clear skin has an empty mask.
    """

    pixels: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    label: int


@dataclass(frozen=True)
class Label:
    """A class: its name in files and manifests, and its titles by language."""

    name: str
    titles: dict[str, str]


LABELS: tuple[Label, ...] = (
    Label("ring", {"en": "Ring", "vi": "Vòng tròn"}),
    Label("scaly-patch", {"en": "Scaly patch", "vi": "Mảng có vảy"}),
    Label("dark-spot", {"en": "Dark spot", "vi": "Đốm sẫm màu"}),
    Label("bumps", {"en": "Cluster of bumps", "vi": "Cụm nốt sần"}),
    Label("clear-skin", {"en": "Clear skin", "vi": "Da không có tổn thương"}),
)
CLEAR_SKIN = len(LABELS) - 1

# Width and height in pixels of small photographs, both ways up; dataset() picks among them.
PHOTO_SIZES: tuple[tuple[int, int], ...] = (
    (600, 450),
    (450, 600),
    (640, 480),
    (480, 480),
    (400, 300),
    (300, 400),
    (540, 360),
    (512, 384),
)


def draw(rng: np.random.Generator, label: int, width: int, height: int) -> Picture:
    """A picture of class `label`, an index into LABELS, `width` by `height` pixels.

    Fails with ValueError for another label or for a side under 64 pixels.
    """
    if not 0 <= label < len(LABELS):
        raise ValueError(f"label {label} is not in 0..{len(LABELS) - 1}")
    if min(width, height) < 64:
        raise ValueError(f"a picture of {width} x {height} pixels is too small; 64 is the least")
    light = random_light(rng)
    skin = bare_skin(rng, height, width)
    mask = np.zeros((height, width), np.bool_)
    if label != CLEAR_SKIN:
        skin, mask = _PAINTERS[label](rng, skin, light)
    skin = lay_hairs(rng, skin)
    return Picture(take_photo(rng, skin, light), mask, label)


def dataset(
    seed: int,
    count: int,
    sizes: Sequence[tuple[int, int]] = PHOTO_SIZES,
    start: int = 0,
) -> Iterator[Picture]:
    """Pictures number `start` to `start + count - 1` of a seed, the classes in turn.

    Each has a generator of its own, so that any part of a set can be drawn without the rest.
    """
    for index in range(start, start + count):
        rng = np.random.default_rng([seed, index])
        width, height = sizes[int(rng.integers(len(sizes)))]
        yield draw(rng, index % len(LABELS), width, height)


@dataclass(frozen=True)
class _Outline:
    """A closed wavy curve; `reach` is 0 at its centre, 1 on it, and grows outward."""

    reach: Plane
    radius: float


def _outline(
    rng: np.random.Generator, shape: tuple[int, int], sizes: tuple[float, float], waviness: float
) -> _Outline:
    """An outline anywhere in the picture, its radius within `sizes` (shares of the short side)."""
    height, width = shape
    short = min(height, width)
    radius = rng.uniform(*sizes) * short
    margin = 0.75 * radius
    cx, cy = rng.uniform(margin, width - margin), rng.uniform(margin, height - margin)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    turn, flat = rng.uniform(0, np.pi), rng.uniform(0.72, 1.0)
    along = (x - cx) * np.cos(turn) + (y - cy) * np.sin(turn)
    across = (-(x - cx) * np.sin(turn) + (y - cy) * np.cos(turn)) / flat
    angle = np.arctan2(across, along)
    edge = np.ones_like(angle)
    for wave in range(2, 7):
        depth, phase = waviness * rng.uniform(-1.3, 1.3) / wave, rng.uniform(0, 7)
        edge += depth * np.sin(wave * angle + phase)
    ragged = 0.35 * waviness * noise(rng, height, width, 0.25 * radius)
    reach = np.hypot(along, across) / (radius * np.maximum(edge + ragged, 0.3))
    return _Outline(reach.astype(np.float32), radius)


def _within(reach: Plane, softness: float) -> Plane:
    """1 inside the outline, 0 outside, one half on it."""
    steep = np.clip((reach - 1) / softness, -30, 30)
    inside: Plane = (1 / (1 + np.exp(steep))).astype(np.float32)
    return inside


def _redden(skin: Colours, amount: Plane) -> Colours:
    """Inflamed skin: green and blue give way. On dark skin it also gets duskier."""
    red = np.array([0.13, 0.50, 0.45], np.float32)
    reddened: Colours = skin * (1 - amount[..., None] * red)
    return reddened


def _flake(rng: np.random.Generator, skin: Colours, where: Plane, size: float) -> Colours:
    """Pale dry scales, about `size` pixels each, as dense as `where` says (0..1)."""
    height, width = where.shape
    grain = noise(rng, height, width, size) + 0.8 * noise(rng, height, width, 0.4 * size)
    cover = np.clip((grain - 1.1 + 1.5 * where) * 1.1, 0, 1) * np.minimum(3 * where, 1)
    # Scales lift at one side and throw a thin shadow.
    shadow = np.clip(np.roll(cover, (1, 1), (0, 1)) - cover, 0, 1)
    shaded = (skin * (1 - 0.35 * shadow[..., None])).astype(np.float32)
    pale = 0.35 * shaded + 0.65 * np.array([232, 222, 212], np.float32)
    return blend(shaded, pale, (cover * rng.uniform(0.65, 0.9)).astype(np.float32))


def _paint_ring(
    rng: np.random.Generator, skin: Colours, light: Light
) -> tuple[Colours, NDArray[np.bool_]]:
    """A red, slightly scaly band around skin that has nearly cleared."""
    height, width = skin.shape[:2]
    outline = _outline(rng, (height, width), (0.14, 0.30), 0.09)
    inside = _within(outline.reach, 0.045)
    thickness = rng.uniform(0.10, 0.16)
    band = np.exp(-(((outline.reach - 0.84) / thickness) ** 2)) * inside
    patchy = 1 + 0.22 * noise(rng, height, width, 0.5 * outline.radius)
    skin = _redden(skin, (inside * rng.uniform(0.1, 0.25)).astype(np.float32))
    skin = _redden(skin, np.clip(band * patchy * rng.uniform(0.65, 1.0), 0, 1).astype(np.float32))
    dense = (band * rng.uniform(0.1, 0.5)).astype(np.float32)
    return _flake(rng, skin, dense, 0.08 * outline.radius), outline.reach < 1


def _paint_scaly_patch(
    rng: np.random.Generator, skin: Colours, light: Light
) -> tuple[Colours, NDArray[np.bool_]]:
    """A red patch covered with pale scales, thickest in the middle."""
    height, width = skin.shape[:2]
    outline = _outline(rng, (height, width), (0.12, 0.28), 0.16)
    inside = _within(outline.reach, 0.05)
    patchy = 1 + 0.15 * noise(rng, height, width, 0.4 * outline.radius)
    skin = _redden(skin, np.clip(inside * patchy * rng.uniform(0.6, 0.95), 0, 1))
    fading = np.clip(1.25 - outline.reach, 0, 1) * inside
    dense = (fading * rng.uniform(0.65, 1.0)).astype(np.float32)
    return _flake(rng, skin, dense, rng.uniform(0.13, 0.2) * outline.radius), outline.reach < 1


def _paint_dark_spot(
    rng: np.random.Generator, skin: Colours, light: Light
) -> tuple[Colours, NDArray[np.bool_]]:
    """A brown to nearly black spot, unevenly coloured, with a fairly sharp edge."""
    height, width = skin.shape[:2]
    outline = _outline(rng, (height, width), (0.09, 0.22), 0.2)
    inside = _within(outline.reach, rng.uniform(0.03, 0.08))
    cloudy = noise(rng, height, width, 0.45 * outline.radius) * 0.13
    speckled = noise(rng, height, width, 0.1 * outline.radius) * 0.06
    depth = np.clip(inside * (rng.uniform(0.72, 0.95) + cloudy + speckled), 0, 1)
    hue = np.array([0.62, 0.78, 0.84], np.float32) * (1 + rng.normal(0, 0.03, 3))
    return (skin * (1 - depth[..., None] * hue)).astype(np.float32), outline.reach < 1


def _paint_bumps(
    rng: np.random.Generator, skin: Colours, light: Light
) -> tuple[Colours, NDArray[np.bool_]]:
    """Small raised domes, close together on reddened ground, each lit from the same side."""
    height, width = skin.shape[:2]
    short = min(height, width)
    spread = rng.uniform(0.12, 0.25) * short
    centre = rng.uniform(0.75 * spread, [width - 0.75 * spread, height - 0.75 * spread])
    ground = np.zeros((height, width), np.float32)
    domes: list[Disc] = []
    wanted = int(rng.integers(6, 19))
    for _ in range(12 * wanted):
        radius = rng.uniform(0.11, 0.24) * spread
        x, y = centre + rng.normal(0, 0.5, 2) * spread
        apart = all(np.hypot(x - d.x, y - d.y) > 0.95 * (radius + d.radius) for d in domes)
        if apart and np.hypot(x - centre[0], y - centre[1]) < spread and len(domes) < wanted:
            domes.append(Disc(x, y, radius))
    for dome in domes:
        near = dome.window(height, width, 3.0)
        within = _within(near.away / np.float32(1.7), 0.12)
        ground[near.where] = np.maximum(ground[near.where], within)
    skin = _redden(skin, ground * np.float32(rng.uniform(0.2, 0.5)))
    fill, relief = rng.uniform(0.25, 0.6), rng.uniform(0.13, 0.32)
    for dome in domes:
        _raise_dome(skin, dome, light, fill, relief)
    return skin, ground > 0.5


def _raise_dome(skin: Colours, dome: Disc, light: Light, fill: float, relief: float) -> None:
    """One bump, in place: reddened by `fill`, lit and shaded by `relief`, with a glint."""
    near = dome.window(skin.shape[0], skin.shape[1], 2.0)
    within = _within(near.away, 0.12)
    shade = relief * (near.right * light.x + near.down * light.y) * near.away * within
    offside = (near.right - 0.35 * light.x) ** 2 + (near.down - 0.35 * light.y) ** 2
    glint = 70 * relief * np.exp(-offside / 0.06)
    raised = _redden(skin[near.where], within * np.float32(fill))
    skin[near.where] = raised * (1 + shade[..., None]) + glint[..., None]


_Painter = Callable[[np.random.Generator, Colours, Light], tuple[Colours, NDArray[np.bool_]]]
_PAINTERS: tuple[_Painter, ...] = (
    _paint_ring,
    _paint_scaly_patch,
    _paint_dark_spot,
    _paint_bumps,
)
