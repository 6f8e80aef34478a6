"""What a picture costs on its way to the model and back, beside the nearest neighbour.

    python tests/bench/transport.py [--rounds N] [--requests N] [--daemon FILE] [--json FILE]

Needs `cargo build --release`, the package dermald, gunicorn 25 or newer, Pillow and ONNX Runtime.
Four kinds of calls take turns, round after round, so that whatever else the machine does hits all
alike:

- predict: dermald's Python client classifies a JPEG of 250 KB; what counts is the call less the
  decoding, loading, inference and rendering that the reply tells.
- refused: the same client sends as many bytes that are no picture. They pass socket, queue and
  inference thread like any other; only the work is missing.
- dirty arbiter: a gunicorn worker sends the same 250 KB to an application in gunicorn's dirty
  worker that does nothing. The nearest neighbour: a model server inside gunicorn.
- health: the shortest round trip to the daemon.

Whoever slept for some milliseconds wakes up with cold caches, which costs Python 0.1 to 0.3 ms on
a virtual machine. A prediction always contains such a gap, the inference; so the calls without
work are made twice, back to back and with a pause before each, and compared within a column.

It measures and judges nothing: the exit code is 0 unless something failed to run.
"""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import statistics
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from calls import Figures
from command import command, count, from_root, leave, progress
from machine import Witness, load_average, versions
from report import Result, Series, as_json, as_table
from subjects import Dermald, Neighbour, make_photo

PAUSE_SECONDS = 0.006
BACK_TO_BACK = "back to back"
AFTER_A_GAP = f"after a gap of {PAUSE_SECONDS * 1000:g} ms"

PREDICT = "dermald, predict less work (1)"
REFUSED = "dermald, refused at once"
ARBITER = "gunicorn dirty arbiter"
HEALTH = "dermald, health"


@dataclass
class Contestant:
    """One kind of calls with one gap between them."""

    row: str
    gap: str
    # Takes how many calls and the pause before each; returns their milliseconds.
    run: Callable[[int, float], list[float]]
    rounds: list[Figures] = field(default_factory=list)

    def take_turn(self, requests: int) -> None:
        pause = 0.0 if self.gap == BACK_TO_BACK else PAUSE_SECONDS
        self.rounds.append(Figures.of(self.run(requests, pause)))


def main() -> None:
    options = parse_options()
    signal.signal(signal.SIGTERM, leave)
    progress("making the photo")
    photo = make_photo()
    witness = Witness()
    with ExitStack() as stack:
        progress("starting the daemon and gunicorn")
        daemon = stack.enter_context(Dermald.running(options.daemon, photo))
        neighbour = stack.enter_context(Neighbour.running(photo))
        contestants = line_up(daemon, neighbour)
        for number in range(options.rounds):
            progress(f"round {number + 1} of {options.rounds}, load {load_average()}")
            # Every other round backwards: nobody always follows the same one.
            for contestant in contestants[:: 1 if number % 2 == 0 else -1]:
                contestant.take_turn(options.requests)
    result = Result(
        command=repeat(options),
        machine=witness.describe(),
        versions=versions(options.daemon, "gunicorn", "pillow"),
        gaps=(BACK_TO_BACK, AFTER_A_GAP),
        series=[Series(one.row, one.gap, one.rounds) for one in contestants],
        notes=notes(options, len(photo), daemon.work, contestants),
    )
    print(as_table(result))
    if options.json:
        options.json.write_text(json.dumps(as_json(result), indent=2) + "\n")


def line_up(daemon: Dermald, neighbour: Neighbour) -> list[Contestant]:
    """In the order of their turns: who is compared stands side by side."""
    return [
        Contestant(PREDICT, AFTER_A_GAP, daemon.predict),
        Contestant(REFUSED, AFTER_A_GAP, daemon.refuse),
        Contestant(ARBITER, AFTER_A_GAP, neighbour.length),
        Contestant(HEALTH, AFTER_A_GAP, daemon.health),
        Contestant(REFUSED, BACK_TO_BACK, daemon.refuse),
        Contestant(ARBITER, BACK_TO_BACK, neighbour.length),
        Contestant(HEALTH, BACK_TO_BACK, daemon.health),
    ]


def notes(
    options: argparse.Namespace, length: int, work: list[float], contestants: list[Contestant]
) -> list[str]:
    """What the table means, and how the neighbour compares."""
    found = {(one.row, one.gap): one.rounds for one in contestants}
    lines = [
        f"Medians over {options.rounds} rounds of {options.requests} calls of each kind; "
        f"{length} bytes a call, except health.",
        "(1) its gap is its own work: decoding, loading, inference and rendering, "
        f"{statistics.median(work):.1f} ms in the median.",
    ]
    for gap in (BACK_TO_BACK, AFTER_A_GAP):
        pairs = list(zip(found[ARBITER, gap], found[REFUSED, gap], strict=True))
        p50 = statistics.median(theirs.p50 / ours.p50 for theirs, ours in pairs)
        p99 = statistics.median(theirs.p99 / ours.p99 for theirs, ours in pairs)
        lines.append(
            f"Dirty arbiter over dermald refused, {gap}: {p50:.1f} at p50, {p99:.1f} at p99 "
            "(medians of each round's ratio)."
        )
    return lines


def repeat(options: argparse.Namespace) -> str:
    """The command for the same run."""
    words = ["python", "tests/bench/transport.py"]
    words += ["--rounds", str(options.rounds), "--requests", str(options.requests)]
    words += ["--daemon", from_root(options.daemon)]
    return shlex.join(words)


def parse_options() -> argparse.Namespace:
    parser = command(__doc__)
    parser.add_argument("--rounds", type=count, default=8, help="how often all take a turn")
    parser.add_argument("--requests", type=count, default=150, help="calls in each turn")
    parser.add_argument("--json", type=Path, help="write all rounds to this file as well")
    return parser.parse_args()


if __name__ == "__main__":
    main()
