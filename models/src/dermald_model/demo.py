"""The subcommand `demo`: trains the demonstration classifier and writes its bundle.

It owns the choices (seeds, sizes, names, texts) and leaves the work to the modules beneath.
"""

import argparse
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dermald_model import manifest
from dermald_model.card import CARD
from dermald_model.lesions import LABELS, Picture, dataset, draw
from dermald_model.photo import encode, overlay, photograph, to_input

if TYPE_CHECKING:
    from dermald_model.bundle import Runner
    from dermald_model.evaluate import Score

SIZE = 128
MAP_SIZE = 16
# No two of these may be equal: what is measured must not have been trained on.
TRAINING_SEED = 11
HELD_OUT_SEED = 2026
SAMPLE_SEED = 77
HELD_OUT_COUNT = 200
# Enough that the network sees each class at every place and on every tone of skin.
TRAINING_COUNT = 4000
EPOCHS = 9

SAMPLE_SIZE = (1200, 900)
SAMPLE_LABEL = 0
SAMPLE_LIMIT_BYTES = 150_000
# Cells of the map are wide and blur every edge: the first twelve candidates had 63 to 72 % inside.
SAMPLE_HEAT_INSIDE = 0.7

# Pictures drawn by one job; small enough to share them out evenly.
_CHUNK = 100


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declares the subcommand."""
    parser = commands.add_parser("demo", help="train the demonstration classifier (needs [tools])")
    parser.add_argument("--out", type=Path, default=Path("models/demo"), help="folder to write")
    parser.add_argument("--count", type=int, default=TRAINING_COUNT, help="training pictures")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="rounds of training")
    parser.add_argument("--overlay", type=Path, help="also write the sample with its heatmap here")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Draws, trains, writes and scores; the exit code is 1 if the score is below the floors."""
    started = time.monotonic()
    pixels, cells = training_set(arguments.count)
    drawn = time.monotonic()
    print(f"drew {arguments.count} pictures in {drawn - started:.0f} s")

    from dermald_model import training
    from dermald_model.demo_graph import to_onnx

    plan = training.Plan(TRAINING_SEED, epochs=arguments.epochs)
    lessons = training.Lessons(pixels, np.arange(arguments.count) % len(LABELS), cells)
    network = training.weights(training.train(lessons, plan))
    print(f"trained in {time.monotonic() - drawn:.0f} s")

    from dermald_model import bundle as bundles
    from dermald_model.evaluate import score

    bundle: Path = arguments.out
    bundle.mkdir(parents=True, exist_ok=True)
    bundles.write(bundle, to_onnx(network), describe())
    classifier = bundles.Runner(bundle)
    result = score(classifier, dataset(HELD_OUT_SEED, HELD_OUT_COUNT), HELD_OUT_SEED)
    print(
        f"{result.pictures} held-out pictures: accuracy {result.accuracy:.3f}, "
        f"hottest point in the mask {result.hits:.3f} (by chance {result.chance:.3f})"
    )
    sample = write_sample(bundle, classifier)
    if arguments.overlay:
        heatmap = classifier.answer(sample.file).heatmap
        assert heatmap is not None, "the demonstration explains itself"
        overlay(sample.file, heatmap, arguments.overlay)
    write_card(bundle, arguments, result, sample)
    return 0 if min(result.accuracy, result.hits) >= 0.9 else 1


