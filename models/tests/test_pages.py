"""The commands of the pages, word for word, on a small network and drawn photos.

`TEST_LONG` goes on from the README to the other pages.
"""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

keras = pytest.importorskip("keras", reason="runs Keras: install the extra [tools]")

from test_convert import NAMES, Layers, network_with

from dermald_model import manifest
from dermald_model.cli import main
from dermald_model.lesions import dataset

ROOT = Path(__file__).resolve().parents[2]
DAEMON = Path(os.environ.get("TEST_DERMALD") or ROOT / "target/debug/dermald")
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MORE_PAGES = ("docs/cookbook.md", "docs/render.vi.md") if os.environ.get("TEST_LONG") else ()


def blocks(page: str) -> list[str]:
    """The shell blocks of a page that use the model tooling."""
    found = BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))
    return [block for block in found if "dermald-model" in block]


def run(block: str) -> None:
    """Line after line; the tooling in this process, as TensorFlow takes seconds to import."""
    for line in block.splitlines():
        program, *words = shlex.split(line)
        if program == "dermald-model":
            assert main(words) == 0, line
        else:
            assert program == "dermald", line
            subprocess.run([DAEMON, *words], check=True)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a team's: the model, its labels, and photos."""
    folder = tmp_path_factory.mktemp("desk")
    network = network_with(Layers.Rescaling(1 / 255, name="scale"))
    # Between classes that it never was in two minds about, rounding changes nothing.
    kernel, bias = network.layers[-1].get_weights()
    network.layers[-1].set_weights([kernel, bias + np.array([4, 0, 0], np.float32)])
    for name in ("dermatology.keras", "dermatology_stage1.keras"):
        network.save(folder / name)
    (folder / "labels.txt").write_text("\n".join(NAMES) + "\n", encoding="utf-8")
    for name, seed, count in (("PHOTOS", 5, 32), ("OTHER_PHOTOS", 6, 8)):
        (folder / name).mkdir()
        for number, picture in enumerate(dataset(seed, count)):
            Image.fromarray(picture.pixels).save(folder / name / f"{number:02d}.png")
    return folder


def test_commands_of_the_pages_run_as_they_stand(
    desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(desk)
    monkeypatch.setenv("DERMALD_CACHE", str(desk / "cache"))
    found = [block for page in ("README.md", *MORE_PAGES) for block in blocks(page)]
    assert len(found) == (5 if MORE_PAGES else 1)
    for block in found:
        for out in re.findall(r"--out (\S+)", block):
            shutil.rmtree(desk / out, ignore_errors=True)
        run(block)
    made = {"bundle": "float32"}
    if MORE_PAGES:
        made |= {"small": "int8", "model": "float16"}
    assert {name: manifest.read(desk / name).precision for name in made} == made
    assert "<html" in (desk / "page.html").read_text(encoding="utf-8")
