"""ICC profiles that cameras and editors embed, built here, and pictures that carry them."""

import struct
from io import BytesIO

import numpy as np
from files import Written, saved
from numpy.typing import NDArray
from PIL import Image, ImageCms
from scenes import photo

# Chromaticities of red, green and blue, and of the white D65.
P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
ADOBE = ((0.640, 0.330), (0.210, 0.710), (0.150, 0.060))
D65 = (0.3127, 0.3290)
# The white that profiles are relative to.
D50 = np.array([0.9642, 1.0, 0.8249])
BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)

Matrix = NDArray[np.float64]


def written() -> Written:
    """All of them."""
    p3 = rgb_profile(P3, srgb_curve())
    adobe = rgb_profile(ADOBE, gamma(2.19921875))
    for name, profile in (("p3", p3), ("adobe", adobe)):
        for width, height in ((700, 500), (2600, 1801)):
            file = saved(photo(width, height), "JPEG", quality=90, icc_profile=profile)
            yield f"{name}-{width}.jpg", file
        yield f"{name}.png", saved(photo(640, 421), "PNG", icc_profile=profile)
        yield f"{name}.tiff", saved(photo(640, 421), "TIFF", icc_profile=profile)
        lossless = saved(photo(640, 421), "WEBP", lossless=True, icc_profile=profile)
        yield f"{name}.webp", lossless
    grey = grey_profile(gamma(1.8))
    shades = photo(700, 500).convert("L")
    yield "grey.jpg", saved(shades, "JPEG", quality=90, icc_profile=grey)
    yield "grey.png", saved(shades, "PNG", icc_profile=grey)
    broken = bytearray(p3)
    broken[128:132] = b"\xff\xff\xff\xff"
    yield "broken.jpg", saved(photo(700, 500), "JPEG", quality=90, icc_profile=bytes(broken))
    yield "short.png", saved(photo(640, 421), "PNG", icc_profile=p3[:200])


def in_srgb(picture: Image.Image) -> Image.Image:
    """What LittleCMS makes of a picture. A broken profile is none."""
    profile = picture.info.get("icc_profile")
    srgb = ImageCms.createProfile("sRGB")
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile or b""))
        seen = ImageCms.profileToProfile(picture, source, srgb, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        seen = picture.convert("RGB")
    assert seen is not None
    return seen


def rgb_profile(primaries: tuple[tuple[float, float], ...], curve: bytes) -> bytes:
    """A matrix and a curve, as in Display P3 and Adobe RGB."""
    columns = np.array([xyz(*at) for at in primaries]).T
    matrix = columns * np.linalg.solve(columns, xyz(*D65))
    cone = BRADFORD @ xyz(*D65), BRADFORD @ D50
    adapted: Matrix = np.linalg.inv(BRADFORD) @ np.diag(cone[1] / cone[0]) @ BRADFORD @ matrix
    tags = {name: point(adapted[:, at]) for at, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
    return icc(b"RGB ", {**tags, b"rTRC": curve, b"gTRC": curve, b"bTRC": curve})


def grey_profile(curve: bytes) -> bytes:
    return icc(b"GRAY", {b"kTRC": curve})


def xyz(x: float, y: float) -> Matrix:
    return np.array([x / y, 1.0, (1 - x - y) / y])


def fixed(number: float) -> bytes:
    return struct.pack(">i", round(number * 65536))


def point(values: Matrix) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(fixed(float(value)) for value in values)


def gamma(exponent: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IHH", 1, round(exponent * 256), 0)


def srgb_curve() -> bytes:
    """The parametric curve of sRGB and Display P3."""
    numbers = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    return b"para\0\0\0\0\0\3\0\0" + b"".join(fixed(number) for number in numbers)


def icc(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    """A display profile of version 4."""
    tags = {b"wtpt": point(D50), b"desc": text("a profile"), b"cprt": text("none"), **tags}
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += struct.pack(">4sII", name, start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    head = struct.pack(
        ">I4sI4s4s4s", start + len(body), b"\0\0\0\0", 0x04200000, b"mntr", space, b"XYZ "
    )
    head += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28)
    head += b"".join(fixed(float(value)) for value in D50)
    return head + bytes(128 - len(head)) + table + body


def text(words: str) -> bytes:
    """In one language."""
    coded = words.encode("utf-16-be")
    return b"mluc\0\0\0\0" + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(coded), 28) + coded
