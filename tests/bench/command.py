"""What the benchmarks' commands share: kinds of options, progress, and the way out."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from types import FrameType

from subjects import ROOT

DAEMON = ROOT / "target" / "release" / "dermald"


def described(description: str | None) -> argparse.ArgumentParser:
    """A command line with nothing in it yet; the description is the file's."""
    return argparse.ArgumentParser(
        description=(description or "").partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )


def command(description: str | None) -> argparse.ArgumentParser:
    """What a command line begins with that measures one daemon."""
    parser = described(description)
    parser.add_argument("--daemon", type=file, default=DAEMON, help="the daemon's binary")
    return parser


def count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is no count; it is at least 1")
    return number


def file(text: str) -> Path:
    path = Path(text).resolve()
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text}; run `cargo build --release`")
    return path


def folder_of_bundle(text: str) -> Path:
    path = Path(text).resolve()
    if not (path / "manifest.toml").is_file():
        raise argparse.ArgumentTypeError(f"{text} is no bundle: it has no manifest.toml")
    return path


def variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text} is not of the form NAME=VALUE")
    return name, value


def from_root(path: Path) -> str:
    """How a printed command names a path: what lies in the repository, from its root."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def leave(signal_number: int, _frame: FrameType | None) -> None:
    """An exception on the way out: everything that was started is stopped."""
    raise SystemExit(128 + signal_number)


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
