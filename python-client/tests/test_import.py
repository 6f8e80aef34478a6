"""What `import dermald` costs: it is paid by every worker and every management command."""

from __future__ import annotations

import json
import subprocess
import sys

import dermald

# Of twelve runs the fastest counts: the rest measures the neighbours on the machine.
RUNS = 12
LIMIT_SECONDS = 0.030
LIMIT_KB = 3 * 1024

MEASURE = """
import sys, time
def rss_kb():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4
sys.path.insert(0, {source!r})
memory, begin = rss_kb(), time.perf_counter()
import dermald
seconds, memory = time.perf_counter() - begin, rss_kb() - memory
print('{{"seconds": %r, "kb": %r, "modules": "%s"}}'
      % (seconds, memory, " ".join(sorted(sys.modules))))
"""


def measure() -> dict[str, object]:
    source = str(dermald.__path__[0]).removesuffix("/dermald")
    done = subprocess.run(
        [sys.executable, "-I", "-c", MEASURE.format(source=source)],
        capture_output=True,
        text=True,
        check=True,
    )
    measured = json.loads(done.stdout)
    assert isinstance(measured, dict)
    return measured


def test_import_is_quick_and_small() -> None:
    runs = [measure() for _ in range(RUNS)]
    seconds = min(float(str(run["seconds"])) for run in runs)
    kilobytes = min(int(str(run["kb"])) for run in runs)
    print(f"import dermald: {seconds * 1000:.1f} ms, {kilobytes} KB")
    assert seconds <= LIMIT_SECONDS
    assert kilobytes <= LIMIT_KB


def test_import_leaves_out_what_only_some_need() -> None:
    modules = set(str(measure()["modules"]).split())
    heavy = {"asyncio", "django", "json", "logging", "socket", "typing", "urllib"}
    assert modules & heavy == set()


def test_async_client_is_loaded_at_its_first_use() -> None:
    code = (
        "import sys, dermald; assert 'asyncio' not in sys.modules; dermald.AsyncClient; "
        "assert 'asyncio' in sys.modules; assert 'AsyncClient' in dir(dermald)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_opens_nothing() -> None:
    code = "import os, dermald; print(len(os.listdir('/proc/self/fd')))"
    bare = "import os; print(len(os.listdir('/proc/self/fd')))"
    counts = [
        subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
        for text in (code, bare)
    ]
    assert counts[0].stdout == counts[1].stdout
