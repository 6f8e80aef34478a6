"""What a model costs: memory, loading, latency, preparation, and Grad-CAM's share of them.

    python tests/bench/model.py [--bundle FOLDER]... [--rounds N] [--requests N] [--daemon FILE]
        [--json FILE]

Needs `cargo build --release`, the package dermald, Pillow and ONNX Runtime. Without --bundle, those
in build/reference that are there: bundle (float32 with Grad-CAM), plain (without), float16, int8.
They are made by `dermald-model convert`, also with --no-gradcam, and `dermald-model quantise`.

Each bundle is prepared into an empty cache, loaded a few times by a daemon that answers nothing,
and then served by a daemon with one thread. Beside each daemon, ONNX Runtime's own Python package
runs the same prepared graph. All take turns, round after round, so that whatever else the machine
does hits all alike: ratios are medians of each round's ratio.

It measures and judges nothing: goals are marked as met or over, and the exit code is 0 unless
something failed to run. Who else used the processors stands above the table: a run beside a busy
neighbour on every core shows ratios of up to 1.3 between equals, and is to be repeated.
"""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import statistics
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from bundles import Bundle, Preparation, prepare
from calls import Figures
from command import command, count, folder_of_bundle, from_root, leave, progress
from machine import Witness, load_average, versions
from model_report import PLAIN, Column, Result, as_json, as_table
from served import Load, OnnxRuntime, Served, Turn, load
from subjects import ROOT, forget_settings, make_photo

DEFAULTS = [ROOT / "build" / "reference" / name for name in ("bundle", "plain", "float16", "int8")]

# How often each bundle is loaded: one load is short beside what the kernel does meanwhile.
LOADS = 5


@dataclass
class Subject:
    """One bundle, with all that was found out about it."""

    bundle: Bundle
    cache: Path
    preparation: Preparation
    loads: list[Load] = field(default_factory=list)
    served: list[Turn] = field(default_factory=list)
    alone: list[list[float]] = field(default_factory=list)

    @property
    def kind(self) -> str:
        return self.bundle.precision if self.bundle.explains else PLAIN


def main() -> None:
    options = parse_options()
    signal.signal(signal.SIGTERM, leave)
    forget_settings()
    folders, missing = options.bundle, []
    if not folders:
        folders = [folder for folder in DEFAULTS if folder.exists()]
        missing = [folder for folder in DEFAULTS if not folder.exists()]
    if not folders:
        raise SystemExit("build/reference has no bundle; make one there or name some with --bundle")
    photo = make_photo()
    witness = Witness()
    # Not in memory, where sockets are: what is mapped from there counts otherwise.
    target = ROOT / "target"
    target.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=target) as scratch:
        subjects = [
            start(options.daemon, Bundle.read(folder), Path(scratch) / str(number))
            for number, folder in enumerate(folders)
        ]
        measure_loads(options.daemon, subjects)
        columns = measure_runs(options, subjects, photo)
    result = Result(
        command=repeat(options),
        machine=witness.describe(),
        versions=versions(options.daemon, "onnxruntime"),
        requests=answered(options),
        columns=compare(subjects, columns),
        notes=notes(options, missing, len(photo)),
    )
    print(as_table(result))
    if options.json:
        options.json.write_text(json.dumps(as_json(result), indent=2) + "\n")


def start(binary: Path, bundle: Bundle, cache: Path) -> Subject:
    progress(f"preparing {bundle.name}")
    return Subject(bundle, cache, prepare(binary, bundle, cache))


def measure_loads(binary: Path, subjects: list[Subject]) -> None:
    for number in range(LOADS):
        progress(f"load {number + 1} of {LOADS}")
        for subject in subjects:
            subject.loads.append(load(binary, subject.bundle, subject.cache))


def measure_runs(
    options: argparse.Namespace, subjects: list[Subject], photo: bytes
) -> list[Column]:
    """Lets all take their turns, and reads the daemons' memory at the end."""
    with ExitStack() as stack:
        daemons = []
        turns: list[Callable[[], None]] = []
        for subject in subjects:
            running = Served.running(options.daemon, subject.bundle, subject.cache, photo)
            daemon = stack.enter_context(running)
            alone = OnnxRuntime(subject.bundle, subject.preparation.graph, photo)
            daemons.append(daemon)
            turns += pair(subject, daemon, alone, options.requests)
        for number in range(options.rounds):
            progress(f"round {number + 1} of {options.rounds}, load {load_average()}")
            # Every other round backwards: nobody always follows the same one.
            for take_turn in turns[:: 1 if number % 2 == 0 else -1]:
                take_turn()
        return [
            describe(subject, daemon) for subject, daemon in zip(subjects, daemons, strict=True)
        ]


