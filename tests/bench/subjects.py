"""Who is measured: dermald through its Python client, and gunicorn's dirty arbiter.

Both are real processes with the settings that they come with. Knows no figures and no table.
"""

from __future__ import annotations

import http.client
import io
import json
import os
import random
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import dermald
from calls import time_calls
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "python-client" / "example"))

# The path is made above, where mypy does not look.
from processes import (  # type: ignore[import-not-found,unused-ignore]
    Daemon,
    Process,
    private_folder,
)

BUNDLE = ROOT / "models" / "demo"

PHOTO_SIZE = (800, 600)
PHOTO_BYTES = 250_000
# How far the nearest JPEG quality may miss.
PHOTO_SLACK = 5_000

# No start and no call takes longer, unless it hangs.
PATIENCE_SECONDS = 60.0
SLOWEST_CALL_SECONDS = 0.1


def make_photo() -> bytes:
    """A JPEG of about 250 KB: blurred spots under noise, the same at each run."""
    source = random.Random(250)
    width, height = PHOTO_SIZE
    spots = Image.frombytes("RGB", (100, 75), source.randbytes(100 * 75 * 3))
    noise = Image.frombytes("RGB", PHOTO_SIZE, source.randbytes(width * height * 3))
    photo = Image.blend(spots.resize(PHOTO_SIZE, Image.Resampling.BICUBIC), noise, 0.1)
    made = [_jpeg(photo, quality) for quality in range(85, 98)]
    nearest = min(made, key=lambda file: abs(len(file) - PHOTO_BYTES))
    if abs(len(nearest) - PHOTO_BYTES) > PHOTO_SLACK:
        raise RuntimeError(f"no JPEG quality gives {PHOTO_BYTES} bytes; nearest: {len(nearest)}")
    return nearest


def _jpeg(photo: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=quality)
    return file.getvalue()


def forget_settings() -> None:
    """What somebody set for another daemon is not to be measured."""
    for name in [name for name in os.environ if name.startswith("DERMALD_")]:
        del os.environ[name]


class Dermald:
    """A daemon with the demonstration model, and one client of it."""

    def __init__(self, client: dermald.Client, photo: bytes) -> None:
        self._client = client
        self._photo = photo
        # As long as the photo, but with a beginning that belongs to no format.
        self._no_photo = b"no picture" + photo[10:]
        # Milliseconds of work inside each prediction, for the record.
        self.work: list[float] = []

    @classmethod
    @contextmanager
    def running(cls, binary: Path, photo: bytes) -> Iterator[Dermald]:
        forget_settings()
        with private_folder() as folder:
            daemon = Daemon(binary, BUNDLE, folder / "dermald.sock")
            try:
                with dermald.Client(daemon.socket) as client:
                    # The first prediction loads the model.
                    client.predict(photo)
                    yield cls(client, photo)
            finally:
                daemon.terminate()

    def predict(self, count: int, _pause: float) -> list[float]:
        """Predictions, less what the daemon says that decoding, loading, inference and rendering
        took. The work is the pause."""
        return time_calls(self._predict, count, 0)

    def refuse(self, count: int, pause: float) -> list[float]:
        """Requests that go all the way to the inference thread, which refuses them at once."""
        return time_calls(self._refuse, count, pause)

    def health(self, count: int, pause: float) -> list[float]:
        return time_calls(self._health, count, pause)

    def _predict(self) -> float:
        timings = self._client.predict(self._photo).timings
        work = timings.decode_us + timings.inference_us + timings.load_us + timings.render_us
        self.work.append(work / 1000)
        return work / 1e6

    def _refuse(self) -> float:
        try:
            self._client.predict(self._no_photo)
        except dermald.PictureError as error:
            if error.code == "picture_unsupported":
                return 0.0
            raise
        raise RuntimeError("the daemon predicted for what is no picture")

    def _health(self) -> float:
        if not self._client.health().ready:
            raise RuntimeError("the daemon is not ready any more")
        return 0.0


class Neighbour:
    """gunicorn with one worker and one dirty worker. The worker is the client that measures."""

    def __init__(self, gunicorn: Process, port: int, log: Path, body: bytes) -> None:
        self._gunicorn = gunicorn
        self._port = port
        self._log = log
        self._body = body

    @classmethod
    @contextmanager
    def running(cls, body: bytes) -> Iterator[Neighbour]:
        with private_folder() as folder:
            log = folder / "gunicorn.log"
            # Only gunicorn keeps the listener: should it end, connections are refused.
            with socket.create_server(("127.0.0.1", 0)) as listener:
                port = listener.getsockname()[1]
                gunicorn = _start_gunicorn(listener.fileno(), folder, log)
            try:
                neighbour = cls(gunicorn, port, log, body)
                neighbour._wait_until_ready()
                yield neighbour
            finally:
                gunicorn.terminate()

    def length(self, count: int, pause: float) -> list[float]:
        """Calls of an application in the dirty worker that does nothing."""
        status, text = self._ask(count, pause)
        if status != 200:
            raise self._failed(f"gunicorn answered {status}")
        milliseconds: list[float] = json.loads(text)["milliseconds"]
        return milliseconds

    def _wait_until_ready(self) -> None:
        """Until the dirty worker answers; the site says 503 before."""
        started = time.monotonic()
        while self._gunicorn.running() and time.monotonic() - started < PATIENCE_SECONDS:
            with suppress(OSError):
                status, _ = self._ask(1, 0)
                if status == 200:
                    return
                if status != 503:
                    break
            time.sleep(0.05)
        raise self._failed("gunicorn is not ready")

    def _ask(self, count: int, pause: float) -> tuple[int, bytes]:
        timeout = PATIENCE_SECONDS + count * SLOWEST_CALL_SECONDS
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=timeout)
        with closing(connection):
            connection.request("POST", f"/?count={count}&pause={pause}", self._body)
            response = connection.getresponse()
            return response.status, response.read()

    def _failed(self, what: str) -> RuntimeError:
        end = self._log.read_text(errors="replace")[-2000:]
        return RuntimeError(f"{what}; its log ends with:\n{end}")


def _start_gunicorn(listener: int, folder: Path, log: Path) -> Process:
    command = [sys.executable, "-m", "gunicorn", "dirty_site:application"]
    command += ["--bind", f"fd://{listener}", "--workers", "1", "--no-control-socket"]
    command += ["--dirty-app", "dirty_site:Length", "--dirty-workers", "1"]
    # One request is a whole series: nobody shall end the worker in the middle of it.
    command += ["--timeout", "0"]
    # gunicorn ends the dirty arbiter whose PID it finds in the temporary folder, under a name that
    # others may share: it must be a folder of our own.
    environment = {"TMPDIR": str(folder), "GUNICORN_CMD_ARGS": ""}
    here = Path(__file__).parent
    return Process(command, environment, folder=here, log=log, inherit=(listener,))
