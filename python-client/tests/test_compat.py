"""The drop-in keeps the contract of the module that it replaces, against the real daemon."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.test import override_settings
from django.utils import translation
from PIL import Image

import dermald
from conftest import StartDaemon
from dermald.compat._class_names import LateClassNames
from dermald.compat.ai_detection import (
    IMG_SIZE_DEFAULT,
    BadPhoto,
    SkinPredictionError,
    predict_skin_simple,
    predict_skin_with_explanation,
)
from processes import Daemon

LABELS = ["ring", "scaly-patch", "dark-spot", "bumps", "clear-skin"]


@pytest.fixture
def site(daemon: Daemon) -> Iterator[ModuleType]:
    """A site's own AI_detection.py, whose body is the one line, with a running daemon."""
    with override_settings(DERMALD={"default": {"SOCKET": daemon.socket}}):
        yield site_module()


def site_module() -> ModuleType:
    module = ModuleType("AI_detection")
    exec("from dermald.compat.ai_detection import *", module.__dict__)
    return module


def at(socket: Path, **entry: object) -> override_settings:
    return override_settings(DERMALD={"default": {"SOCKET": socket, "RETRIES": 0, **entry}})


def test_results_are_percentages_in_falling_order(site: Any, photo: Path) -> None:  # noqa: ANN401
    results, _ = site.predict_skin_with_explanation(photo.read_bytes())
    assert [set(result) for result in results] == [{"class", "probability"}] * len(LABELS)
    assert {result["class"] for result in results} == set(LABELS)
    assert all(type(result["probability"]) is float for result in results)
    shares = [result["probability"] for result in results]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(100, abs=0.001)  # five floats of 24 bits
    assert results[0]["class"] == "ring"
    assert json.loads(json.dumps(results)) == results


def test_results_are_those_of_the_client(site: Any, daemon: Daemon, photo: Path) -> None:  # noqa: ANN401
    with dermald.Client(daemon.socket) as client:
        labels = client.predict(photo).labels
    assert site.predict_skin_simple(photo.read_bytes()) == [
        {"class": label.name, "probability": label.probability * 100} for label in labels
    ]


@pytest.mark.parametrize(("top_k", "count"), [(1, 1), (3, 3), (7, 5), (0, 0), (-1, 0)])
def test_at_most_top_k_results_come(site: Any, photo: Path, top_k: int, count: int) -> None:  # noqa: ANN401
    assert len(site.predict_skin_simple(photo.read_bytes(), top_k=top_k)) == count
    assert len(site.predict_skin_with_explanation(photo.read_bytes(), top_k)[0]) == count


def test_heatmap_is_an_rgba_png_of_the_models_size(
    site: Any,  # noqa: ANN401
    daemon: Daemon,
    photo: Path,
) -> None:
    _, heatmap = site.predict_skin_with_explanation(photo.read_bytes(), enable_gradcam=True)
    with Image.open(io.BytesIO(b64decode(heatmap, validate=True))) as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "RGBA", (128, 128))
    with dermald.Client(daemon.socket) as client:
        overlay = client.predict(photo, explain="overlay").overlay
    assert overlay is not None
    assert overlay.data == b64decode(heatmap)


@pytest.mark.parametrize(
    ("variable", "argument", "explained"),
    [
        (None, None, True),
        ("true", None, True),
        ("YES", None, True),
        ("1", None, True),
        ("false", None, False),
        ("0", None, False),
        ("on", None, False),
        ("true", False, False),
        ("false", True, True),
    ],
)
def test_environment_decides_about_gradcam_unless_told(
    site: Any,  # noqa: ANN401
    photo: Path,
    monkeypatch: pytest.MonkeyPatch,
    variable: str | None,
    argument: bool | None,
    explained: bool,
) -> None:
    monkeypatch.delenv("ENABLE_GRADCAM", raising=False)
    if variable is not None:
        monkeypatch.setenv("ENABLE_GRADCAM", variable)
    assert (variable in (None, "true", "YES", "1")) == site.ENABLE_GRADCAM
    _, heatmap = site.predict_skin_with_explanation(photo.read_bytes(), enable_gradcam=argument)
    assert (heatmap is not None) == explained


def test_model_without_gradcam_answers_without_a_heatmap(
    start_daemon: StartDaemon, photo: Path, caplog: pytest.LogCaptureFixture
) -> None:
    daemon = start_daemon("no-gradcam")
    with at(daemon.socket), caplog.at_level(logging.WARNING, "dermald"):
        results, heatmap = predict_skin_with_explanation(photo.read_bytes(), enable_gradcam=True)
    assert results
    assert heatmap is None
    assert "no Grad-CAM: " in caplog.text


def test_model_counts_as_loaded_when_the_daemon_has_loaded_it(start_daemon: StartDaemon) -> None:
    daemon = start_daemon()
    with at(daemon.socket):
        site: Any = site_module()
        assert site._loaded_model is None
        model = site.get_model()
        assert (model.name, len(model.digest)) == ("dermald-demo", 64)
        assert site._loaded_model == model
        assert site.get_model() == model
        site.cleanup_memory()
        assert site._loaded_model is not None


