"""render.yaml on the host that it is written for: its commands as they stand, in the box.

    python tests/bench/hosted.py [--bundle FOLDER] [--wheel FILE] [--uploads N] [--no-stale]
        [--memory MIB] [--cpus X] [--shm MIB] [--json FILE]

Needs root and a wheel (`make wheel`); `make box` sees to both. The repository is checked out once
more, with the bundle in the place of the demonstration's: by default the float16 travel bundle of
build/reference, EfficientNetV2-S. In a virtual environment of its own the build command runs,
outside of the limits as on a host. What it built is copied, as a host unpacks it on the machine
that serves; there the start command runs in the box, and photos of 12 megapixels are uploaded
through the page as a browser does it.

Twice: once the machine that builds has the processor of the machine that serves. Once it has an
older one, so that nothing that it prepared can be used, and the first upload waits for the
preparation.

A goal that is missed is marked; the exit code is 0 unless something failed or was killed.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from box import Limits, NoBoxError, drop_page_cache
from command import count, described, file, folder_of_bundle, from_root, leave, progress
from free_tier_report import (
    Result,
    Row,
    Said,
    as_json,
    as_table,
    at_peak,
    by_kernel,
    later,
    most,
    peak,
    per_answer,
    when_healthy,
)
from host import Host, Service, older_processor
from machine import Witness, versions
from phone import write_photos
from stay import Stay, stay
from subjects import ROOT, forget_settings
from tenants import DAEMON, SITE, Tenant

BLUEPRINT = ROOT / "render.yaml"
TRAVEL = ROOT / "build" / "reference" / "float16"
WHEELS = ROOT / "target" / "dist"
PHOTOS = 4
FRESH, STALE = "as built", "stale"


class Goal(Row):
    """A goal for what is as it was built; what else it costs is only told."""

    def cell(self, stay: Stay) -> str:
        row = self if stay.tenant.title == FRESH else replace(self, goal=None)
        return Row.cell(row, stay)


def main() -> None:
    options = parse_options()
    signal.signal(signal.SIGTERM, leave)
    forget_settings()
    witness = Witness()
    service = Service.read(BLUEPRINT)
    limits = Limits(options.memory, options.cpus)
    # Not in memory: what is mapped from there counts otherwise.
    with tempfile.TemporaryDirectory(prefix="hosted-", dir=ROOT / "target") as scratch:
        progress("drawing photos")
        photos = write_photos(Path(scratch) / "photos", PHOTOS)
        stays, notes = [], []
        try:
            for title in (FRESH, STALE) if options.stale else (FRESH,):
                with hosted(service, Path(scratch) / title, options.shm) as host:
                    tenant, seconds = build(host, options, title)
                    notes.append(f"The build command took {seconds:.0f} s ({title}).")
                    progress(f"{title}: {options.uploads} uploads")
                    drop_page_cache()
                    log = Path(scratch) / f"{title}.log"
                    stays.append(stay(tenant, limits, photos, options.uploads, log))
                    told = versions(host.daemon, "Django", "gunicorn", "onnxruntime")
        except NoBoxError as error:
            raise SystemExit(f"NOT MEASURED: {error}") from error
    result = Result(repeat(options), witness.describe(), told, stays, [*notes, *explain(options)])
    print(as_table(result, rows()))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(as_json(result, rows())) + "\n", encoding="utf-8")
    failed = [stay for stay in stays if stay.fate or (stay.kernel and stay.kernel.kills)]
    raise SystemExit(1 if failed else 0)


@contextmanager
def hosted(service: Service, folder: Path, shared_mib: int) -> Iterator[Host]:
    """A host with a /dev/shm of `shared_mib`."""
    folder.mkdir()
    shared = Path(f"/dev/shm/hosted-{os.getpid()}")
    shared.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={shared_mib}m,mode=1777", "tmpfs", str(shared)]
    try:
        subprocess.run(mount, check=True)
        try:
            yield Host(service, folder, shared, free_port())
        finally:
            subprocess.run(["umount", str(shared)], check=True)
    finally:
        shared.rmdir()


def build(host: Host, options: argparse.Namespace, title: str) -> tuple[Tenant, float]:
    """The site, built, and the seconds that its build command took."""
    progress(f"{title}: building")
    host.clone(options.bundle, options.wheel)
    cpuinfo = older_processor(host.folder.parent) if title == STALE else None
    seconds = host.build(cpuinfo)
    host.deploy()
    tenant = Tenant(
        title,
        f"exec {host.start()}",
        host.folder,
        "/skin/",
        host.daemon,
        host.socket,
        port=host.port,
        health=host.service.health,
        headers=host.service.visitor_headers,
    )
    return tenant, seconds


def free_port() -> int:
    """One that nobody listens at: the start command wants a number, not a socket."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def rows() -> list[Row | Said]:
    """Beside what the first site's team reports of its own service, with Grad-CAM, and of the same
    plan."""

    def team(label: str, words: str) -> Said:
        return Said(f"{label}, the first site reports", dict.fromkeys((FRESH, STALE), words))

    return [
        team("MB", "450-550"),
        Goal("PSS of the box at its highest, MB", peak, 220),
        Row("  at that moment: the site's", at_peak(SITE)),
        Row("  at that moment: daemon and run", at_peak(DAEMON)),
        Row("anonymous at its highest, MB", most(lambda share: share.anonymous)),
        Row("before the first upload: the site's, MB", when_healthy(SITE)),
        Row("before the first upload: daemon and run", when_healthy(DAEMON)),
        Row("the kernel's peak, with page cache, MB", by_kernel("peak")),
        Row("read again after it was taken back, MB", by_kernel("read_again")),
        Row("processes killed", by_kernel("kills"), 0, 0),
        Goal("healthy after, s", lambda s: s.healthy, 20),
        team("first answer, s", "65-70"),
        Goal("first answer, s", lambda s: s.first, 10),
        Row("  refused before it", lambda s: s.refused, None, 0),
        team("later answers, s", "8-12"),
        Goal("later answers, median, s", later(50), 3, 2),
        Goal("later answers, slowest, s", later(100), 3, 2),
        Row("  processor of the site, s", per_answer("cpu", SITE), None, 3),
        Row("  processor of daemon and run, s", per_answer("cpu", DAEMON), None, 3),
        *(
            Row(f"  {stage}, s", per_answer("stages", stage), None, 2)
            for stage in ("queue", "decode", "inference", "render")
        ),
    ]