def pair(
    subject: Subject, daemon: Served, alone: OnnxRuntime, requests: int
) -> list[Callable[[], None]]:
    """The daemon's turn, and that of ONNX Runtime with the same graph: side by side."""
    return [
        lambda: subject.served.append(daemon.take_turn(requests)),
        lambda: subject.alone.append(alone.take_turn(requests)),
    ]


def describe(subject: Subject, daemon: Served) -> Column:
    """What the bundle cost, by itself."""
    inference = Figures.of([one for turn in subject.served for one in turn.inference])
    client = Figures.of([one for turn in subject.served for one in turn.client])
    memory = daemon.memory()
    return Column(
        name=subject.bundle.name,
        kind=subject.kind,
        bundle_size=subject.bundle.size,
        prepared_size=subject.preparation.size,
        prepare_seconds=subject.preparation.seconds,
        prepare_peak=subject.preparation.peak,
        idle=statistics.median(one.idle for one in subject.loads),
        load_peak=statistics.median(one.peak for one in subject.loads),
        load_cpu=statistics.median(one.cpu_ms for one in subject.loads),
        anonymous=memory.anonymous,
        files=memory.rss - memory.anonymous,
        rss=memory.rss,
        peak=daemon.peak(),
        inference_median=inference.p50,
        inference_p99=inference.p99,
        client_median=client.p50,
        client_p99=client.p99,
        onnxruntime_median=Figures.of([one for turn in subject.alone for one in turn]).p50,
        over_onnxruntime=ratio(inferences(subject), subject.alone),
    )


def compare(subjects: list[Subject], columns: list[Column]) -> list[Column]:
    """The columns, with what they cost beside the first float32 bundle and the first without
    Grad-CAM."""
    found = list(zip(subjects, columns, strict=True))
    float32 = next((one for one in found if one[0].kind == "float32"), None)
    plain = next((one for one in found if one[0].kind == PLAIN), None)
    compared = []
    for subject, column in found:
        if float32 and subject.kind != PLAIN and subject is not float32[0]:
            column = replace(
                column,
                over_float32=ratio(inferences(subject), inferences(float32[0])),
                rss_over_float32=column.rss / float32[1].rss,
            )
        if plain and subject.kind == "float32":
            column = replace(
                column,
                over_plain=ratio(inferences(subject), inferences(plain[0])),
                rss_above_plain=column.rss - plain[1].rss,
            )
        compared.append(column)
    return compared


def inferences(subject: Subject) -> list[list[float]]:
    return [turn.inference for turn in subject.served]


def ratio(ours: list[list[float]], theirs: list[list[float]]) -> float:
    """The median of each round's ratio of medians."""
    pairs = zip(ours, theirs, strict=True)
    return statistics.median(statistics.median(a) / statistics.median(b) for a, b in pairs)


def answered(options: argparse.Namespace) -> int:
    """Requests to each daemon; the one that wakes it at each turn is one of them."""
    return int(options.rounds * (options.requests + 1))


def notes(options: argparse.Namespace, missing: list[Path], length: int) -> list[str]:
    """What the table means, and what is not in it."""
    lines = [
        f"{options.rounds} rounds of {options.requests} timed requests for a heatmap to each "
        f"daemon (a JPEG of {length} bytes), and",
        "as many runs of ONNX Runtime: the same prepared graph, one thread, optimisation off.",
        f"Loading is the median of {LOADS} and ends before the first run, which maps weights in.",
        "Inference is in the daemon's own timing. MB are MiB.",
        "Goals hold for EfficientNetV2-S at 300 x 300.",
    ]
    if missing:
        names = ", ".join(from_root(folder) for folder in missing)
        lines.append(f"Left out, as they are not there: {names}.")
    return lines


def repeat(options: argparse.Namespace) -> str:
    """The command for the same run."""
    words = ["python", "tests/bench/model.py"]
    for folder in options.bundle:
        words += ["--bundle", from_root(folder)]
    words += ["--rounds", str(options.rounds), "--requests", str(options.requests)]
    words += ["--daemon", from_root(options.daemon)]
    return shlex.join(words)


def parse_options() -> argparse.Namespace:
    parser = command(__doc__)
    parser.add_argument(
        "--bundle",
        type=folder_of_bundle,
        action="append",
        default=[],
        help="a bundle; may be repeated",
    )
    # Short turns, so that a neighbour's burst hits all alike; 40 of them with the one request that
    # wakes the daemon make the 200 after which memory is judged.
    parser.add_argument("--rounds", type=count, default=40, help="how often all take a turn")
    parser.add_argument("--requests", type=count, default=4, help="timed requests in each turn")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    return parser.parse_args()


if __name__ == "__main__":
    main()
