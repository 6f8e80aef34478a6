"""Whether a daemon's memory grows with the requests that it has answered.

    python tests/bench/soak.py [--requests N | --minutes M] [--clients N] [--only KIND]...
        [--bundle FOLDER] [--variable NAME=VALUE]... [--daemon FILE]

Needs `cargo build --release` and the packages of tests/requirements.txt.

Several clients at once send pictures of many formats and sizes with all options, broken files,
text, and requests that they do not wait for: see soak_mix.py. After every thousand requests all
pause, and the daemon's anonymous memory is read: what it holds when nobody asks. The first thousand
fill its pools; what comes on top afterwards is growth. --only takes one kind of requests, to find
out which one makes it grow; --variable sets a variable of the daemon's environment.

It measures and judges nothing: the goal is marked as met or over, and the exit code is 0 unless
something failed to run.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path

from bundles import Bundle, prepare
from command import command, count, folder_of_bundle, from_root, leave, progress, variable
from machine import Witness, versions
from report import heading, verdict
from soak_mix import KINDS, Kind, make_pictures
from soak_run import Block, Soaked
from subjects import BUNDLE, ROOT, forget_settings

BLOCK = 1000
GOAL_MIB = 1.0
SAMPLE = ROOT / "models" / "demo" / "sample.jpg"
NAMES = {kind.__name__: kind for kind in KINDS}


def main() -> None:
    options = parse_options()
    signal.signal(signal.SIGTERM, leave)
    forget_settings()
    kinds = {NAMES[name]: KINDS[NAMES[name]] for name in options.only} or KINDS
    witness = Witness()
    blocks = soak(options, kinds)
    for line in heading(
        repeat(options), witness.describe(), versions(options.daemon, "onnxruntime")
    ):
        print(line)
    print_table(blocks)
    print_outcomes(blocks)
    print_growth(blocks)


def soak(options: argparse.Namespace, kinds: dict[Kind, int]) -> list[Block]:
    progress("making pictures")
    pictures = make_pictures([SAMPLE])
    bundle = Bundle.read(options.bundle)
    blocks: list[Block] = []
    with tempfile.TemporaryDirectory(prefix="bench-", dir=ROOT / "target") as scratch:
        cache = Path(scratch) / "cache"
        prepare(options.daemon, bundle, cache)
        with Soaked.running(
            options.daemon,
            bundle,
            cache,
            kinds,
            pictures,
            options.clients,
            dict(options.variable),
        ) as soaked:
            began = time.monotonic()
            while goes_on(options, blocks, time.monotonic() - began):
                blocks.append(soaked.ask(BLOCK))
                last = blocks[-1]
                progress(f"{len(blocks) * BLOCK} requests, {last.anonymous:.2f} MB anonymous")
    return blocks


def goes_on(options: argparse.Namespace, blocks: list[Block], seconds: float) -> bool:
    if options.minutes:
        return bool(seconds < options.minutes * 60)
    return len(blocks) * BLOCK < int(options.requests)


def print_table(blocks: list[Block]) -> None:
    columns = ("requests", "minutes", "anonymous MB", "growth MB", "RSS MB", "CPU ms each")
    print("".join(f"{column:>14}" for column in columns))
    minutes = 0.0
    for number, block in enumerate(blocks, 1):
        minutes += block.seconds / 60
        growth = block.anonymous - blocks[0].anonymous
        cells = f"{number * BLOCK:>14}{minutes:>14.1f}{block.anonymous:>14.2f}{growth:>14.2f}"
        print(f"{cells}{block.rss:>14.1f}{block.cpu_seconds / block.requests * 1000:>14.2f}")


def print_outcomes(blocks: list[Block]) -> None:
    """How the requests ended, so that a run in which nothing was done shows."""
    outcomes = sum((block.outcomes for block in blocks), Counter[str]())
    print()
    for name in NAMES:
        found = {k.partition(": ")[2]: n for k, n in outcomes.items() if k.startswith(f"{name}:")}
        if found:
            ended = ", ".join(f"{how} {n}" for how, n in sorted(found.items(), key=lambda x: -x[1]))
            print(f"{name:<12}{ended}")


def print_growth(blocks: list[Block]) -> None:
    """The highest after the first thousand counts, not the last: memory may go down again."""
    growth = max(block.anonymous for block in blocks) - blocks[0].anonymous
    slope = (blocks[-1].anonymous - blocks[0].anonymous) / max(len(blocks) - 1, 1)
    print(
        f"\ngrowth after the first {BLOCK:,}: {growth:.2f} MB (goal <={GOAL_MIB:g}: "
        f"{verdict(growth, GOAL_MIB)}); {slope:+.3f} MB for each {BLOCK:,}"
    )


def repeat(options: argparse.Namespace) -> str:
    """The command for the same run."""
    words = ["python", "tests/bench/soak.py", "--clients", str(options.clients)]
    if options.minutes:
        words += ["--minutes", f"{options.minutes:g}"]
    else:
        words += ["--requests", str(options.requests)]
    for name in options.only:
        words += ["--only", name]
    for name, value in options.variable:
        words += ["--variable", f"{name}={value}"]
    words += ["--bundle", from_root(options.bundle), "--daemon", from_root(options.daemon)]
    return shlex.join(words)


def parse_options() -> argparse.Namespace:
    parser = command(__doc__)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--requests", type=count, default=20_000, help="in blocks of a thousand")
    length.add_argument("--minutes", type=float, help="go on so long instead")
    parser.add_argument("--clients", type=count, default=4, help="that ask at the same time")
    parser.add_argument(
        "--only", choices=NAMES, action="append", default=[], help="one kind; may be repeated"
    )
    parser.add_argument("--bundle", type=folder_of_bundle, default=BUNDLE, help="what is served")
    parser.add_argument(
        "--variable", type=variable, action="append", default=[], help="of the daemon, NAME=VALUE"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
