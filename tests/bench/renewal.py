"""Measures what clients see of a renewal, what it costs, and what an idle daemon keeps.

Renewals are asked for at random moments while a client, with retries off, asks one picture after
the other. The pause is what the request that met a renewal took beyond a normal one; CPU time is
the process's own, which an `exec` does not set back. At the end a daemon that was loaded is left
alone until it gives its model back.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import dermald
from bundles import Bundle, prepare
from calls import percentile
from command import command, count, folder_of_bundle, from_root, progress
from machine import Witness, versions
from photos import write_photo
from processes import memory  # type: ignore[import-not-found,unused-ignore]
from report import heading
from served import daemon_with
from subjects import PATIENCE_SECONDS, ROOT
from watch import cpu_seconds

# What a renewal may cost a client at most beyond a normal request, in milliseconds.
MARK_P50, MARK_P99 = 400, 1000
# What an idle daemon may keep, in MiB, and what its next answer may cost, in milliseconds of CPU.
MARK_IDLE_MIB, MARK_IDLE_CPU = 8, 300

NORMAL = 30


@dataclass(frozen=True)
class Result:
    """Times in milliseconds, memory in MiB."""

    normal: float
    normal_cpu: float
    # Of each renewal: what its client saw beyond a normal request, what the daemon says of its own
    # pause, and CPU time beyond that of the requests.
    seen: list[float]
    pauses: list[float]
    cpu: float
    loaded_rss: float
    idle_rss: float
    idle_cpu: float


def main() -> None:
    parser = command(__doc__)
    parser.add_argument("--bundle", type=folder_of_bundle, default=ROOT / "build/reference/bundle")
    parser.add_argument("--renewals", type=count, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    witness = Witness()
    bundle = Bundle.read(options.bundle)
    with tempfile.TemporaryDirectory() as folder:
        write_photo(Path(folder) / "photo.jpg", (1600, 1200))
        photo = (Path(folder) / "photo.jpg").read_bytes()
        cache = Path(folder) / "cache"
        progress("preparing the model")
        prepare(options.daemon, bundle, cache)
        busy = under_way(options, bundle, cache, photo)
        idle = left_alone(options.daemon, bundle, cache, photo)
    result = Result(*busy, *idle)
    line = f"python tests/bench/renewal.py --bundle {from_root(options.bundle)}"
    told = f"{line} --renewals {options.renewals} --seed {options.seed}"
    print(table(told, witness, options.daemon, result))
    if options.json:
        options.json.write_text(json.dumps({"command": told, **asdict(result)}, indent=1))


def under_way(
    options: argparse.Namespace, bundle: Bundle, cache: Path, photo: bytes
) -> tuple[float, float, list[float], list[float], float]:
    """A daemon that is renewed while it works."""
    binary, renewals = options.daemon, options.renewals
    dice = random.Random(options.seed)
    seen = []
    with (
        daemon_with(binary, bundle, cache, preload=True) as (daemon, _),
        dermald.Client(daemon.socket, retries=0) as client,
    ):
        client.predict(photo, explain="values")
        before = cpu_seconds(daemon.pid)
        normal = [timed(client, photo) for _ in range(NORMAL)]
        normal_cpu = (cpu_seconds(daemon.pid) - before) / NORMAL
        usual = statistics.median(normal)
        before, answered = cpu_seconds(daemon.pid), 0
        for number in range(renewals):
            if number % 20 == 0:
                progress(f"renewal {number} of {renewals}")
            asked = threading.Timer(dice.uniform(0, 2 * usual), renew, (binary, daemon.socket))
            asked.start()
            worst = 0.0
            while asked.is_alive():
                worst = max(worst, timed(client, photo))
                answered += 1
            # The one that came after the renewal loads the model again.
            worst = max(worst, timed(client, photo))
            answered += 1
            seen.append((worst - usual) * 1000)
        cpu = cpu_seconds(daemon.pid) - before - normal_cpu * answered
        recent = renewals_of(client)["recent"]
    pauses = [float(one["pause_ms"]) for one in recent]
    return usual * 1000, normal_cpu * 1000, seen, pauses, cpu * 1000 / renewals


def left_alone(
    binary: Path, bundle: Bundle, cache: Path, photo: bytes
) -> tuple[float, float, float]:
    """A daemon that was loaded and is forgotten."""
    short = {"DERMALD_IDLE": "1s", "DERMALD_LEAST_LIFETIME": "10ms"}
    with daemon_with(binary, bundle, cache, preload=False, variables=short) as (daemon, client):
        for _ in range(3):
            client.predict(photo, explain="values")
        loaded = memory(bundle.name, daemon.pid).rss
        give_up = time.monotonic() + PATIENCE_SECONDS
        while renewals_of(client)["counts"]["idle"] == 0:
            if time.monotonic() > give_up:
                raise RuntimeError("the daemon did not become idle")
            time.sleep(0.1)
        idle = memory(bundle.name, daemon.pid).rss
        before = cpu_seconds(daemon.pid)
        client.predict(photo, explain="values")
        first = cpu_seconds(daemon.pid) - before
        client.predict(photo, explain="values")
        return loaded, idle, first * 1000


def renewals_of(client: dermald.Client) -> dict[str, Any]:
    found = client.status()["renewals"]
    assert isinstance(found, dict)
    return found


def timed(client: dermald.Client, photo: bytes) -> float:
    started = time.perf_counter()
    client.predict(photo, explain="values")
    return time.perf_counter() - started


def renew(binary: Path, socket: Path) -> None:
    subprocess.run([binary, "renew", "--socket", socket], check=True, stdout=subprocess.DEVNULL)


def table(told: str, witness: Witness, binary: Path, result: Result) -> str:
    lines = heading(told, witness.describe(), versions(binary, "onnxruntime"))
    seen, pauses = sorted(result.seen), sorted(result.pauses)
    rows = [
        ("a normal request", f"{result.normal:.0f} ms, {result.normal_cpu:.0f} ms of CPU"),
        (
            f"beyond it, when a renewal came (n = {len(seen)})",
            f"p50 {percentile(seen, 50):.0f} ms (mark {MARK_P50}),"
            f" p99 {percentile(seen, 99):.0f} ms (mark {MARK_P99}), most {seen[-1]:.0f} ms",
        ),
        (
            "nothing read from clients",
            f"p50 {percentile(pauses, 50):.0f} ms, most {pauses[-1]:.0f} ms",
        ),
        ("CPU of a renewal with its load", f"{result.cpu:.0f} ms"),
        (
            "resident: loaded, then idle",
            f"{result.loaded_rss:.1f} MiB, {result.idle_rss:.1f} MiB (mark {MARK_IDLE_MIB})",
        ),
        (
            "the answer after idleness, beyond a normal one",
            f"{result.idle_cpu - result.normal_cpu:.0f} ms of CPU (mark {MARK_IDLE_CPU})",
        ),
    ]
    lines += [f"{name:<48}{text}" for name, text in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