def explain(options: argparse.Namespace) -> list[str]:
    return [
        f"{options.memory} MB, {options.cpus:g} CPU and a /dev/shm of {options.shm} MB. "
        f"{options.uploads} uploads of photos "
        "of 12 MP; an answer is the form, the upload and the page with photo and overlay in it. "
        f"Model: {from_root(options.bundle)}, wheel: {options.wheel.name}.",
        "stale: prepared for a processor without this one's newest instructions. The preparation "
        "takes place in the box, at the first upload; a visitor whom the site asks to come back "
        "later does so after a second.",
    ]


def repeat(options: argparse.Namespace) -> str:
    words = ["python", "tests/bench/hosted.py", "--bundle", from_root(options.bundle)]
    words += ["--wheel", from_root(options.wheel), "--uploads", str(options.uploads)]
    words += ["--stale" if options.stale else "--no-stale", "--memory", str(options.memory)]
    return shlex.join([*words, "--cpus", f"{options.cpus:g}", "--shm", str(options.shm)])


def parse_options() -> argparse.Namespace:
    parser = described(__doc__)
    parser.add_argument("--bundle", type=folder_of_bundle, default=TRAVEL, help="the site's model")
    wheels = sorted(WHEELS.glob("dermald-*manylinux*_x86_64.whl"))
    newest = str(wheels[-1]) if wheels else None
    parser.add_argument(
        "--wheel", type=file, default=newest, required=not wheels, help="to install"
    )
    parser.add_argument("--uploads", type=count, default=11, help="photos for each stay")
    parser.add_argument(
        "--stale",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="once more, built on another processor",
    )
    parser.add_argument("--memory", type=count, default=512, help="MiB that the box has")
    parser.add_argument("--cpus", type=float, default=0.1, help="its share of a processor")
    parser.add_argument("--shm", type=count, default=64, help="MiB that /dev/shm has")
    parser.add_argument("--json", type=Path, help="write all here")
    return parser.parse_args()


if __name__ == "__main__":
    main()
