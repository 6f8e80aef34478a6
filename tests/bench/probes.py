"""What health probes cost the pictures: 1,000 of them a second beside inference.

    python tests/bench/probes.py [--rate N] [--seconds S] [--bundle FOLDER] [--daemon FILE]
        [--json FILE]

Rounds with probes and rounds without take turns. What counts is the processor time that the
inference thread needs for a picture, by the kernel's count for that thread: how long a picture
takes by the clock says as much about who else wants the processors, the prober among them.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import time
from dataclasses import asdict, dataclass
from multiprocessing.synchronize import Event
from pathlib import Path

import dermald
from command import command, count, folder_of_bundle, from_root, progress
from machine import Witness, versions
from processes import (  # type: ignore[import-not-found,unused-ignore]
    Daemon,
    private_folder,
)
from report import heading
from subjects import ROOT, forget_settings, make_photo

# How much more of the processor a picture may take, in percent.
MARK_PERCENT = 5
ROUNDS = 6
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Round:
    """milliseconds: of processor time for a picture. probes: a second."""

    milliseconds: float
    pictures: int
    probes: float
    failed: int


def main() -> None:
    options = parse_options()
    witness = Witness()
    forget_settings()
    photo = make_photo()
    rounds: dict[bool, list[Round]] = {False: [], True: []}
    with private_folder() as folder:
        daemon = Daemon(options.daemon, options.bundle, folder / "dermald.sock")
        try:
            for number in range(2 * ROUNDS):
                probed = number % 2 == 1
                progress(f"round {number + 1} of {2 * ROUNDS}{', with probes' if probed else ''}")
                rate = options.rate if probed else 0
                rounds[probed].append(measure(daemon, photo, options.seconds / ROUNDS, rate))
        finally:
            daemon.terminate()
    tell(options, witness, rounds)


def measure(daemon: Daemon, photo: bytes, seconds: float, rate: int) -> Round:
    stop = multiprocessing.Event()
    told: multiprocessing.SimpleQueue[tuple[int, int]] = multiprocessing.SimpleQueue()
    arguments = (daemon.socket, rate, stop, told)
    prober = multiprocessing.Process(target=probe, args=arguments) if rate else None
    with dermald.Client(daemon.socket) as client:
        client.predict(photo)
        if prober:
            prober.start()
        thread = inference_thread(daemon.pid)
        began, before, pictures = time.monotonic(), thread_seconds(thread), 0
        while time.monotonic() - began < seconds:
            client.predict(photo)
            pictures += 1
    took, spent = time.monotonic() - began, thread_seconds(thread) - before
    probes = failed = 0
    if prober:
        stop.set()
        probes, failed = told.get()
        prober.join()
    return Round(1000 * spent / pictures, pictures, probes / took, failed)


def probe(
    socket: Path, rate: int, stop: Event, told: multiprocessing.SimpleQueue[tuple[int, int]]
) -> None:
    """Asks `rate` times a second; what was missed is made up for."""
    done = failed = 0
    began = time.monotonic()
    with dermald.Client(socket, retries=0) as client:
        while not stop.is_set():
            if done >= (time.monotonic() - began) * rate:
                time.sleep(0.0005)
                continue
            done += 1
            try:
                failed += not client.health(timeout=1).ready
            except dermald.DermaldError:
                failed += 1
    told.put((done, failed))


def inference_thread(pid: int) -> Path:
    for task in Path(f"/proc/{pid}/task").iterdir():
        if (task / "comm").read_text().strip() == "inference":
            return task
    raise RuntimeError("the daemon has no inference thread")


def thread_seconds(task: Path) -> float:
    """What the kernel's scheduler counted, in nanoseconds; where it does not, in ticks."""
    try:
        return int((task / "schedstat").read_text().split()[0]) / 1e9
    except FileNotFoundError:
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS


def tell(options: argparse.Namespace, witness: Witness, rounds: dict[bool, list[Round]]) -> None:
    medians = {
        probed: statistics.median(one.milliseconds for one in found)
        for probed, found in rounds.items()
    }
    more = 100 * (medians[True] / medians[False] - 1)
    failed = sum(one.failed for one in rounds[True])
    rate = statistics.median(one.probes for one in rounds[True])
    words = ["python", "tests/bench/probes.py", "--rate", str(options.rate)]
    words += ["--seconds", f"{options.seconds:g}", "--bundle", from_root(options.bundle)]
    machine = witness.describe()
    print("\n".join(heading(" ".join(words), machine, versions(options.daemon))))
    print(f"processor time of the inference thread for a picture, median of {ROUNDS} rounds:")
    print(f"  without probes            {medians[False]:8.2f} ms")
    print(f"  with {rate:5.0f} probes/s        {medians[True]:8.2f} ms")
    print(f"  more                      {more:8.1f} %   (goal: at most {MARK_PERCENT})")
    print(f"probes that failed or found the daemon not ready: {failed}   (goal: 0)")
    if options.json:
        found = {
            "machine": machine,
            "more_percent": more,
            "failed": failed,
            "rounds": {str(probed): list(map(asdict, found)) for probed, found in rounds.items()},
        }
        options.json.write_text(json.dumps(found) + "\n", encoding="utf-8")


def parse_options() -> argparse.Namespace:
    parser = command(__doc__)
    parser.add_argument("--rate", type=count, default=1000, help="probes a second")
    parser.add_argument("--seconds", type=float, default=30, help="with probes, and without")
    bundle = ROOT / "models" / "demo"
    parser.add_argument("--bundle", type=folder_of_bundle, default=bundle, help="the model")
    parser.add_argument("--json", type=Path, help="write all here")
    return parser.parse_args()


if __name__ == "__main__":
    main()
