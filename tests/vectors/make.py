"""Writes the golden files of the protocol: one NAME.bin per vector, and index.json.

    python3 tests/vectors/make.py            write them here
    python3 tests/vectors/make.py --check    say whether the files here are up to date

The bytes come from docs/protocol.md alone (see pack.py); no implementation is imported. A .bin
file is a whole frame, with its length in front. An implementation is tested against these files,
never the other way round: change them only together with the page.
"""

import json
import sys
from pathlib import Path

import bad
import good_replies
import good_requests

HERE = Path(__file__).resolve().parent


def files() -> dict[str, bytes]:
    """Every golden file by its name, with its content."""
    index: list[dict[str, object]] = []
    made: dict[str, bytes] = {}
    for name, direction, message, data in good_requests.VECTORS + good_replies.VECTORS:
        index.append({"name": name, "direction": direction, "kind": "good", "message": message})
        made[f"{name}.bin"] = data
    for name, direction, code, why, data in bad.VECTORS:
        index.append(
            {"name": name, "direction": direction, "kind": "bad", "code": code, "why": why}
        )
        made[f"{name}.bin"] = data
    if len(made) != len(index):
        raise ValueError("two vectors share a name")
    text = json.dumps(index, indent=1, ensure_ascii=False)
    made["index.json"] = f"{text}\n".encode()
    return made


def stale(wanted: dict[str, bytes]) -> list[str]:
    """Names of files that are missing, differ, or should not be here."""
    present = {path.name: path.read_bytes() for path in HERE.glob("*.bin")}
    index = HERE / "index.json"
    if index.exists():
        present[index.name] = index.read_bytes()
    names = wanted.keys() | present.keys()
    return sorted(name for name in names if wanted.get(name) != present.get(name))


def main() -> int:
    wanted = files()
    names = stale(wanted)
    if sys.argv[1:] == ["--check"]:
        print("\n".join(names) or f"{len(wanted)} files are up to date")
        return 1 if names else 0
    for name in names:
        path = HERE / name
        if name in wanted:
            path.write_bytes(wanted[name])
        else:
            path.unlink()
    print(f"{len(wanted)} files, {len(names)} changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