def training_set(count: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Inputs of the network and cells where heat is welcome, drawn by as many jobs as CPUs."""
    starts = range(0, count, _CHUNK)
    # Forked before TensorFlow is loaded, whose threads would not survive it.
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        jobs = pool.map(_lessons, starts, [min(_CHUNK, count - start) for start in starts])
        pixels, cells = zip(*jobs, strict=True)
    return np.concatenate(pixels), np.concatenate(cells)


def _lessons(start: int, count: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    rng = np.random.default_rng([TRAINING_SEED, start])
    pixels, cells = [], []
    for picture in dataset(TRAINING_SEED, count, start=start):
        pixels.append(to_input(photograph(rng, picture.pixels), SIZE, SIZE))
        cells.append(_welcome_cells(picture))
    return np.stack(pixels), np.stack(cells)


def _welcome_cells(picture: Picture) -> NDArray[np.bool_]:
    """Cells of the map that lie mostly in the lesion, at least one; all cells of clear skin."""
    covered = Image.fromarray(picture.mask.astype(np.float32))
    shares = np.asarray(covered.resize((MAP_SIZE, MAP_SIZE), Image.Resampling.BOX))
    cells: NDArray[np.bool_] = shares >= min(0.7, float(shares.max()))
    return cells


def describe() -> manifest.Manifest:
    """The manifest, without the hashes of files that are not written yet."""
    return manifest.Manifest(
        name="dermald-demo",
        version="1.0.0",
        description="Tells five kinds of drawn skin apart and shows where it looked.",
        origin="Trained on synthetic pictures by `dermald-model demo --out models/demo`.",
        licence="MIT OR Apache-2.0",
        notice={
            "en": "A demonstration trained on drawn pictures. It is no diagnosis.",
            "vi": "Bản trình diễn được huấn luyện bằng ảnh vẽ. Đây không phải là chẩn đoán.",
        },
        files={},
        input=manifest.Input("image", SIZE, SIZE),
        output=manifest.Output("probabilities"),
        gradcam=manifest.GradCam("heatmap", "target_class", layer="relu_7"),
        labels=tuple(manifest.Label(label.name, label.titles) for label in LABELS),
    )


@dataclass(frozen=True)
class Sample:
    """The picture that is shipped beside the model: its file and what the model makes of it."""

    number: int
    file: bytes
    probability: float
    inside: float


def write_sample(bundle: Path, classifier: "Runner") -> Sample:
    """Writes `sample.jpg` and `sample_mask.png`: the first candidate that explains itself well.

    Chosen for show, and the card says so: the answer is right and SAMPLE_HEAT_INSIDE of the heat
    lies in the mask. Fails with RuntimeError when no candidate is like that.
    """
    for number, picture in enumerate(_candidates()):
        file = _small_file(picture)
        answer = classifier.answer(file)
        assert answer.heatmap is not None, "the demonstration explains itself"
        size = (picture.mask.shape[1], picture.mask.shape[0])
        wide = Image.fromarray(answer.heatmap).resize(size, Image.Resampling.BILINEAR)
        heat = np.asarray(wide, np.float32)
        inside = float(heat[picture.mask].sum() / max(float(heat.sum()), 1e-9))
        if answer.top == picture.label and inside >= SAMPLE_HEAT_INSIDE:
            (bundle / "sample.jpg").write_bytes(file)
            Image.fromarray(picture.mask).save(bundle / "sample_mask.png", optimize=True)
            return Sample(number, file, float(answer.probabilities.max()), inside)
    raise RuntimeError("no candidate for the sample is explained well by its heatmap")


def _candidates() -> Iterator[Picture]:
    for number in range(100):
        rng = np.random.default_rng([SAMPLE_SEED, number])
        picture = draw(rng, SAMPLE_LABEL, *SAMPLE_SIZE)
        # A lesion that is cut off or tiny makes a poor illustration.
        border = np.concatenate([picture.mask[[0, -1]].ravel(), picture.mask[:, [0, -1]].ravel()])
        if picture.mask.mean() > 0.08 and not border.any():
            yield picture


def _small_file(picture: Picture) -> bytes:
    for quality in range(90, 30, -5):
        file = encode(picture.pixels, quality)
        if len(file) < SAMPLE_LIMIT_BYTES:
            break
    return file


def write_card(
    bundle: Path, arguments: argparse.Namespace, result: "Score", sample: Sample
) -> None:
    """Writes the model card, README.md, with what was measured."""
    text = CARD.format(
        size=SIZE,
        classes=len(LABELS),
        labels=", ".join(f"`{label.name}`" for label in LABELS),
        count=arguments.count,
        epochs=arguments.epochs,
        training_seed=TRAINING_SEED,
        held_out_seed=HELD_OUT_SEED,
        held_out_count=result.pictures,
        accuracy=100 * result.accuracy,
        hits=100 * result.hits,
        chance=100 * result.chance,
        sample_label=LABELS[SAMPLE_LABEL].name,
        sample_title=LABELS[SAMPLE_LABEL].titles["en"],
        sample_number=sample.number,
        sample_seed=SAMPLE_SEED,
        sample_probability=sample.probability,
        sample_inside=100 * sample.inside,
        sample_floor=100 * SAMPLE_HEAT_INSIDE,
        kilobytes=(bundle / "model.onnx").stat().st_size / 1000,
    )
    (bundle / "README.md").write_text(text, encoding="utf-8")
