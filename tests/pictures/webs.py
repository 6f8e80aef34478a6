"""GIFs and WebPs, still and moving: what moves is its first frame."""

from files import Written, oriented, saved
from PIL import Image
from scenes import patches, photo

SIZE = (641, 421)


def written() -> Written:
    """All of them."""
    rgb = photo(*SIZE, seed=4)
    alpha = rgb.copy()
    alpha.putalpha(rgb.convert("L"))
    yield "grey.gif", saved(rgb.convert("L"), "GIF")
    yield "palette.gif", saved(rgb.convert("P"), "GIF")
    yield "rgb.gif", saved(rgb, "GIF")
    yield "interlaced.gif", saved(rgb, "GIF", interlace=1)
    yield "transparent.gif", saved(cut_out(rgb), "GIF")
    yield "lossy.webp", saved(rgb, "WEBP", quality=85)
    yield "lossy-40.webp", saved(rgb, "WEBP", quality=40)
    yield "lossy-alpha.webp", saved(alpha, "WEBP", quality=85, exact=True)
    yield "lossless.webp", saved(rgb, "WEBP", lossless=True)
    yield "lossless-alpha.webp", saved(alpha, "WEBP", lossless=True, exact=True)
    frames = [rgb, patches(*SIZE), patches(*SIZE, seed=2)]
    moving = {"save_all": True, "append_images": frames[1:], "duration": 100}
    yield "moving.gif", saved(frames[0], "GIF", **moving)
    yield "moving.webp", saved(frames[0], "WEBP", quality=85, **moving)
    yield "moving-lossless.webp", saved(frames[0], "WEBP", lossless=True, **moving)
    for width, height in ((1, 1), (2, 1), (7, 9), (3000, 7), (1403, 917)):
        picture = photo(width, height, seed=3)
        yield f"size-{width}x{height}.webp", saved(picture, "WEBP", quality=90)
        yield f"size-{width}x{height}.gif", saved(picture, "GIF")
    for orientation in range(1, 9):
        picture = photo(400, 300, seed=2)
        file = saved(picture, "WEBP", quality=90, exif=oriented(orientation))
        yield f"orientation-{orientation}.webp", file


def cut_out(rgb: Image.Image) -> Image.Image:
    """With a transparent rectangle."""
    picture = rgb.convert("RGBA")
    picture.paste((0, 0, 0, 0), (100, 100, 300, 200))
    return picture
