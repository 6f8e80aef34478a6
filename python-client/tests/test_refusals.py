"""What stops an upload or a page on its way: a sentence for the visitor, a line for the team."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client as Browser
from django.test import override_settings

both_pages = pytest.mark.parametrize("page", ["/skin/", "/later/"])
JSON = {"accept": "application/json"}
WRONG: list[dict[str, object]] = [{"TIMOUT": 1}, {"DAEMON_USERS": ["no-such-user"]}]


@both_pages
def test_camera_text_of_a_hundred_megabytes_is_a_message(
    page: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "dermald")
    photo = {"image": "data:image/jpeg;base64," + "A" * (100 * 2**20)}
    response = Browser().post(page, photo)
    assert response.status_code == 413
    assert "This photo is too large." in response.content.decode()
    assert "DATA_UPLOAD_MAX_MEMORY_SIZE" in caplog.text


@both_pages
def test_forged_upload_is_refused_and_an_own_one_is_not(page: str) -> None:
    browser = Browser(enforce_csrf_checks=True)
    assert browser.post(page).status_code == 403
    browser.get(page)
    token = browser.cookies["csrftoken"].value
    assert browser.post(page, {"csrfmiddlewaretoken": token}).status_code == 400


@both_pages
def test_programs_read_the_visitors_sentence_and_the_log_has_the_reason(
    page: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with override_settings(DERMALD={"default": {"SOCKET": folder / "nobody.sock", "RETRIES": 0}}):
        response = Browser().post(page, {"image": like_a_jpeg()}, headers=JSON)
    assert response.status_code == 503
    error = json.loads(response.content)["error"]
    assert error["code"] == "unreachable"
    assert error["message"].startswith("The classifier is not running")
    assert "nobody.sock" in caplog.text


@both_pages
@pytest.mark.parametrize(
    ("photo", "code"),
    [
        (b"This is a text. " * 50, "picture_unsupported"),
        ("data:image/jpeg;base64,/9j/4AA", "picture_broken"),
    ],
)
def test_refused_form_is_a_line_in_the_log(
    page: str, photo: bytes | str, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "dermald")
    sent = photo if isinstance(photo, str) else SimpleUploadedFile("x.jpg", photo)
    assert Browser().post(page, {"image": sent}).status_code == 422
    assert code in caplog.text


@both_pages
@pytest.mark.parametrize("entry", WRONG)
def test_wrong_setting_is_a_message_and_names_itself_in_the_log(
    page: str, entry: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    with override_settings(DERMALD={"default": entry}):
        response = Browser().post(page, {"image": like_a_jpeg()})
        health = Browser().get(f"{page}health/")
    assert response.status_code == 503
    assert "could not be classified" in response.content.decode()
    assert "TIMOUT" in caplog.text or "no-such-user" in caplog.text
    assert (health.status_code, health.json()["daemon"]) == (200, "misconfigured")


@pytest.mark.parametrize("entry", WRONG)
def test_pages_of_the_team_survive_a_wrong_setting(
    entry: dict[str, object], database: None
) -> None:
    staff, _ = User.objects.get_or_create(username="refusals", is_staff=True)
    browser = Browser()
    browser.force_login(staff)
    with override_settings(DERMALD={"default": entry}):
        memory, metrics, status = (
            browser.get(f"/skin/{name}/") for name in ("memory", "metrics", "status")
        )
    assert (memory.status_code, memory.json()["daemon"]) == (200, None)
    assert (metrics.status_code, metrics.content) == (503, b"# misconfigured\n")
    assert status.status_code == 200
    assert "DERMALD[&#x27;default&#x27;]" in status.content.decode()


def like_a_jpeg() -> SimpleUploadedFile:
    return SimpleUploadedFile("x.jpg", b"\xff\xd8\xff" + bytes(100))