def test_constants_are_those_of_the_daemons_model(site: Any) -> None:  # noqa: ANN401
    assert site.IMG_SIZE_DEFAULT == 300
    assert site.CLASS_NAMES == LABELS
    assert isinstance(site.CLASS_NAMES, list)
    assert site.get_img_size() == 128


def test_constants_can_be_imported_before_the_daemon_runs(
    start_daemon: StartDaemon, folder: Path
) -> None:
    with at(folder / "dermald.sock"):
        site: Any = site_module()
        names = site.CLASS_NAMES
        assert isinstance(names, LateClassNames)
        assert len(names) == 0
        assert site.get_img_size() == IMG_SIZE_DEFAULT
        assert site._loaded_model is None
        start_daemon()
        assert names == LABELS
        assert (names[0], names[-2:], list(names)) == ("ring", LABELS[-2:], LABELS)
        assert site.get_img_size() == 128


def test_other_names_are_missing(site: Any) -> None:  # noqa: ANN401
    with pytest.raises(AttributeError, match="_loaded_modle"):
        _ = site._loaded_modle


@pytest.mark.parametrize("language", ["en", "vi"])
@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"This is a text. " * 50, {"en": "cannot be read as a photo", "vi": "Không đọc được"}),
        (b"", {"en": "cannot be read as a photo", "vi": "Không đọc được"}),
        (bytes(100 * 2**20), {"en": "too large", "vi": "quá lớn"}),
    ],
    ids=["text", "nothing", "100 MB"],
)
def test_bad_photo_raises_a_sentence_for_the_visitor(
    daemon: Daemon,
    data: bytes,
    said: dict[str, str],
    language: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with at(daemon.socket), translation.override(language):
        with caplog.at_level(logging.WARNING, "dermald"), pytest.raises(BadPhoto) as caught:
            predict_skin_with_explanation(data)
    assert said[language] in str(caught.value)
    assert isinstance(caught.value.__cause__, dermald.PictureError)
    assert caught.value.code in caplog.text


def test_missing_daemon_raises_a_sentence_for_the_visitor(folder: Path) -> None:
    with at(folder / "nobody.sock"), translation.override("vi"):
        with pytest.raises(SkinPredictionError, match="hiện không hoạt động") as caught:
            predict_skin_simple(b"x")
    assert caught.value.code == "unreachable"
    assert not isinstance(caught.value, BadPhoto)


def test_slow_daemon_raises_a_sentence_for_the_visitor(
    start_daemon: StartDaemon, photo: Path
) -> None:
    daemon = start_daemon("slow")
    with at(daemon.socket, TIMEOUT=0.05), translation.override("en"):
        with pytest.raises(SkinPredictionError, match="took too long"):
            predict_skin_simple(photo.read_bytes())


def test_wrong_settings_raise_a_sentence_and_name_the_mistake_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with override_settings(DERMALD={"default": {"TIMOUT": 3}}), translation.override("en"):
        with pytest.raises(SkinPredictionError, match="could not be classified"):
            predict_skin_simple(b"x")
    assert "Did you mean 'TIMEOUT'?" in caplog.text


BARE_SITE = """
import sys, django
from django.conf import settings
settings.configure(
    USE_I18N=sys.argv[1] == "True", LANGUAGE_CODE="vi", DERMALD={"default": {"SOCKET": "/nobody"}}
)
django.setup()
from dermald.compat.ai_detection import *
try:
    predict_skin_simple(b"x")
except SkinPredictionError as error:
    print(error)
"""


@pytest.mark.parametrize("use_i18n", [True, False])
def test_sentences_need_neither_the_app_nor_translation_in_the_site(use_i18n: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BARE_SITE, str(use_i18n)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "hiện không hoạt động" in done.stdout


WITHOUT_DJANGO = """
import json, sys
from dermald.compat.ai_detection import *
from dermald.compat import ai_detection
results, heatmap = predict_skin_with_explanation(open(sys.argv[1], "rb").read(), 2)
try:
    predict_skin_simple(b"no picture")
except SkinPredictionError as error:
    sentence = str(error)
loaded = [name for name in ("django", "PIL", "numpy") if name in sys.modules]
print(json.dumps([results, heatmap[:5], sentence, ai_detection.CLASS_NAMES, loaded]))
"""


def test_it_works_without_django_and_pillow(daemon: Daemon, photo: Path) -> None:
    package = Path(dermald.__path__[0]).parent
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_DJANGO, str(photo)],
        env={"DERMALD_SOCKET": str(daemon.socket), "PYTHONPATH": str(package), "LANGUAGE": "vi"},
        capture_output=True,
        text=True,
        check=True,
    )
    results, heatmap, sentence, names, loaded = json.loads(done.stdout)
    assert results[0]["class"] == "ring"
    assert len(results) == 2
    assert heatmap == "iVBOR"
    assert sentence.startswith("Không đọc được")
    assert names == LABELS
    assert loaded == []
