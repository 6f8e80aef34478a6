"""How far a long command is: a bar on a terminal, where tqdm is installed; else a line now and
then, which is what a log wants."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from typing import TypeVar

from django.core.management.base import OutputWrapper

T = TypeVar("T")

_LINE_EVERY_SECONDS = 10.0


def progress(rows: Iterable[T], total: int, out: OutputWrapper) -> Iterator[T]:
    """The same rows, told about on `out`."""
    if out.isatty() and find_spec("tqdm"):
        from tqdm import tqdm

        return iter(tqdm(rows, total=total, unit="row"))
    return _in_lines(rows, total, out)


def _in_lines(rows: Iterable[T], total: int, out: OutputWrapper) -> Iterator[T]:
    begun = told = time.monotonic()
    done = 0
    for row in rows:
        yield row
        done += 1
        now = time.monotonic()
        if now - told >= _LINE_EVERY_SECONDS:
            told = now
            out.write(line(done, total, now - begun))
    out.write(line(done, total, time.monotonic() - begun))


def line(done: int, total: int, seconds: float) -> str:
    """Such as `120 of 1000, 4.8 rows/s, 183 s left`."""
    rate = done / seconds if seconds else 0.0
    left = f", {max(total - done, 0) / rate:.0f} s left" if rate and done < total else ""
    return f"{done} of {total}, {rate:.1f} rows/s{left}"
