"""One client, many threads, several processes: every answer belongs to its own request."""

from __future__ import annotations

import os
import random
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

import dermald
from photos import variants
from processes import Daemon

# 2000 in `make proof`.
REQUESTS = int(os.environ.get("TEST_SHARED_REQUESTS", "2000"))
THREADS = 8
CHILDREN = 2
PICTURES = 12

Labels = tuple[dermald.Label, ...]


def ask(
    client: dermald.Client, pictures: list[bytes], expected: list[Labels], seed: int, count: int
) -> None:
    """Asks about pictures in an order of its own. Raises at the first wrong answer."""
    order = random.Random(seed)
    for _ in range(count):
        number = order.randrange(len(pictures))
        labels = client.predict(pictures[number]).labels
        assert labels == expected[number], f"the answer about picture {number} is another's"


def fork(work: Callable[[], None]) -> int:
    """Runs `work` in a forked process, which exits with 0 when it raised nothing."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        work()
        code = 0
    except BaseException:  # noqa: BLE001  # a forked test must not go on as a second pytest
        traceback.print_exc()
    finally:
        os._exit(code)


def exit_code(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def open_sockets() -> int:
    links = (f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd"))
    return sum(os.readlink(link).startswith("socket:") for link in links if os.path.islink(link))


def test_threads_and_forked_processes_share_a_client(daemon: Daemon, photo: Path) -> None:
    pictures = variants(photo, PICTURES)
    client = dermald.Client(daemon.socket, pool_size=THREADS)
    expected = [client.predict(picture).labels for picture in pictures]
    assert len({labels[0].probability for labels in expected}) == PICTURES
    count = REQUESTS // (THREADS + CHILDREN)
    errors: list[BaseException] = []

    def run(seed: int) -> None:
        try:
            ask(client, pictures, expected, seed, count)
        except BaseException as error:  # noqa: BLE001  # told to the test, on its own thread
            errors.append(error)

    # The client is warm: the children inherit its open connection.
    children = [
        fork(lambda seed=seed: ask(client, pictures, expected, seed, count))  # type: ignore[misc]
        for seed in range(CHILDREN)
    ]
    threads = [threading.Thread(target=run, args=(100 + n,)) for n in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [exit_code(child) for child in children] == [0] * CHILDREN
    assert errors == []
    client.close()


@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_fork_while_other_threads_are_in_the_middle_of_a_call(daemon: Daemon, photo: Path) -> None:
    pictures = variants(photo, 4)
    client = dermald.Client(daemon.socket, pool_size=2)
    expected = [client.predict(picture).labels for picture in pictures]
    over = threading.Event()
    errors: list[BaseException] = []

    def run(seed: int) -> None:
        try:
            while not over.is_set():
                ask(client, pictures, expected, seed, 1)
        except BaseException as error:  # noqa: BLE001  # told to the test, on its own thread
            errors.append(error)

    # More threads than connections, so that some hold the pool's lock or wait for it.
    threads = [threading.Thread(target=run, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    try:
        for seed in range(5):
            child = fork(lambda seed=seed: ask(client, pictures, expected, seed, 3))  # type: ignore[misc]
            assert exit_code(child) == 0
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert errors == []
    client.close()


def test_child_closes_the_connections_that_it_inherits(daemon: Daemon, photo: Path) -> None:
    client = dermald.Client(daemon.socket)
    before = open_sockets()
    client.predict(photo)
    assert open_sockets() == before + 1

    def check() -> None:
        assert open_sockets() == before
        client.predict(photo)
        assert open_sockets() == before + 1

    assert exit_code(fork(check)) == 0
    assert open_sockets() == before + 1
    client.predict(photo)
    client.close()
    assert open_sockets() == before
