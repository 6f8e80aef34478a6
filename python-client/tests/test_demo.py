"""The demonstration does what it says, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from conftest import DEMO

SCRIPT = Path(__file__).resolve().parents[1] / "example" / "demo.py"


def command(binary: Path, output: Path, *options: str) -> list[str]:
    demo = [sys.executable, str(SCRIPT), "--daemon", str(binary), "--bundle", str(DEMO)]
    return [*demo, "--output", str(output), *options]


def leaving_traces_in(folder: Path) -> dict[str, str]:
    """All else under /dev/shm is other people's."""
    return {**os.environ, "PRIVATE_FOLDERS": str(folder)}


def pids(printed: str) -> list[int]:
    found = re.findall(r"^  (?:dermald|gunicorn|gunicorn worker) +(\d+)", printed, re.MULTILINE)
    return [int(pid) for pid in found]


def test_demo_shows_the_class_and_writes_the_pictures(
    binary: Path, tmp_path: Path, folder: Path
) -> None:
    done = subprocess.run(
        command(binary, tmp_path, "--expect", "ring"),
        env=leaving_traces_in(folder),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "overlay.jpeg",
        "page.html",
        "photo.jpg",
    ]
    assert "%  Ring" in done.stdout
    assert len(pids(done.stdout)) == 3
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids(done.stdout))
    assert list(folder.iterdir()) == []


def test_demo_fails_when_another_class_was_expected(binary: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        command(binary, tmp_path, "--expect", "bumps"), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "bumps was expected, ring came" in done.stderr


def test_demo_ends_what_it_started_when_it_is_ended(
    binary: Path, tmp_path: Path, folder: Path
) -> None:
    running = subprocess.Popen(
        command(binary, tmp_path, "--stay"),
        env=leaving_traces_in(folder),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert running.stdout is not None
    printed = ""
    while "until Ctrl-C" not in printed:
        line = running.stdout.readline()
        assert line, printed
        printed += line
    os.kill(running.pid, signal.SIGTERM)
    assert running.wait(60) == 128 + signal.SIGTERM
    running.stdout.close()
    assert len(pids(printed)) == 3
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids(printed))
    assert list(folder.iterdir()) == []
