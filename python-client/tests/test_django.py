"""Settings, client and upload page of the Django app, the page against the real daemon."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.files.uploadedfile import SimpleUploadedFile
from django.template import Context, Template
from django.test import Client as Browser
from django.test import override_settings
from django.utils import translation
from PIL import Image

import dermald
from conftest import StartDaemon
from dermald.django import get_client
from dermald.django.conf import PAGE_OVERLAY, DaemonSettings, daemon_settings
from photos import as_file
from processes import Daemon

PAGE = "/skin/"
# Enough for the form; no daemon could read it.
LIKE_A_JPEG = b"\xff\xd8\xff" + bytes(100)


def configured(socket: Path, **entry: object) -> override_settings:
    return override_settings(DERMALD={"default": {"SOCKET": socket, **entry}})


def upload(data: bytes, accept: str = "text/html") -> Any:  # noqa: ANN401  # Django's test response
    image = SimpleUploadedFile("photo.jpg", data, "image/jpeg")
    return Browser().post(PAGE, {"image": image}, headers={"accept": accept})


def problem_of(response: Any) -> str:  # noqa: ANN401  # the same
    found = re.search(r'role="alert">\s*(.*?)\s*</p>', response.content.decode(), re.DOTALL)
    assert found is not None
    return found.group(1)


def test_page_has_a_form() -> None:
    response = Browser().get(PAGE)
    assert response.status_code == 200
    assert 'name="csrfmiddlewaretoken"' in response.content.decode()
    assert 'type="file"' in response.content.decode()


def test_upload_without_a_token_is_refused() -> None:
    response = Browser(enforce_csrf_checks=True).post(PAGE)
    assert response.status_code == 403


def test_photo_comes_back_classified_and_explained(daemon: Daemon, photo: Path) -> None:
    with configured(daemon.socket):
        answer = get_client().predict(photo, language="en")
        response = upload(photo.read_bytes())
    page = response.content.decode()
    assert response.status_code == 200
    assert "no-store" in response["Cache-Control"]
    assert page.count('class="bar"') == len(answer.labels)
    assert f"{answer.labels[0].probability * 100:.1f} %" in page
    assert answer.labels[0].title in page
    assert page.count("data:image/jpeg;base64,") == 2
    assert answer.notice is not None
    assert response.context["prediction"].notice == answer.notice
    assert 'role="note"' in page


def test_photo_comes_back_as_json(daemon: Daemon, photo: Path) -> None:
    with configured(daemon.socket, TOP_K=2, EXPLAIN="values"):
        expected = get_client().predict(photo, top_k=2)
        response = upload(photo.read_bytes(), "application/json")
    answer = json.loads(response.content)
    assert response["Content-Type"] == "application/json"
    assert [label["name"] for label in answer["labels"]] == [x.name for x in expected.labels]
    assert answer["model"]["digest"] == expected.model.digest
    assert answer["overlay"] is None
    assert len(answer["heatmap"]["values"]) > 0


def test_missing_photo_is_a_message() -> None:
    response = Browser().post(PAGE)
    assert response.status_code == 400
    assert "No photo was chosen" in problem_of(response)


def test_other_file_is_a_message(daemon: Daemon) -> None:
    with configured(daemon.socket):
        response = upload(b"This is a text. " * 50)
        as_json = upload(b"This is a text. " * 50, "application/json")
    assert response.status_code == 422
    assert "cannot be read as a photo" in problem_of(response)
    assert json.loads(as_json.content)["error"]["code"] == "picture_unsupported"


def test_oversized_upload_is_a_message(daemon: Daemon) -> None:
    with configured(daemon.socket):
        response = upload(bytes(100 * 2**20))
    assert response.status_code == 413
    assert "This photo is larger than 16.0" in problem_of(response)


def test_missing_daemon_is_a_message(folder: Path) -> None:
    with configured(folder / "nobody.sock", RETRIES=0):
        response = upload(LIKE_A_JPEG)
    assert response.status_code == 503
    assert "not running" in problem_of(response)
    assert "manage.py dermald serve" not in response.content.decode()


def test_late_answer_is_a_message(start_daemon: StartDaemon, photo: Path) -> None:
    daemon = start_daemon("slow")
    with configured(daemon.socket, TIMEOUT=0.05):
        response = upload(photo.read_bytes())
    assert response.status_code == 504
    assert "took too long" in problem_of(response)


def test_photo_that_only_begins_like_one_is_a_message(daemon: Daemon) -> None:
    with configured(daemon.socket):
        response = upload(LIKE_A_JPEG)
    assert response.status_code == 422
    assert "cannot be read as a photo" in problem_of(response)


def test_camera_photo_is_classified_like_a_file(daemon: Daemon, photo: Path) -> None:
    text = "data:image/jpeg;base64," + b64encode(photo.read_bytes()).decode()
    with configured(daemon.socket):
        expected = json.loads(upload(photo.read_bytes(), "application/json").content)
        response = Browser().post(PAGE, {"image": text}, headers={"accept": "application/json"})
    assert response.status_code == 200
    assert json.loads(response.content)["labels"] == expected["labels"]


def test_broken_camera_photo_is_a_message() -> None:
    response = Browser().post(PAGE, {"image": "data:image/jpeg;base64,/9j/4AA"})
    assert response.status_code == 422
    assert "did not arrive whole" in problem_of(response)


@pytest.mark.parametrize("page", [PAGE, "/later/"])
def test_page_is_in_the_visitors_language(daemon: Daemon, photo: Path, page: str) -> None:
    image = SimpleUploadedFile("photo.jpg", photo.read_bytes(), "image/jpeg")
    with configured(daemon.socket):
        response = Browser().post(page, {"image": image}, headers={"accept-language": "vi"})
    text = response.content.decode()
    assert '<html lang="vi">' in text
    assert "Vòng tròn" in text
    assert "Đây không phải là chẩn đoán. Hãy hỏi bác sĩ" in text
    assert "Bản trình diễn được huấn luyện bằng ảnh vẽ." in text
    # With a decimal comma for people and a point for SVG.
    assert re.search(r'class="percent">\d+,\d %', text)
    assert re.search(r'class="bar" width="\d+\.\d\d%"', text)
    assert "Result" not in text


@pytest.mark.parametrize("page", [PAGE, "/later/"])
def test_missing_daemon_shows_the_command_to_who_can_run_it(page: str, folder: Path) -> None:
    for debug in (True, False):
        with configured(folder / "nobody.sock", RETRIES=0), override_settings(DEBUG=debug):
            shown = Browser().get(page).content.decode()
            image = SimpleUploadedFile("x.jpg", LIKE_A_JPEG)
            posted = Browser().post(page, {"image": image}).content.decode()
        assert ("manage.py dermald serve" in shown) == debug
        assert ("manage.py dermald serve" in posted) == debug


def test_page_needs_no_script(daemon: Daemon, photo: Path) -> None:
    """Both pictures are there and the slider is hidden; the script alone shows it."""
    with configured(daemon.socket):
        page = upload(photo.read_bytes()).content.decode()
    assert page.count("<script") == 1
    assert '<label class="slider" hidden>' in page
    assert page.count("<figure>") == 2
    assert not re.search(r'(src|href)="(?!data:)', page)


@pytest.mark.parametrize("entry", [{}, {"EXPLAIN": "overlay"}])
def test_photo_of_a_phone_comes_back_small_beside_its_overlay(
    daemon: Daemon, photo: Path, entry: dict[str, object]
) -> None:
    """It is too large to be sent back: the daemon gives what lies under the heatmap."""
    with Image.open(photo) as opened:
        large = as_file(opened.convert("RGB").resize((3000, 2250)), "BMP")
    with configured(daemon.socket, MAX_BYTES=2**25, **entry):
        page = upload(large).content.decode()
        as_json = json.loads(upload(large, "application/json").content)
    assert page.count("data:image/jpeg;base64,") == 2
    assert '<label class="slider" hidden>' in page
    assert len(page) < len(large) / 10
    assert as_json["overlay"]["width"] == 800


@pytest.mark.parametrize("status", [200, 422])
def test_async_page_answers_like_the_other(daemon: Daemon, photo: Path, status: int) -> None:
    data = photo.read_bytes() if status == 200 else LIKE_A_JPEG
    answers = []
    for page in (PAGE, "/later/"):
        with configured(daemon.socket):
            response = Browser().post(
                page,
                {"image": SimpleUploadedFile("photo.jpg", data)},
                headers={"accept": "application/json"},
            )
        assert response.status_code == status
        answers.append(json.loads(response.content))
        answers[-1].pop("timings", None)
    assert answers[0] == answers[1]


def test_missing_overlay_is_explained(start_daemon: StartDaemon, photo: Path) -> None:
    daemon = start_daemon("no-gradcam")
    with configured(daemon.socket):
        response = upload(photo.read_bytes())
    assert response.status_code == 200
    assert response.context["prediction"].explanation in response.content.decode()
    assert response.content.decode().count("data:image/") == 1


def test_stored_class_is_shown_by_its_title(daemon: Daemon, folder: Path) -> None:
    template = Template("{% load dermald %}{{ stored|class_title }}")
    for language, title in (("vi", "Đốm sẫm màu"), ("en", "Dark spot"), ("de", "dark-spot")):
        with configured(daemon.socket), translation.override(language):
            assert template.render(Context({"stored": "dark-spot"})) == title
            assert template.render(Context({"stored": "of an old model"})) == "of an old model"
    with configured(folder / "nobody.sock"):
        assert template.render(Context({"stored": "dark-spot"})) == "dark-spot"


def test_defaults_hold_without_a_setting() -> None:
    with override_settings():
        from django.conf import settings

        del settings.DERMALD
        daemon_settings.cache_clear()
        assert daemon_settings() == DaemonSettings()
        assert daemon_settings().explain == PAGE_OVERLAY
    daemon_settings.cache_clear()


def test_client_is_shared_until_the_setting_changes(folder: Path) -> None:
    with configured(folder / "a.sock"):
        first = get_client()
        assert get_client() is first
    with configured(folder / "b.sock"):
        assert get_client() is not first
    with pytest.raises(RuntimeError, match="closed"):
        first.health()


def test_aliases_name_several_daemons(folder: Path) -> None:
    entries = {"default": {}, "second": {"SOCKET": str(folder / "x.sock"), "RETRIES": 0}}
    with override_settings(DERMALD=entries):
        assert get_client("second") is not get_client()
        with pytest.raises(dermald.Unreachable, match=r"x\.sock"):
            get_client("second").health()


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("default", "it is a dict of dicts"),
        ({"defualt": {}}, "has no entry 'default'. Did you mean 'defualt'?"),
        ({"default": None}, "DERMALD['default'] is None; it is a dict"),
        ({"default": {"TIMOUT": 3}}, "['TIMOUT'] is unknown. Did you mean 'TIMEOUT'?"),
        ({"default": {"socket": "x"}}, "['socket'] is unknown. Did you mean 'SOCKET'?"),
        ({"default": {"ZZZ": 1}}, "['ZZZ'] is unknown. There is 'SOCKET', 'BUNDLE'"),
        ({"default": {"TIMEOUT": "3"}}, "['TIMEOUT'] is '3'; it is a number of seconds above 0"),
        ({"default": {"TIMEOUT": 0}}, "['TIMEOUT'] is 0;"),
        ({"default": {"EXPLAIN": "heat"}}, "['EXPLAIN'] is 'heat'; it is None, 'values'"),
        ({"default": {"TOP_K": True}}, "['TOP_K'] is True;"),
        ({"default": {"POOL_SIZE": 0}}, "['POOL_SIZE'] is 0; it is a whole number, at least 1"),
        ({"default": {"DAEMON_USERS": "root"}}, "['DAEMON_USERS'] is 'root'; it is a list"),
    ],
)
def test_wrong_setting_is_named(setting: object, said: str) -> None:
    with override_settings(DERMALD=setting), pytest.raises(ImproperlyConfigured) as caught:
        daemon_settings()
    assert said in str(caught.value)
