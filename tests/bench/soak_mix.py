"""The kinds of requests that a daemon gets over the years, and how often each comes.

Pictures of all formats and sizes with all options, files that are broken or no pictures at all, and
clients that leave in the middle. What is drawn depends on the generator alone. Knows no figures.
"""

from __future__ import annotations

import io
import random
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import dermald
from dermald._results import COLOUR_MAPS, FORMATS
from dermald._wire.requests import Hello, Predict, Request, encode_request
from PIL import Image

if TYPE_CHECKING:
    from dermald._client import Explain

LANGUAGES = (None, "en", "vi", "vi-VN", "xx")
# Longest sides; 12 megapixels are what phones make.
SIZES = ((64, 48), (300, 300), (800, 600), (1600, 1200), (2560, 1440), (4000, 3000))
FILE_FORMATS = ("jpeg", "progressive", "png", "webp", "gif", "bmp", "tiff")
# Decoding as much as 12 megapixels of these would take most of the time.
SLOW = {"progressive", "png", "webp", "gif", "bmp", "tiff"}
SLOW_PIXELS = 1_500_000

# A reset instead of a goodbye.
RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Caller:
    """Somebody who asks: a client that stays, the socket for those that come and go, and a source
    of randomness of its own."""

    client: dermald.Client
    socket: Path
    source: random.Random
    pictures: list[bytes]
    classes: int

    def picture(self) -> bytes:
        return self.source.choice(self.pictures)


# Makes one request; an error of the daemon is an outcome like any other.
Kind = Callable[[Caller], None]


def classify(caller: Caller) -> None:
    """A picture with any options."""
    source = caller.source
    wanted: tuple[Explain, ...] = (None, "values", "overlay", render(source))
    caller.client.predict(
        caller.picture(),
        top_k=source.choice((0, 1, 3)),
        target=source.choice((None, source.randrange(caller.classes))),
        explain=source.choice(wanted),
        language=source.choice(LANGUAGES),
        priority=source.choice(("interactive", "batch")),
    )


def render(source: random.Random) -> dermald.RenderOverlay:
    return dermald.RenderOverlay(
        format=source.choice(FORMATS),
        colour_map=source.choice(COLOUR_MAPS),
        longest_side=source.choice((0, 256, 800, 1600)),
    )


def newcomer(caller: Caller) -> None:
    """A client of its own for one picture, as a worker that has just been forked has."""
    with dermald.Client(caller.socket) as client:
        client.predict(caller.picture(), explain="overlay")


def broken(caller: Caller) -> None:
    """A picture that ends too early, or with bytes that somebody changed."""
    source = caller.source
    file = bytearray(caller.picture())
    if source.random() < 0.5:
        del file[source.randrange(len(file)) :]
    else:
        for _ in range(source.randrange(1, 50)):
            file[source.randrange(len(file))] = source.randrange(256)
    caller.client.predict(bytes(file), explain="overlay")


def no_picture(caller: Caller) -> None:
    """Text, nothing, or noise of any length."""
    source = caller.source
    text = b"A letter, not a photo.\n" * source.randrange(1, 5000)
    caller.client.predict(source.choice((b"", text, source.randbytes(source.randrange(200_000)))))


def wrong(caller: Caller) -> None:
    """A picture with an option that makes no sense for this model."""
    caller.client.predict(caller.picture(), target=caller.classes + 1, explain="values")


def impatient(caller: Caller) -> None:
    """A picture with less time than it takes."""
    caller.client.predict(
        caller.picture(), explain="overlay", timeout=caller.source.uniform(0.0005, 0.02)
    )


def leaver(caller: Caller) -> None:
    """Somebody who goes in the middle of a request, or before its reply, or of reading it."""
    source = caller.source
    hello = frame(Hello(1, 1, "soak"))
    asked = frame(Predict(1, caller.picture(), explain="values"))
    sent = asked[: source.randrange(len(asked))] if source.random() < 0.5 else asked
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(str(caller.socket))
        sock.sendall(hello + sent)
        if sent is asked and source.random() < 0.5:
            # The welcome, perhaps with a part of the reply.
            sock.recv(source.randrange(1, 1000))
        if source.random() < 0.5:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


def asker(caller: Caller) -> None:
    """What a site's health page asks."""
    caller.client.health()
    caller.client.status()
    caller.client.metrics()


# How many of a hundred.
KINDS: dict[Kind, int] = {
    classify: 62,
    newcomer: 6,
    broken: 8,
    no_picture: 6,
    wrong: 3,
    impatient: 4,
    leaver: 8,
    asker: 3,
}


def frame(request: Request) -> bytes:
    return b"".join(encode_request(request))


def make_pictures(samples: list[Path]) -> list[bytes]:
    """All formats at all sizes, as far as they are quick to decode, and the samples."""
    source = random.Random(13)
    pictures = [sample.read_bytes() for sample in samples]
    for width, height in SIZES:
        coarse = Image.frombytes("RGB", (40, 30), source.randbytes(40 * 30 * 3))
        picture = coarse.resize((width, height), Image.Resampling.BICUBIC)
        noise = Image.effect_noise((width, height), 20).convert("RGB")
        picture = Image.blend(picture, noise, 0.2)
        for kind in FILE_FORMATS:
            if kind not in SLOW or width * height <= SLOW_PIXELS:
                pictures += [encoded(picture, kind), encoded(picture.convert("L"), kind)]
    return pictures


def encoded(picture: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    if kind == "progressive":
        picture.save(file, "JPEG", quality=90, progressive=True)
    else:
        picture.save(file, kind.upper())
    return file.getvalue()
