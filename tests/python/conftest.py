"""A real daemon with the demonstration bundle, for the tests that belong to no single part."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("TEST_DERMALD") or ROOT / "target/debug/dermald")


@contextmanager
def private_folder() -> Iterator[Path]:
    """Where a socket may lie."""
    with tempfile.TemporaryDirectory(prefix="dermald-test-", dir="/dev/shm") as folder:
        yield Path(folder) / "s"


@contextmanager
def daemon(bundle: Path) -> Iterator[Path]:
    """The socket of a daemon that is ready, with this bundle."""
    with private_folder() as folder:
        path = folder / "d.sock"
        arguments = ["--socket", str(path), "--bundle", str(bundle)]
        process = subprocess.Popen([BINARY, "serve", *arguments, "--log-level", "warn"])
        try:
            subprocess.run(
                [BINARY, "health", "--socket", str(path), "--wait", "30s"],
                check=True,
                stdout=subprocess.DEVNULL,
            )
            yield path
        finally:
            process.terminate()
            process.wait(30)


@pytest.fixture(scope="session")
def socket() -> Iterator[Path]:
    """The socket of a daemon that is ready."""
    with daemon(ROOT / "models/demo") as path:
        yield path
