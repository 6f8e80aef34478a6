"""The whole path once: daemon, site under gunicorn, a photo through the site's upload page.

    python demo.py --daemon target/release/dermald --bundle models/demo \
        --photo models/demo/sample.jpg --expect LABEL

Writes the photo, the overlay and the page that the visitor sees, prints the classes and the
memory of each process, and ends all that it started; with --stay only at Ctrl-C. Exits 0 when
the most probable class is the expected one, 1 otherwise. Standard library only.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import socket
import sys
from base64 import b64decode
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from browser import UploadError, Visitor
from processes import Daemon, Gunicorn, Process, memory, private_folder

HERE = Path(__file__).resolve().parent
PAGE = "/skin/"
START_SECONDS = 60.0


@dataclass(frozen=True)
class Arguments:
    daemon: Path
    bundle: Path
    photo: Path
    output: Path
    expect: str | None
    stay: bool


@dataclass(frozen=True)
class Site:
    """What runs, and where."""

    daemon: Daemon
    gunicorn: Gunicorn
    port: int

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}{PAGE}"


def main() -> int:
    arguments = parse_arguments()
    # SIGTERM and SIGHUP leave through the same clean-up as Ctrl-C.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    with ExitStack() as stack:
        try:
            return run(stack, arguments)
        except KeyboardInterrupt:
            return 130
        except (OSError, RuntimeError, UploadError) as error:
            print(f"The demonstration failed: {error}", file=sys.stderr)
            return 1


def run(stack: ExitStack, arguments: Arguments) -> int:
    site = start(stack, arguments)
    answer = visit(site, arguments)
    right = report(answer, arguments)
    print_memory(site)
    if arguments.stay:
        print(f"\nThe page is at {site.address} until Ctrl-C.", flush=True)
        with suppress(KeyboardInterrupt):
            signal.pause()
    else:
        print(f"\nThe page was at {site.address}; --stay keeps it up.")
    return 0 if right else 1


def start(stack: ExitStack, arguments: Arguments) -> Site:
    """Starts daemon and site; `stack` ends them, the site first."""
    folder = stack.enter_context(private_folder())
    daemon = Daemon(arguments.daemon, arguments.bundle, folder / "dermald.sock")
    stack.callback(daemon.terminate)
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    port = int(listener.getsockname()[1])
    gunicorn = Gunicorn(
        "site_wsgi:application",
        listener.fileno(),
        HERE,
        {"DERMALD_SOCKET": str(daemon.socket), "PYTHONDONTWRITEBYTECODE": "1"},
        folder / "gunicorn.log",
    )
    stack.callback(gunicorn.terminate)
    return Site(daemon, gunicorn, port)


def visit(site: Site, arguments: Arguments) -> dict[str, Any]:
    """Uploads the photo as a browser and as a program, and writes what came back."""
    # The listening socket takes the connection at once; the answer comes when gunicorn is up.
    visitor = Visitor("127.0.0.1", site.port, START_SECONDS)
    try:
        page = visitor.upload(PAGE, arguments.photo, "text/html")
        answer: dict[str, Any] = json.loads(
            visitor.upload(PAGE, arguments.photo, "application/json")
        )
    except (OSError, UploadError) as error:
        log = site.gunicorn.log.read_text(errors="replace")[-2000:]
        raise RuntimeError(f"{error}\nThe site's log ends with:\n{log}") from error
    output = arguments.output
    output.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(arguments.photo, output / f"photo{arguments.photo.suffix}")
    (output / "page.html").write_text(page, encoding="utf-8")
    if overlay := answer["overlay"]:
        name = f"overlay.{overlay['format']}"
        (output / name).write_bytes(b64decode(overlay["data"]))
    return answer


def report(answer: dict[str, Any], arguments: Arguments) -> bool:
    """Prints classes and files; whether the most probable class is the expected one."""
    model = answer["model"]
    print(f"Model {model['name']} {model['version']}. {answer['notice'] or ''}")
    for label in answer["labels"]:
        print(f"  {label['probability'] * 100:5.1f} %  {label['title']}")
    if answer["explanation"]:
        print(f"No overlay: {answer['explanation']}")
    print("\nWritten:")
    print(f"  photo    {arguments.output / ('photo' + arguments.photo.suffix)}")
    if answer["overlay"]:
        print(f"  overlay  {arguments.output / ('overlay.' + answer['overlay']['format'])}")
    print(f"  page     {arguments.output / 'page.html'} (both side by side, as a visitor sees it)")
    top = answer["labels"][0]["name"]
    if arguments.expect is not None and top != arguments.expect:
        print(f"\nWrong: {arguments.expect} was expected, {top} came.", file=sys.stderr)
        return False
    if answer["overlay"] is None:
        print("\nWrong: there is no overlay.", file=sys.stderr)
        return False
    return True


def print_memory(site: Site) -> None:
    print("\nMemory in MiB       pid     RSS     PSS")
    named: list[tuple[str, Process]] = [("dermald", site.daemon), ("gunicorn", site.gunicorn)]
    for name, process in named:
        for place, pid in enumerate(process.pids()):
            row = memory(name if place == 0 else f"{name} worker", pid)
            print(f"  {row.name:15} {row.pid:5} {row.rss:7.1f} {row.pss:7.1f}")


def leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def parse_arguments() -> Arguments:
    parser = argparse.ArgumentParser(description="One photo through daemon and Django site.")
    parser.add_argument("--daemon", type=Path, required=True, help="the dermald binary")
    parser.add_argument("--bundle", type=Path, required=True, help="folder of the model bundle")
    parser.add_argument("--photo", type=Path, help="default: sample.jpg of the bundle")
    parser.add_argument("--output", type=Path, default=Path("build/demo"), help="where to write")
    parser.add_argument("--expect", help="name of the class that the photo shows")
    parser.add_argument("--stay", action="store_true", help="keep the page up until Ctrl-C")
    said = parser.parse_args()
    return Arguments(
        daemon=said.daemon.resolve(),
        bundle=said.bundle.resolve(),
        photo=said.photo or said.bundle / "sample.jpg",
        output=said.output,
        expect=said.expect,
        stay=said.stay,
    )


if __name__ == "__main__":
    sys.exit(main())
