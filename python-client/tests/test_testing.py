"""The fake daemon that is shipped for sites: says what it is told, as the real one would say it."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client as Browser
from PIL import Image

import dermald
from dermald.compat import ai_detection
from dermald.django import get_client
from dermald.testing import (
    Answer,
    Cut,
    FakeDaemon,
    FakeModel,
    GoAway,
    Hang,
    Nonsense,
    Refusal,
    Step,
)
from dermald.testing.steps import _CODES
from processes import Daemon

PHOTO = b"\xff\xd8\xff" + bytes(100)


def test_answer_is_what_was_told() -> None:
    model = FakeModel(labels={"a": {"vi": "A"}, "b": {}}, notice={"vi": "Chú ý."}, side=32)
    with FakeDaemon(model=model) as daemon, dermald.Client(daemon.path) as client:
        daemon.then(Answer({"b": 0.25, "a": 0.75}))
        answer = client.predict(PHOTO, explain="overlay", language="vi", top_k=1)
    assert [(x.index, x.name, x.title, x.probability) for x in answer.labels] == [
        (0, "a", "A", 0.75)
    ]
    assert answer.notice == "Chú ý."
    assert answer.model.digest == model.digest
    assert answer.overlay is not None
    with Image.open(io.BytesIO(answer.overlay.data)) as picture:
        assert picture.size == (answer.overlay.width, answer.overlay.height) == (32, 32)
        assert picture.mode == "RGBA"
    (asked,) = daemon.asked
    assert (asked.picture, asked.top_k, asked.language) == (PHOTO, 1, "vi")
    assert asked.explain == dermald.RenderOverlay()


def test_script_is_followed_and_then_always() -> None:
    with FakeDaemon() as daemon, dermald.Client(daemon.path, retries=0) as client:
        daemon.then(Answer({"ring": 1.0}), Refusal("picture_broken"))
        daemon.always = Answer({"clear": 1.0})
        assert client.predict(PHOTO).labels[0].name == "ring"
        with pytest.raises(dermald.PictureError):
            client.predict(PHOTO)
        assert [client.predict(PHOTO).labels[0].name for _ in range(3)] == ["clear"] * 3
        assert len(daemon.asked) == 5


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (Refusal("busy", retry_after=9), dermald.Busy),
        (Refusal("picture_too_large"), dermald.PictureError),
        (Refusal("model_invalid"), dermald.OperatorError),
        (Refusal("internal", delay=0.05), dermald.DaemonError),
        (Hang(), dermald.DeadlineExceeded),
        (Answer(delay=5), dermald.DeadlineExceeded),
        (Cut(), dermald.Unreachable),
        (GoAway(), dermald.GoingAway),
        (Nonsense(), dermald.ProtocolError),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, type) else None,
)
def test_fault_is_what_the_client_knows(step: Step, kind: type[Exception]) -> None:
    with FakeDaemon() as daemon, dermald.Client(daemon.path, retries=0, timeout=0.4) as client:
        daemon.then(step)
        with pytest.raises(kind):
            client.predict(PHOTO)
        # The next one gets its own answer, on a new connection where the old one is lost.
        assert client.predict(PHOTO).labels


def test_busy_daemon_is_asked_again() -> None:
    with FakeDaemon() as daemon, dermald.Client(daemon.path) as client:
        daemon.then(Refusal("busy", retry_after=0.01), GoAway(), Answer({"ring": 1.0}))
        assert client.predict(PHOTO).labels[0].name == "ring"


def test_code_of_no_protocol_is_refused() -> None:
    with pytest.raises(ValueError, match="'bussy' is no code"):
        Refusal("bussy")


def test_codes_are_those_of_the_protocol() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "protocol.md").read_text()
    for code, (fault, retryable) in _CODES.items():
        assert f"| `{code}` | {fault} | {'yes' if retryable else 'no'} |" in page


def test_daemon_of_another_version_is_told() -> None:
    with FakeDaemon() as daemon, dermald.Client(daemon.path, retries=0) as client:
        daemon.version = 9
        with pytest.raises(dermald.RequestError, match="version 9") as caught:
            client.health()
    assert caught.value.code == "unsupported_version"


def test_health_and_status_are_answered_while_a_picture_waits() -> None:
    with FakeDaemon() as daemon, dermald.Client(daemon.path) as client:
        daemon.then(Answer(delay=30))
        thread = threading.Thread(target=ask_in_vain, args=(daemon,))
        thread.start()
        while not daemon.asked:
            time.sleep(0.005)
        daemon.state = "renewing"
        assert client.health(timeout=1).state == "renewing"
        assert client.status(timeout=1)["state"] == "renewing"
        assert client.renew(timeout=1) == 0
        daemon.stop()
        thread.join()
        daemon.start()
        assert client.predict(PHOTO).labels


def ask_in_vain(daemon: FakeDaemon) -> None:
    with dermald.Client(daemon.path, retries=0) as client:
        with pytest.raises(dermald.Unreachable):
            client.predict(PHOTO)


def test_async_client_can_be_served() -> None:
    async def ask(daemon: FakeDaemon) -> list[str]:
        async with dermald.AsyncClient(daemon.path) as client:
            answers = await asyncio.gather(*(client.predict(PHOTO) for _ in range(5)))
            return [answer.labels[0].name for answer in answers]

    with FakeDaemon() as daemon:
        assert asyncio.run(ask(daemon)) == ["spot"] * 5


def test_status_has_nothing_that_the_real_one_lacks(daemon: Daemon) -> None:
    with dermald.Client(daemon.socket) as client:
        real: Any = client.status()
    with FakeDaemon() as fake, dermald.Client(fake.path) as client:
        told: Any = client.status()
    assert told.keys() <= real.keys()
    assert told["model"].keys() <= real["model"].keys()
    assert told["model"]["labels"][0].keys() == real["model"]["labels"][0].keys()


def test_django_is_led_to_it() -> None:
    with FakeDaemon() as daemon, daemon.override_settings(TIMEOUT=1, RETRIES=0):
        assert get_client().health().ready
        daemon.then(Answer({"ring": 0.9, "spot": 0.1}), Refusal("busy", retry_after=7))
        image = SimpleUploadedFile("x.jpg", PHOTO)
        page = Browser().post("/skin/", {"image": image}, headers={"accept-language": "vi"})
        assert "Vòng tròn" in page.content.decode()
        image.seek(0)
        busy = Browser().post("/skin/", {"image": image})
        assert (busy.status_code, busy["Retry-After"]) == (503, "7")
        results, heatmap = ai_detection.predict_skin_with_explanation(PHOTO)
        assert results[0]["class"] == "spot"
        assert heatmap is not None


@pytest.mark.parametrize(
    ("step", "status", "said"),
    [
        (GoAway(), 503, "starting again"),
        (Cut(), 503, "not running"),
        (Nonsense(), 502, "could not be classified"),
        (Refusal("internal"), 502, "could not be classified"),
        (Refusal("model_invalid"), 502, "could not be classified"),
        (Refusal("picture_failed"), 502, "cannot be read as a photo"),
        (Hang(), 504, "took too long"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, (int, str)) else None,
)
@pytest.mark.parametrize("page", ["/skin/", "/later/"])
def test_page_has_a_sentence_for_every_fault(
    page: str, step: Step, status: int, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    with FakeDaemon() as daemon, daemon.override_settings(TIMEOUT=0.3, RETRIES=0):
        daemon.then(step)
        response = Browser().post(page, {"image": SimpleUploadedFile("x.jpg", PHOTO)})
    assert response.status_code == status
    assert said in response.content.decode()
    assert caplog.text.count("no prediction: ") == 1


def test_page_and_health_survive_a_daemon_of_another_version() -> None:
    with FakeDaemon() as daemon, daemon.override_settings():
        daemon.version = 9
        response = Browser().post("/skin/", {"image": SimpleUploadedFile("x.jpg", PHOTO)})
        assert response.status_code == 502
        assert "could not be classified" in response.content.decode()
        assert Browser().get("/skin/health/").json() == {"status": "ok", "daemon": "incompatible"}


def test_health_is_200_while_the_daemon_renews_itself() -> None:
    with FakeDaemon() as daemon, daemon.override_settings():
        daemon.state = "renewing"
        for query in ({}, {"daemon": "required"}):
            response = Browser().get("/skin/health/", query)
            assert (response.status_code, response.json()["daemon"]) == (200, "renewing")


CONFTEST = """
import django
from django.conf import settings

pytest_plugins = ["dermald.testing.fixtures"]
settings.configure(INSTALLED_APPS=["dermald.django"])
django.setup()
"""
SITE_TEST = """
from dermald.django import predict
from dermald.testing import Answer

def test_view(dermald_daemon):
    dermald_daemon.then(Answer({"Acne": 0.9}))
    assert predict(b"photo").labels[0].name == "Acne"
    assert dermald_daemon.asked[0].picture == b"photo"
"""


def test_fixture_serves_a_sites_own_tests(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_site.py").write_text(SITE_TEST)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_nothing_is_left_behind() -> None:
    before = {thread.name for thread in threading.enumerate()}
    with FakeDaemon() as daemon, dermald.Client(daemon.path) as client:
        folder = daemon.path.parent
        client.predict(PHOTO)
        assert folder.exists()
    assert not folder.exists()
    assert {thread.name for thread in threading.enumerate()} <= before
