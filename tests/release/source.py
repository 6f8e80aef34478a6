"""The source distribution builds, as pip builds it for a site whose machine no wheel serves.

    python tests/release/source.py ARCHIVE --into FOLDER

With Rust on the path, in a new environment that holds what a site gets and nothing else. Exits 0
when the daemon in it tells its version.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path

from bare import EXTRAS, ROOT, run


def main() -> None:
    options = parse_options()
    folder = options.into.resolve()
    shutil.rmtree(folder, ignore_errors=True)
    run([sys.executable, "-m", "venv", str(folder)])
    pip = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet"]
    started = time.monotonic()
    archive = f"dermald[{EXTRAS}] @ {options.archive.resolve().as_uri()}"
    run([*pip, "--disable-pip-version-check", archive])
    seconds = time.monotonic() - started
    told = run([str(folder / "bin/dermald"), "--version"]).strip()
    client = run([str(folder / "bin/python"), "-c", "import dermald; print(dermald.__version__)"])
    if told.split() != ["dermald", client.strip()]:
        raise SystemExit(f"the daemon says {told}, the client {client}")
    print(f"{options.archive.name}: built and installed in {seconds:.0f} s, {told}")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("archive", type=Path, help="the source distribution")
    parser.add_argument(
        "--into", type=Path, default=ROOT / "target/bare/source", help="the environment; made anew"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
