"""A free web service as a box: 512 MB and 0.1 CPU, a site in it, and photos from phones.

    python tests/bench/free_tier.py [--bundle FOLDER]... [--no-baseline] [--cold] [--preload]
        [--variable NAME=VALUE]... [--uploads N] [--memory MIB] [--cpus X] [--json FILE]

Needs root for the control group and for dropping the page cache, `cargo build --release`, and the
packages of tests/requirements.txt. Without --bundle, those of build/reference: without Grad-CAM,
with it, and int8. The baseline also needs the model tooling's environment with TensorFlow, the
model file, and Django and gunicorn in build/box/packages; `make box` sees to all of that.

One tenant after the other: the start command of the first site's host runs inside, once with
TensorFlow in the gunicorn worker and once for each bundle with the daemon beside the example site.
Photos of 12 megapixels are uploaded through the page as a browser does it, each as soon as the one
before is answered. Memory is sampled from outside every 50 ms. The model is prepared before the
start, outside of the limits, as a host's build command does it; --cold leaves that to the first
upload. What the build or the preparation read is then dropped from the page cache.

The goals hold for the reference architecture, EfficientNetV2-S at 300 x 300, with Grad-CAM. A goal
that is missed is marked and changes nothing: the exit code is 0 unless something failed to run.
"""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from box import Limits, NoBoxError, drop_page_cache
from bundles import Bundle
from command import command, count, folder_of_bundle, from_root, leave, progress, variable
from free_tier_report import Result, as_json, as_table, rows
from machine import Witness, versions
from phone import write_photos
from stay import Stay, stay
from subjects import ROOT, forget_settings
from tenants import Software, Tenant, beside_daemon, with_tensorflow

REFERENCE = ROOT / "build" / "reference"
DEFAULTS = [REFERENCE / name for name in ("plain", "bundle", "int8")]
KERAS_MODEL = REFERENCE / "dermatology.keras"
PACKAGES = ROOT / "build" / "box" / "packages"
MODELS_PYTHON = ROOT / ".venv-models" / "bin" / "python"

PHOTOS = 4
MEMORY_GOAL_MIB, FIRST_GOAL_SECONDS, LATER_GOAL_SECONDS = 220.0, 8.0, 3.0


def main() -> None:
    options = parse_options()
    signal.signal(signal.SIGTERM, leave)
    forget_settings()
    witness = Witness()
    missing = [folder for folder in options.bundle if not folder.exists()]
    limits = Limits(options.memory, options.cpus)
    # Not in memory, where sockets are: what is mapped from there counts otherwise.
    with tempfile.TemporaryDirectory(prefix="bench-", dir=ROOT / "target") as scratch:
        progress("drawing photos")
        photos = write_photos(Path(scratch) / "photos", PHOTOS)
        software = Software.copied(options.daemon, Path(scratch))
        try:
            stays = list(stays_of(options, software, Path(scratch), photos, limits))
        except NoBoxError as error:
            raise SystemExit(f"NOT MEASURED: {error}") from error
    result = Result(
        command=repeat(options),
        machine=witness.describe(),
        versions=versions(options.daemon, "Django", "gunicorn", "onnxruntime"),
        stays=stays,
        notes=notes(options, missing),
    )
    lines = rows(MEMORY_GOAL_MIB, FIRST_GOAL_SECONDS, LATER_GOAL_SECONDS)
    print(as_table(result, lines))
    keep(options, {**as_json(result, lines), "limits": asdict(limits)})


def stays_of(
    options: argparse.Namespace,
    software: Software,
    scratch: Path,
    photos: list[Path],
    limits: Limits,
) -> Iterator[Stay]:
    """One stay for each tenant, each with what it needs for as long as it takes."""

    def take(tenant: Tenant) -> Stay:
        progress(f"{tenant.title}: {options.uploads} uploads")
        if not drop_page_cache():
            progress("the page cache cannot be dropped: files may be charged to others")
        return stay(tenant, limits, photos, options.uploads, scratch / "log")

    if options.baseline:
        yield take(with_tensorflow(MODELS_PYTHON, PACKAGES, KERAS_MODEL, explains=True))
    for folder in filter(Path.exists, options.bundle):
        with ExitStack() as stack:
            tenant = beside_daemon(
                software,
                Bundle.read(folder),
                scratch,
                prepared=not options.cold,
                preload=options.preload,
                variables=dict(options.variable),
            )
            yield take(stack.enter_context(tenant))


