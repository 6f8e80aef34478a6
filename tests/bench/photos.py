"""What a large photo costs: memory and time from the file to the model's input.

    python tests/bench/photos.py [--bundle FOLDER] [--rounds N] [--daemon FILE]

Needs `cargo build --release`, the package dermald and Pillow. Baseline JPEGs of 12 and 48
megapixels go through a daemon, and through Pillow in a process of its own: every pixel decoded,
and with `draft`. OpenCV's reduced reading takes part when opencv-python-headless is installed
(`make setup` does). All take turns, round after round.

Memory is anonymous memory (RssAnon and RssShmem), sampled every half millisecond, at its highest
above what it was before the photo came. The daemon's holds the file, which reaches it through a
socket; the others read it from disk. Time is the daemon's own timing of decoding and resizing,
and for the others the same work by their clock. It prints and judges nothing.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import dermald
from bundles import Bundle, prepare
from command import DAEMON, count, file, progress
from machine import Witness, versions
from PIL import Image
from served import daemon_with
from subjects import ROOT, forget_settings

# Width and height; the files come out about as large as a phone's.
PHOTOS = {"12 MP": (4000, 3000), "48 MP": (8000, 6000)}

# What the others do, as a program: it says ready, and for each line it gets, how long it took.
CHILD = """
import sys, time
way, path, width, height = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
size = width, height
if way == "opencv":
    import cv2
    cv2.setNumThreads(1)
    def run():
        small = cv2.imread(path, cv2.IMREAD_REDUCED_COLOR_8)
        cv2.resize(small, size, interpolation=cv2.INTER_AREA)
else:
    from PIL import Image
    Image.new("RGB", (8, 8)).resize((4, 4), Image.Resampling.LANCZOS)
    def run():
        picture = Image.open(path)
        if way == "draft":
            picture.draft("RGB", (2 * width, 2 * height))
        picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
print("ready", flush=True)
for _ in sys.stdin:
    started = time.perf_counter()
    run()
    print((time.perf_counter() - started) * 1000, flush=True)
"""


@dataclass
class Subject:
    """Somebody who takes a photo, with what that took."""

    name: str
    pid: int
    take: Callable[[], float]
    milliseconds: list[float] = field(default_factory=list)
    # MiB above what it had before.
    peaks: list[float] = field(default_factory=list)

    def turn(self) -> None:
        before = anonymous(self.pid)
        with Peak(self.pid) as peak:
            self.milliseconds.append(self.take())
        self.peaks.append(max(peak.highest - before, 0) / 1024)


class Peak:
    """Samples a process's memory in a thread, from `with` to its end. In KiB."""

    def __init__(self, pid: int) -> None:
        self.highest = 0
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._over.is_set():
            self.highest = max(self.highest, anonymous(self._pid))
            time.sleep(0.0005)


def anonymous(pid: int) -> int:
    """What a process holds that cannot be evicted, in KiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    wanted = ("RssAnon:", "RssShmem:")
    return sum(int(line.split()[1]) for line in lines if line.startswith(wanted))


def main() -> None:
    options = parse_options()
    forget_settings()
    witness = Witness()
    bundle = Bundle.read(options.bundle)
    form = bundle.manifest["input"]
    with tempfile.TemporaryDirectory(prefix="bench-", dir=ROOT / "target") as scratch:
        prepare(options.daemon, bundle, Path(scratch) / "cache")
        results = {}
        for name, size in PHOTOS.items():
            progress(f"photo of {name}")
            path = Path(scratch) / "photo.jpg"
            write_photo(path, size)
            with ExitStack() as stack:
                daemon = running(options.daemon, bundle, Path(scratch) / "cache", path)
                subjects = [stack.enter_context(daemon)]
                for way in ways():
                    other = others(way, path, (form["width"], form["height"]))
                    subjects.append(stack.enter_context(other))
                measure(subjects, options.rounds)
            results[f"{name}, {path.stat().st_size / (1 << 20):.1f} MiB"] = subjects
    for facts in (witness.describe(), versions(options.daemon, "pillow")):
        for key, value in facts.items():
            print(f"{key}: {value}")
    print(f"model: {bundle.name}, {form['width']} x {form['height']}; {options.rounds} rounds")
    for title, subjects in results.items():
        print_table(title, subjects)
    if "opencv" not in ways():
        print("\nNOT MEASURED: OpenCV (opencv-python-headless is not installed)")


def ways() -> list[str]:
    opencv = ["opencv"] if importlib.util.find_spec("cv2") else []
    return ["full", "draft", *opencv]


def write_photo(path: Path, size: tuple[int, int]) -> None:
    """Soft shapes under a sensor's noise, 4:2:0, with about the bytes of a phone's file."""
    coarse = Image.effect_noise((size[0] // 100, size[1] // 100), 90)
    soft = coarse.resize(size, Image.Resampling.BICUBIC)
    noise = Image.effect_noise(size, 12)
    grey = Image.blend(soft, noise, 0.5)
    colour = soft.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    photo = Image.merge("YCbCr", (grey, colour, soft)).convert("RGB")
    photo.save(path, "JPEG", quality=92, subsampling=2)


@contextmanager
def running(binary: Path, bundle: Bundle, cache: Path, path: Path) -> Iterator[Subject]:
    """A daemon that has loaded its model and answered once."""
    with daemon_with(binary, bundle, cache, preload=True) as (daemon, client):

        def take() -> float:
            # The file is not kept on our side either.
            return client.predict(path.read_bytes()).timings.decode_us / 1000

        small = Path(path).with_name("small.jpg")
        Image.new("RGB", (64, 64)).save(small)
        client.predict(small.read_bytes())
        yield Subject(f"dermald {dermald.__version__}", daemon.pid, take)


@contextmanager
def others(way: str, path: Path, size: tuple[int, int]) -> Iterator[Subject]:
    """A process that has imported its library and decoded nothing yet."""
    command = [sys.executable, "-c", CHILD, way, str(path), *map(str, size)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as child:
        assert child.stdin
        assert child.stdout
        asked, answers = child.stdin, child.stdout

        def take() -> float:
            asked.write("\n")
            asked.flush()
            return float(answers.readline())

        if answers.readline().strip() != "ready":
            raise RuntimeError(f"{way} did not start")
        name = {"full": "Pillow, full", "draft": "Pillow, draft", "opencv": "OpenCV, 1/8"}[way]
        yield Subject(name, child.pid, take)
        asked.close()


def measure(subjects: list[Subject], rounds: int) -> None:
    for number in range(rounds):
        progress(f"round {number + 1} of {rounds}")
        for subject in subjects:
            subject.turn()


def print_table(title: str, subjects: list[Subject]) -> None:
    """Ratios are medians of each round's ratio to Pillow's full decoding."""
    full = next(subject for subject in subjects if subject.name == "Pillow, full")
    print(f"\n{title:<22}{'MiB, most':>12}{'ms, median':>12}{'of full':>10}")
    for subject in subjects:
        pairs = zip(subject.milliseconds, full.milliseconds, strict=True)
        ratio = statistics.median(ours / theirs for ours, theirs in pairs)
        milliseconds = statistics.median(subject.milliseconds)
        peak = max(subject.peaks)
        print(f"{subject.name:<22}{peak:>12.1f}{milliseconds:>12.0f}{ratio:>10.2f}")


def parse_options() -> argparse.Namespace:
    reference = ROOT / "build" / "reference" / "bundle"
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--bundle", type=Path, default=reference)
    parser.add_argument("--rounds", type=count, default=7)
    parser.add_argument("--daemon", type=file, default=DAEMON)
    return parser.parse_args()


if __name__ == "__main__":
    main()
