"""The client that was written from docs/protocol.md alone, in another language, still works."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CLIENT = ROOT / "tests/clients/client.pl"


def run(socket: Path, photo: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["perl", CLIENT, socket, photo], capture_output=True, text=True, timeout=60, check=False
    )


def test_page_is_enough_to_write_a_client(socket: Path) -> None:
    done = run(socket, ROOT / "models/demo/sample.jpg")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("model dermald-demo 1.0.0 ")
    assert lines[1].split()[1] == "ring"
    assert "heatmap 16x16" in lines
    assert lines[-1] == "health ready"


def test_client_from_the_page_reads_errors(socket: Path) -> None:
    done = run(socket, ROOT / "README.md")
    assert done.returncode == 1
    assert done.stdout.startswith("error picture_unsupported caller no ")
