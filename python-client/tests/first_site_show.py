"""The site of `first_site/` as it was and with the daemon, with the same photos, compared.

    python first_site_show.py --daemon target/release/dermald --models-python \
        .venv-models/bin/python --keras build/reference/dermatology.keras \
        --bundle build/reference/bundle [--photos FOLDER] [--html page.html] [--judge]

With --judge it exits 0 only when rows have the same shape, probabilities agree within 0.1 points
with `decode = "full"` and within 2 with scaled decoding, the most probable class is the same
wherever the margin is above 4 points, and each overlay differs by at most 2 levels in the mean.
Prints memory and time of both.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import shutil
import statistics
import sys
import tempfile
import time
from base64 import b64decode
from dataclasses import dataclass
from pathlib import Path

import django
from PIL import Image, ImageChops, ImageStat

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "example"))

from first_site_running import FirstSite, Row, added_lines
from processes import Daemon, memory, private_folder

ROOT = Path(__file__).resolve().parents[2]
POINTS = {"full": 0.1, "scaled": 2.0}
MARGIN = 4.0
LEVELS = 2.0


@dataclass(frozen=True)
class Played:
    """What a run gave. seconds: of each upload. rss: of the worker and the daemon, in MiB."""

    rows: list[Row]
    seconds: list[float]
    worker: float
    daemon: float


def main() -> int:
    said = arguments()
    chosen = sorted(said.photos.glob("*.png"))[: said.count]
    photos = [as_jpeg(path, said.width) for path in chosen]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        before = play_before(folder, said, photos)
        after = {
            decode: play_after(folder / decode, said, photos, decode)
            for decode in ("full", "scaled")
        }
    print(f"lines that the team adds: {len(added_lines())}")
    for title, played in (("Keras in the worker", before), *after.items()):
        print(
            f"{title:20} first {played.seconds[0]:5.2f} s, later (median) "
            f"{statistics.median(played.seconds[1:]):5.2f} s, worker {played.worker:5.0f} MiB, "
            f"daemon {played.daemon:4.0f} MiB"
        )
    good = [compared(before, played, decode) for decode, played in after.items()]
    if said.html:
        write_page(said.html, photos, before, after["full"])
    return 0 if all(good) or not said.judge else 1


def play_before(folder: Path, said: argparse.Namespace, photos: list[bytes]) -> Played:
    packages = Path(django.__path__[0]).parent
    site = FirstSite(
        folder,
        changed=False,
        python=str(said.models_python),
        packages=(packages,),
        environment={"MODEL_PATH": str(said.keras), "OMP_NUM_THREADS": "1"},
    )
    try:
        seconds = upload_all(site, photos)
        return Played(site.rows(), seconds, memory("worker", site.worker()).rss, 0.0)
    finally:
        site.close()


def play_after(folder: Path, said: argparse.Namespace, photos: list[bytes], decode: str) -> Played:
    bundle = folder / "bundle"
    shutil.copytree(said.bundle, bundle)
    manifest = (bundle / "manifest.toml").read_text()
    manifest = re.sub(r"^decode = .*\n", "", manifest, flags=re.MULTILINE)
    manifest = manifest.replace('fit = "stretch"\n', f'fit = "stretch"\ndecode = "{decode}"\n')
    (bundle / "manifest.toml").write_text(manifest)
    with private_folder() as place:
        daemon = Daemon(said.daemon, bundle, place / "d.sock", "--deadline", "60s")
        environment = {
            "DERMALD_SOCKET": str(daemon.socket),
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        }
        site = FirstSite(folder, changed=True, environment=environment)
        try:
            seconds = upload_all(site, photos)
            held = [memory("", pid).rss for pid in (site.worker(), daemon.pid)]
            return Played(site.rows(), seconds, *held)
        finally:
            site.close()
            daemon.terminate()


def upload_all(site: FirstSite, photos: list[bytes]) -> list[float]:
    """As a file and from the camera by turns."""
    seconds: list[float] = []
    for number, photo in enumerate(photos):
        began = time.perf_counter()
        status, page = (site.upload_camera if number % 2 else site.upload_file)(photo)
        seconds.append(time.perf_counter() - began)
        if status != 200:
            raise RuntimeError(f"{status}: {page[:500]!r}\n{site.log.read_text()[-2000:]}")
    return seconds


def compared(before: Played, after: Played, decode: str) -> bool:
    assert len(before.rows) == len(after.rows) == len(before.seconds)
    pairs = list(zip(before.rows, after.rows, strict=True))
    same_shape = all(shape(old) == shape(new) for old, new in pairs)
    points = [apart(old, new) for old, new in pairs]
    same_top = all(
        old.results[0]["class"] == new.results[0]["class"]
        for old, new in pairs
        if share(old, 0) - share(old, 1) > MARGIN
    )
    decided = sum(share(old, 0) - share(old, 1) > MARGIN for old, _ in pairs)
    levels = [overlay_apart(old, new) for old, new in pairs]
    print(
        f"{decode:8} same shape {same_shape}; probabilities at most {max(points):.3f} points "
        f"apart; same class {same_top} ({decided} of {len(pairs)} beyond the margin); overlays "
        f"{statistics.mean(levels):.2f} levels apart in the mean, the worst {max(levels):.2f}"
    )
    near = max(points) <= POINTS[decode] and max(levels) <= LEVELS
    return same_shape and near and same_top


def shape(row: Row) -> object:
    """All but the numbers and the pixels."""
    lines = [{key: type(value) for key, value in line.items()} for line in row.results]
    picture = picture_of(row)
    falling = sorted((share(row, n) for n in range(len(lines))), reverse=True)
    assert falling == [share(row, n) for n in range(len(lines))]
    return lines, picture.format, picture.mode, picture.size


def share(row: Row, place: int) -> float:
    return float(str(row.results[place]["probability"]))


def apart(old: Row, new: Row) -> float:
    """The largest difference of a class's probability, in percentage points."""
    olds, news = shares_of(old), shares_of(new)
    assert olds.keys() == news.keys()
    return max(abs(olds[name] - news[name]) for name in olds)


