"""`verify` and `inspect` on a small network, and how agreement is counted."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="runs Keras: install the extra [tools]")

from test_convert import Layers, network_with, said

from dermald_model import manifest
from dermald_model.agreement import Pair, summarise
from dermald_model.bundle import Answer
from dermald_model.cli import main
from dermald_model.pictures import write as draw


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with model.keras, its bundle, and photos of it."""
    folder = tmp_path_factory.mktemp("verify")
    network_with(Layers.Rescaling(1 / 255)).save(folder / "model.keras")
    arguments = ["convert", str(folder / "model.keras"), "--out", str(folder / "bundle")]
    assert main([*arguments, "--labels", "one,two,<three>"]) == 0
    draw(folder / "photos", 3, 5)
    for mask in (folder / "photos").glob("*_mask.png"):
        mask.unlink()
    return folder


def _verify(made: Path, against: Path, *flags: str) -> int:
    photos = [] if "--photos" in flags else ["--photos", str(made / "photos")]
    return main(["verify", str(made / "bundle"), "--against", str(against), *photos, *flags])


def test_bundle_agrees_with_the_file_that_it_came_from(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = made / "page.html"
    assert _verify(made, made / "model.keras", "--html", str(page), "--rows", "3") == 0
    out = capsys.readouterr().out
    assert "100.0% (95 % interval 56.6% to 100.0%)" in out
    assert "one picture, ms" in out
    text = page.read_text(encoding="utf-8")
    assert text.count("<article>") == 3
    assert text.count("data:image/jpeg;base64,") == 3 * 4
    # Nothing comes from elsewhere, and a label is text.
    assert "http" not in text
    assert "&lt;three&gt;" in text


def test_two_bundles_can_be_compared(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _verify(made, made / "bundle", "--no-cost") == 0
    assert "worst 0" in capsys.readouterr().out


def test_each_mistake_is_told_in_a_sentence(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network_with(Layers.Rescaling(1 / 255), classes=4).save(tmp_path / "four.keras")
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "broken.jpg").write_bytes(b"no photo")
    mistakes: list[tuple[Path, str, str]] = [
        (tmp_path / "four.keras", str(made / "photos"), "the bundle has 3 classes"),
        (made / "model.keras", str(tmp_path / "empty"), "there are no photos in"),
        (made / "model.keras", str(tmp_path / "none"), "is no folder"),
        (made / "model.keras", str(tmp_path / "bad"), "broken.jpg cannot be read as a photo"),
    ]
    for against, photos, expected in mistakes:
        assert _verify(made, against, "--photos", photos, "--no-cost") == 1
        assert expected in said(capsys)


def test_inspect_tells_what_a_bundle_is_and_finds_damage(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(made / "bundle", copy)
    assert main(["inspect", str(copy)]) == 0
    shown = capsys.readouterr().out
    for expected in ("model 1.0.0", "gradcam of last, softmax score", "4 pictures"):
        assert expected in shown
    with (copy / "selftest-2.png").open("ab") as file:
        file.write(b"!")
    assert main(["inspect", str(copy)]) == 1
    assert "selftest-2.png is not the file" in capsys.readouterr().out
    (copy / manifest.FILE_NAME).write_text("schema = 2")
    assert main(["inspect", str(copy)]) == 1


def _answer(*probabilities: float, heatmap: Any = None) -> Answer:
    return Answer(np.array(probabilities, np.float32), heatmap)


def test_agreement_is_counted() -> None:
    hot, cold = np.eye(5, dtype=np.float32), np.zeros((5, 5), np.float32)
    pairs = [
        Pair(_answer(0.7, 0.3, heatmap=hot), _answer(0.6, 0.4, heatmap=hot)),
        Pair(_answer(0.7, 0.3, heatmap=hot), _answer(0.4, 0.6, heatmap=cold)),
    ]
    found = summarise(pairs)
    assert (found.photos, found.same_top, found.share) == (2, 1, 0.5)
    assert found.worst_change == pytest.approx(0.3)
    assert found.mean_change == pytest.approx(0.2)
    # A flat map has no correlation; the other pair's is whole.
    assert found.correlation == pytest.approx(1)
    # Wilson's interval of 1 in 2, from the formula's own paper.
    assert found.interval == pytest.approx((0.0945, 0.9055), abs=1e-4)
