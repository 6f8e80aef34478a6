"""The subcommand `pictures`: writes drawn pictures, their masks and an index to a folder."""

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

from dermald_model.lesions import LABELS, dataset
from dermald_model.photo import photograph


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declares the subcommand."""
    parser = commands.add_parser("pictures", help="write drawn pictures with their lesion masks")
    parser.add_argument("out", type=Path, help="folder to write to; made if it is missing")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--format", choices=("jpg", "png"), default="jpg")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Writes NNNN_LABEL.jpg (or .png), NNNN_mask.png and index.json; returns the exit code."""
    write(arguments.out, arguments.seed, arguments.count, arguments.format)
    return 0


def write(out: Path, seed: int, count: int, extension: str = "jpg") -> None:
    """Writes pictures of a seed. JPEG qualities are random but belong to the seed as well."""
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    entries = []
    for number, picture in enumerate(dataset(seed, count)):
        label = LABELS[picture.label].name
        file, mask = f"{number:04d}_{label}.{extension}", f"{number:04d}_mask.png"
        if extension == "jpg":
            (out / file).write_bytes(photograph(rng, picture.pixels))
        else:
            Image.fromarray(picture.pixels).save(out / file)
        Image.fromarray(picture.mask).save(out / mask)
        height, width = picture.mask.shape
        entries.append(
            {"file": file, "mask": mask, "label": label, "width": width, "height": height}
        )
    index = {"seed": seed, "labels": [label.name for label in LABELS], "pictures": entries}
    (out / "index.json").write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
