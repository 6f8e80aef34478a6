"""A site's requests, one after another on several connections, until the input ends.

Nothing is tried again: a request that is lost counts as lost. Prints `begun` once every connection
has its first answer, and at the end what came of all requests, as JSON.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import dermald

PHOTO = Path("/var/lib/dermald/model/sample.jpg").read_bytes()


class Load:
    def __init__(self, connections: int) -> None:
        self._stop = threading.Event()
        self._begun = threading.Barrier(connections + 1)
        self.outcomes: Counter[str] = Counter()
        self.longest = 0.0

    def ask(self, number: int) -> None:
        # Bytes behind its end make another picture of it: what is the same is run once for all.
        photo = PHOTO + bytes([number])
        # One connection for all of it, as a worker has.
        with dermald.Client(retries=0, pool_size=1) as client:
            self._one(client, photo)
            self._begun.wait()
            while not self._stop.is_set():
                self._one(client, photo)

    def _one(self, client: dermald.Client, photo: bytes) -> None:
        started = time.monotonic()
        try:
            outcome = client.predict(photo, timeout=60).labels[0].name
        except dermald.DermaldError as error:
            outcome = f"{type(error).__name__}: {error}"
        self.longest = max(self.longest, time.monotonic() - started)
        self.outcomes[outcome] += 1

    def begun(self) -> None:
        self._begun.wait()

    def end(self) -> None:
        self._stop.set()


def main() -> None:
    connections = int(sys.argv[1])
    load = Load(connections)
    threads = [threading.Thread(target=load.ask, args=[n]) for n in range(connections)]
    for thread in threads:
        thread.start()
    load.begun()
    print("begun", flush=True)
    sys.stdin.read()
    load.end()
    for thread in threads:
        thread.join()
    print(json.dumps({"outcomes": load.outcomes, "longest": load.longest}))


if __name__ == "__main__":
    main()