def shares_of(row: Row) -> dict[object, float]:
    return {line["class"]: share(row, place) for place, line in enumerate(row.results)}


def overlay_apart(old: Row, new: Row) -> float:
    pictures = [picture_of(row).convert("RGB") for row in (old, new)]
    return statistics.mean(ImageStat.Stat(ImageChops.difference(*pictures)).mean)


def picture_of(row: Row) -> Image.Image:
    assert row.heatmap is not None
    return Image.open(io.BytesIO(b64decode(row.heatmap, validate=True)))


def as_jpeg(path: Path, width: int) -> bytes:
    """As a phone might send it: larger than the model's input, so that decoding can scale."""
    out = io.BytesIO()
    with Image.open(path) as picture:
        large = picture.convert("RGB").resize((width, width * 3 // 4), Image.Resampling.BICUBIC)
    large.save(out, "JPEG", quality=90)
    return out.getvalue()


def write_page(path: Path, photos: list[bytes], before: Played, after: Played) -> None:
    """The overlays beside each other, to be looked at."""
    rows = "".join(
        f'<tr><td><img src="data:image/png;base64,{old.heatmap}">'
        f'<td><img src="data:image/png;base64,{new.heatmap}"><td>{overlay_apart(old, new):.2f}'
        for old, new in zip(before.rows, after.rows, strict=True)
    )
    head = "<tr><th>Keras<th>dermald<th>levels"
    path.write_text(f"<!doctype html><meta charset=utf-8><table>{head}{rows}</table>")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The first site before and after.")
    for name in ("daemon", "models-python", "keras", "bundle"):
        # Not resolved: a virtual environment's Python is a link out of it.
        parser.add_argument(f"--{name}", type=lambda text: Path(text).absolute(), required=True)
    parser.add_argument("--photos", type=Path, default=ROOT / "build" / "reference" / "photos")
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--width", type=int, default=4000, help="of the photos, 4:3")
    parser.add_argument("--judge", action="store_true", help="fail when they do not agree")
    parser.add_argument("--html", type=Path, help="write the overlays beside each other")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