def notes(options: argparse.Namespace, missing: list[Path]) -> list[str]:
    """What the table means, and what is not in it."""
    how = "at the first upload" if options.cold else "before the start, outside of the box"
    lines = [
        f"The box has {options.memory} MB and {options.cpus:g} CPU. {options.uploads} uploads, "
        f"{PHOTOS} different photos of 12 MP and 4 MB; models are prepared {how}. An answer is the "
        "form, the upload and the page with photo and overlay in it. MB are MiB.",
        "(1) What processes outside have mapped as well, for instance Python, counts in PSS only "
        "in part. Every page of the box was looked at once a second.",
        "The team also reports 650 MB at first, 350-400 without Grad-CAM, and 300-350 with weights "
        "in float16.",
        "Alone: measured without Django and limits; TensorFlow with an eager gradient tape.",
    ]
    if not options.baseline:
        lines.append("NOT MEASURED: TensorFlow in the worker.")
    if missing:
        names = ", ".join(from_root(folder) for folder in missing)
        lines.append(f"NOT MEASURED, as they are not there: {names}.")
    return lines


def keep(options: argparse.Namespace, found: dict[str, object]) -> None:
    """Writes the figures and draws them, as far as wanted."""
    if not options.json:
        return
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(found) + "\n", encoding="utf-8")
    if not MODELS_PYTHON.exists():
        print("NOT DRAWN: matplotlib is in the environment of the model tooling, which is missing")
        return
    picture = options.json.with_suffix(".png")
    draw = [MODELS_PYTHON, Path(__file__).with_name("memory_plot.py"), options.json, picture]
    subprocess.run(draw, check=True)
    print(f"written: {from_root(options.json)}, {from_root(picture)}")


def repeat(options: argparse.Namespace) -> str:
    """The command for the same run."""
    words = ["python", "tests/bench/free_tier.py"]
    for folder in options.bundle:
        words += ["--bundle", from_root(folder)]
    words += ["--baseline" if options.baseline else "--no-baseline"]
    words += ["--cold" if options.cold else "--prepared"] + ["--preload"] * options.preload
    for name, value in options.variable:
        words += ["--variable", f"{name}={value}"]
    words += ["--uploads", str(options.uploads), "--memory", str(options.memory)]
    words += ["--cpus", f"{options.cpus:g}", "--daemon", from_root(options.daemon)]
    return shlex.join(words)


def parse_options() -> argparse.Namespace:
    parser = command(__doc__)
    parser.add_argument("--bundle", type=folder_of_bundle, action="append", help="may be repeated")
    able = all(path.exists() for path in (MODELS_PYTHON, PACKAGES, KERAS_MODEL))
    parser.add_argument(
        "--baseline",
        action=argparse.BooleanOptionalAction,
        default=able,
        help="TensorFlow in the worker",
    )
    parser.add_argument("--cold", action="store_true", help="the first upload prepares the model")
    parser.add_argument(
        "--prepared", dest="cold", action="store_false", help="prepared before, outside"
    )
    parser.add_argument("--preload", action="store_true", help="load the model at the start")
    parser.add_argument(
        "--variable", type=variable, action="append", default=[], help="only for ours: NAME=VALUE"
    )
    # With fewer the 95th percentile is the highest.
    parser.add_argument("--uploads", type=count, default=21, help="photos for each tenant")
    parser.add_argument("--memory", type=count, default=512, help="MiB that the box has")
    parser.add_argument("--cpus", type=float, default=0.1, help="its share of a processor")
    parser.add_argument("--json", type=Path, help="write all here, and a plot beside it")
    options = parser.parse_args()
    options.bundle = options.bundle or DEFAULTS
    return options


if __name__ == "__main__":
    main()
