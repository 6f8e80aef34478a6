"""The page of `verify`: photos with both heatmaps and their difference, the worst first.

One file without anything from elsewhere. It holds the photos.
"""

import base64
import io
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dermald_model import bundle, manifest, photos
from dermald_model.agreement import Pair
from dermald_model.verify import Verdict, agreement_rows, cost_rows

_SIDE = 220
_ALPHA = 0.45


def write(path: Path, verdict: Verdict, described: Path, rows: int) -> None:
    """Writes the page. Fails with OSError when the disk does."""
    description = manifest.read(described)
    both = zip(verdict.pairs, verdict.photos, strict=True)
    worst_first = sorted(both, key=lambda one: -one[0].change)[:rows]
    drawn = [_row(pair, file, verdict.labels, description.input) for pair, file in worst_first]
    folder = jinja2.PackageLoader("dermald_model", "templates")
    templates = jinja2.Environment(loader=folder, autoescape=True, undefined=jinja2.StrictUndefined)
    text = templates.get_template("verify.html").render(
        names=verdict.names,
        agreement=agreement_rows(verdict.agreement),
        costs=cost_rows(verdict.costs) if verdict.costs else [],
        rows=drawn,
        gradcam=description.gradcam,
        notice=description.notice.get("en", ""),
        counts=_histogram([pair.change for pair in verdict.pairs]),
    )
    path.write_text(text, encoding="utf-8")


def _row(pair: Pair, file: Path, labels: list[str], input: manifest.Input) -> dict[str, Any]:
    before, after = pair.reference.probabilities, pair.candidate.probabilities
    photo = bundle.fitted(photos.load(file), input).resize((_SIDE, _SIDE))
    maps = pair.reference.heatmap, pair.candidate.heatmap
    pictures = [("photo", _uri(photo))]
    for title, heatmap in zip(("before", "bundle"), maps, strict=True):
        if heatmap is not None:
            pictures.append((title, _uri(_overlay(photo, heatmap))))
    difference = None
    if maps[0] is not None and maps[1] is not None and maps[0].shape == maps[1].shape:
        difference = float(np.abs(maps[0] - maps[1]).max())
        shown = np.abs(maps[0] - maps[1]) / max(difference, 1e-12)
        pictures.append((f"difference, at most {difference:.1e}", _uri(_colours(shown))))
    return {
        "pictures": pictures,
        "same": pair.same_top,
        "change": pair.change,
        "classes": [
            (labels[k], float(before[k]), float(after[k])) for k in np.argsort(-before)[:3]
        ],
    }


def _overlay(photo: Image.Image, heatmap: NDArray[np.float32]) -> Image.Image:
    return Image.blend(photo, _colours(heatmap), _ALPHA)


def _colours(heatmap: NDArray[np.float32]) -> Image.Image:
    wide = Image.fromarray(np.asarray(heatmap, np.float32)).resize(
        (_SIDE, _SIDE), Image.Resampling.BICUBIC
    )
    coloured = matplotlib.colormaps["turbo"](np.clip(np.asarray(wide), 0, 1))[..., :3]
    return Image.fromarray((coloured * 255).astype(np.uint8))


def _uri(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def _histogram(changes: list[float]) -> list[tuple[str, int, float]]:
    """How many photos changed by how much: label, count, share of the fullest bar."""
    edges = [0, 1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.05, 0.1, 0.25, 1.01]
    counts = np.histogram(changes, edges)[0]
    names = [f"below {edge:g}" for edge in edges[1:-1]] + ["more"]
    top = max(1, int(counts.max()))
    return [(name, int(n), int(n) / top) for name, n in zip(names, counts, strict=True)]
