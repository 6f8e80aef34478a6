"""The drawn pictures: repeatable, varied, and with masks that say where the lesion is."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dermald_model import cli, lesions
from dermald_model.lesions import CLEAR_SKIN, LABELS, dataset, draw
from dermald_model.photo import to_input


def test_same_seed_gives_same_pixels() -> None:
    for one, other in zip(dataset(5, 10), dataset(5, 10), strict=True):
        assert np.array_equal(one.pixels, other.pixels)
        assert np.array_equal(one.mask, other.mask)
        assert one.label == other.label


def test_other_seed_gives_other_pixels() -> None:
    one, other = next(dataset(5, 1)), next(dataset(6, 1))
    assert one.pixels.shape != other.pixels.shape or not np.array_equal(one.pixels, other.pixels)


def test_part_of_a_set_is_the_same_as_in_the_whole() -> None:
    whole = list(dataset(5, 8))
    for number, picture in enumerate(dataset(5, 3, start=5), 5):
        assert np.array_equal(picture.pixels, whole[number].pixels)
        assert picture.label == whole[number].label


@pytest.mark.parametrize("size", [(600, 450), (300, 400), (64, 64), (1200, 900)])
def test_any_size_can_be_asked_for(size: tuple[int, int]) -> None:
    for label in range(len(LABELS)):
        picture = draw(np.random.default_rng(1), label, *size)
        assert picture.pixels.shape == (size[1], size[0], 3)
        assert picture.pixels.dtype == np.uint8
        assert picture.mask.shape == (size[1], size[0])
        assert picture.mask.dtype == np.bool_


def test_clear_skin_has_an_empty_mask_and_lesions_do_not() -> None:
    for picture in dataset(9, 40):
        assert picture.mask.any() == (picture.label != CLEAR_SKIN)
        # The greatest outline has a radius of 0.3 of the short side, before it becomes wavy.
        assert picture.mask.mean() < 0.45


@pytest.mark.parametrize("label", range(CLEAR_SKIN))
def test_mask_is_where_the_painter_changed_the_skin(
    label: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With noise, hair and lens taken away, the painted pixels and the mask agree."""
    flat = np.full((300, 400, 3), 180, np.float32)
    monkeypatch.setattr(lesions, "bare_skin", lambda rng, height, width: flat.copy())
    monkeypatch.setattr(lesions, "lay_hairs", lambda rng, skin: skin)
    monkeypatch.setattr(
        lesions, "take_photo", lambda rng, skin, light: np.clip(skin, 0, 255).astype(np.uint8)
    )
    for seed in range(5):
        picture = draw(np.random.default_rng(seed), label, 400, 300)
        changed = np.abs(picture.pixels.astype(int) - 180).max(axis=2) > 6
        # Outlines are soft: traces reach up to a quarter of the radius beyond them, which alone
        # brings the overlap down to 1 / 1.25**2 = 0.64; small radii and waves cost some more.
        overlap = (changed & picture.mask).sum() / (changed | picture.mask).sum()
        assert overlap > 0.5
        assert (changed & picture.mask).sum() / picture.mask.sum() > 0.85


def test_lesions_lie_all_over_the_picture() -> None:
    centres = []
    for picture in dataset(13, 60):
        if picture.mask.any():
            rows, columns = np.nonzero(picture.mask)
            height, width = picture.mask.shape
            centres.append((rows.mean() / height, columns.mean() / width))
    assert np.min(centres) < 0.25
    assert np.max(centres) > 0.75


def test_unknown_labels_and_tiny_sizes_are_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"label 5 is not in 0\.\.4"):
        draw(rng, 5, 100, 100)
    with pytest.raises(ValueError, match="too small"):
        draw(rng, 0, 100, 63)


def test_pictures_command_writes_files_and_index(tmp_path: Path) -> None:
    assert cli.main(["pictures", str(tmp_path), "--seed", "7", "--count", "6"]) == 0
    index = json.loads((tmp_path / "index.json").read_text())
    assert index["seed"] == 7
    assert [entry["label"] for entry in index["pictures"]][4:] == ["clear-skin", "ring"]
    for entry in index["pictures"]:
        for name in (entry["file"], entry["mask"]):
            with Image.open(tmp_path / name) as picture:
                assert picture.size == (entry["width"], entry["height"])
    assert (tmp_path / "0000_ring.jpg").exists()
    assert len(list(tmp_path.iterdir())) == 13


def test_input_is_stretched_whatever_the_aspect(tmp_path: Path) -> None:
    path = tmp_path / "wide.png"
    pixels = np.zeros((50, 200, 3), np.uint8)
    pixels[:, 100:] = 255
    Image.fromarray(pixels).save(path)
    stretched = to_input(path.read_bytes(), 32, 24)
    assert stretched.shape == (24, 32, 3)
    # Lanczos overshoots near the step, so only pixels away from it are exact.
    assert stretched[:, :10].max() == 0
    assert stretched[:, 22:].min() == 255
