"""Files that end early, as a broken upload leaves them."""

from files import Written, saved
from scenes import photo

PARTS = (40, 75, 95)


def written() -> Written:
    """All of them: the share that is left, in percent, is in the name."""
    rgb = photo(700, 500, seed=7)
    large = photo(2600, 1801, seed=7)
    whole = {
        "baseline.jpg": saved(rgb, "JPEG", quality=90),
        "444.jpg": saved(rgb, "JPEG", quality=90, subsampling=0),
        "large.jpg": saved(large, "JPEG", quality=90),
        "restarts.jpg": saved(rgb, "JPEG", quality=90, restart_marker_rows=1),
        "grey.jpg": saved(rgb.convert("L"), "JPEG", quality=90),
        "rgb.png": saved(rgb, "PNG"),
        "grey.png": saved(rgb.convert("L"), "PNG"),
        "rgb.bmp": saved(rgb, "BMP"),
    }
    for name, file in whole.items():
        for part in PARTS:
            yield f"{part}-{name}", file[: len(file) * part // 100]
