"""What the settings of the C library's allocator do to the daemon's memory, and what they cost.

    python tests/bench/allocator.py [--variant "NAME=VALUE ..."]... [--blocks N] [--block N]
        [--clients N] [--bundle FOLDER] [--daemon FILE]

Needs `cargo build --release` and the packages of tests/requirements.txt. Every variant is a daemon
of its own with these variables, which gets the same mix of requests as in soak.py. At rest behind
each block its anonymous memory is read. All take turns, block after block,
so that whatever else the machine does hits all alike; processor time is compared within a block.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bundles import Bundle, prepare
from command import command, count, folder_of_bundle, from_root, leave, progress, variable
from machine import Witness, versions
from report import heading
from soak import BLOCK, SAMPLE
from soak_mix import KINDS, make_pictures
from soak_run import Block, Soaked
from subjects import BUNDLE, ROOT, forget_settings

AS_IT_COMES = ""
VARIANTS = (
    AS_IT_COMES,
    "MALLOC_ARENA_MAX=1",
    "MALLOC_TRIM_THRESHOLD_=131072",
    "MALLOC_MMAP_THRESHOLD_=4194304",
    "MALLOC_MMAP_THRESHOLD_=1048576",
    "MALLOC_MMAP_THRESHOLD_=131072",
    "MALLOC_MMAP_THRESHOLD_=4194304 MALLOC_TRIM_THRESHOLD_=8388608",
    "MALLOC_MMAP_THRESHOLD_=4194304 MALLOC_TRIM_THRESHOLD_=8388608 MALLOC_ARENA_MAX=1",
)


def main() -> None:
    options = parse_options()
    signal.signal(signal.SIGTERM, leave)
    forget_settings()
    variants = options.variant or list(VARIANTS)
    witness = Witness()
    blocks = measure(options, variants)
    for line in heading(
        repeat(options, variants), witness.describe(), versions(options.daemon, "onnxruntime")
    ):
        print(line)
    print_table(variants, blocks)


def measure(options: argparse.Namespace, variants: list[str]) -> list[list[Block]]:
    """The blocks of each variant."""
    progress("making pictures")
    pictures = make_pictures([SAMPLE])
    bundle = Bundle.read(options.bundle)
    with ExitStack() as stack:
        scratch = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir=ROOT / "target"))
        )
        prepare(options.daemon, bundle, scratch / "cache")
        soaked = [
            stack.enter_context(
                Soaked.running(
                    options.daemon,
                    bundle,
                    scratch / "cache",
                    KINDS,
                    pictures,
                    options.clients,
                    dict(map(variable, variant.split())),
                )
            )
            for variant in variants
        ]
        blocks: list[list[Block]] = [[] for _ in variants]
        for number in range(options.blocks):
            progress(f"block {number + 1} of {options.blocks}")
            for one, found in zip(soaked, blocks, strict=True):
                found.append(one.ask(options.block))
        return blocks


def print_table(variants: list[str], blocks: list[list[Block]]) -> None:
    columns = ("least MB", "median MB", "most MB", "growth MB", "CPU ms each", "of the first")
    print(f"{'anonymous memory at rest':<82}" + "".join(f"{column:>13}" for column in columns))
    for variant, found in zip(variants, blocks, strict=True):
        held = [block.anonymous for block in found]
        cpu = [block.cpu_seconds / block.requests * 1000 for block in found]
        pairs = zip(found, blocks[0], strict=True)
        ratio = statistics.median(ours.cpu_seconds / first.cpu_seconds for ours, first in pairs)
        cells = (min(held), statistics.median(held), max(held), max(held) - held[0])
        line = f"{variant or 'as it comes':<82}" + "".join(f"{cell:>13.1f}" for cell in cells)
        print(f"{line}{statistics.median(cpu):>13.2f}{ratio:>13.2f}")


def repeat(options: argparse.Namespace, variants: list[str]) -> str:
    """The command for the same run."""
    words = ["python", "tests/bench/allocator.py"]
    for variant in variants:
        words += ["--variant", variant]
    words += ["--blocks", str(options.blocks), "--block", str(options.block)]
    words += ["--clients", str(options.clients)]
    words += ["--bundle", from_root(options.bundle), "--daemon", from_root(options.daemon)]
    return shlex.join(words)


def parse_options() -> argparse.Namespace:
    parser = command(__doc__)
    parser.add_argument(
        "--variant", action="append", help="variables of one daemon; empty for none; repeat it"
    )
    parser.add_argument("--blocks", type=count, default=4, help="for each variant")
    parser.add_argument("--block", type=count, default=BLOCK, help="requests in each block")
    parser.add_argument("--clients", type=count, default=4, help="that ask at the same time")
    parser.add_argument("--bundle", type=folder_of_bundle, default=BUNDLE, help="what is served")
    return parser.parse_args()


if __name__ == "__main__":
    main()
