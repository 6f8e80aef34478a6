"""A daemon that is asked by several clients at once, block after block, and what it holds between.

Knows no table and no goal.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import dermald
from bundles import Bundle
from served import daemon_with
from soak_mix import Caller, Kind
from subjects import PATIENCE_SECONDS
from watch import cpu_seconds

# Memory that stays the same for so long, but for some pages, is what the daemon holds at rest.
SETTLED_SECONDS = 0.3
SETTLED_MIB = 0.05


@dataclass
class Block:
    """What became of some requests. Memory in MiB, at rest behind them."""

    requests: int
    seconds: float
    cpu_seconds: float
    anonymous: float
    rss: float
    outcomes: Counter[str] = field(default_factory=Counter)


class Soaked:
    """A daemon and its callers. Each caller is a thread with a client of its own."""

    def __init__(
        self, pid: int, socket: Path, kinds: dict[Kind, int], pictures: list[bytes], clients: int
    ) -> None:
        self._pid = pid
        self._kinds = kinds
        with dermald.Client(socket) as client:
            model = client.status()["model"]
        assert isinstance(model, dict)
        classes = len(model["labels"])
        self._callers = [
            Caller(dermald.Client(socket), socket, random.Random(number), pictures, classes)
            for number in range(clients)
        ]

    @classmethod
    @contextmanager
    def running(
        cls,
        binary: Path,
        bundle: Bundle,
        cache: Path,
        kinds: dict[Kind, int],
        pictures: list[bytes],
        clients: int,
        variables: dict[str, str],
    ) -> Iterator[Soaked]:
        with daemon_with(binary, bundle, cache, preload=False, variables=variables) as (daemon, _):
            yield cls(daemon.pid, daemon.socket, kinds, pictures, clients)

    def ask(self, requests: int) -> Block:
        """So many requests in all; then waits until nobody is served any more."""
        began, cpu = time.monotonic(), cpu_seconds(self._pid)
        shares = [requests // len(self._callers)] * len(self._callers)
        shares[0] += requests - sum(shares)
        with ThreadPoolExecutor(len(self._callers)) as pool:
            outcomes = sum(pool.map(self._take, self._callers, shares), Counter[str]())
        seconds = time.monotonic() - began
        anonymous, rss = self._rest()
        cpu = cpu_seconds(self._pid) - cpu
        return Block(requests, seconds, cpu, anonymous, rss, outcomes)

    def _take(self, caller: Caller, requests: int) -> Counter[str]:
        outcomes: Counter[str] = Counter()
        kinds, weights = list(self._kinds), list(self._kinds.values())
        for kind in caller.source.choices(kinds, weights, k=requests):
            outcomes[f"{kind.__name__}: {outcome(kind, caller)}"] += 1
        return outcomes

    def _rest(self) -> tuple[float, float]:
        """Memory once the daemon has noticed everybody who left and gives nothing back any more."""
        client = self._callers[0].client
        until = time.monotonic() + PATIENCE_SECONDS
        before = memory(self._pid)
        while time.monotonic() < until:
            time.sleep(SETTLED_SECONDS)
            queue = client.status()["queue"]
            assert isinstance(queue, dict)
            now = memory(self._pid)
            idle = not queue["requests"] and not queue["running"]
            if idle and abs(now[0] - before[0]) < SETTLED_MIB:
                return now
            before = now
        raise RuntimeError("the daemon does not come to rest")


def outcome(kind: Kind, caller: Caller) -> str:
    """`ok`, or the code of the daemon's error. Raises whatever is no answer of the daemon."""
    try:
        kind(caller)
    except (dermald.Unreachable, dermald.ProtocolError, dermald.UntrustedDaemon):
        raise
    except dermald.DermaldError as error:
        return error.code or type(error).__name__
    return "ok"


def memory(pid: int) -> tuple[float, float]:
    """Anonymous and resident memory, in MiB."""
    found = {}
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(("RssAnon:", "VmRSS:")):
            key, kilobytes, _ = line.split()
            found[key] = int(kilobytes) / 1024
    return found["RssAnon:"], found["VmRSS:"]
