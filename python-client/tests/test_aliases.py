"""Pages that are about another daemon than `default`, next to those that are about that one."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO

import pytest
from django.contrib.auth.models import User
from django.test import Client as Browser
from django.test import override_settings

from dermald.testing import Answer, FakeDaemon, FakeModel

both_ways = pytest.mark.parametrize("moles", ["/moles/", "/later/moles/"])
SMALL = 64


@pytest.fixture
def two() -> Iterator[tuple[FakeDaemon, FakeDaemon]]:
    """The daemons `default` and `moles`; the second one's photos are to be small."""
    labels = {"mole": {"en": "Harmless mole"}}
    with FakeDaemon() as first, FakeDaemon(model=FakeModel("moles", labels=labels)) as second:
        first.metrics, second.metrics = "first 1\n# EOF\n", "second 2\n# EOF\n"
        second.state = "renewing"
        entries = {
            "default": {"SOCKET": str(first.path)},
            "moles": {"SOCKET": str(second.path), "MAX_BYTES": SMALL, "METRICS_TOKEN": "let-me"},
        }
        with override_settings(DERMALD=entries):
            yield first, second


@both_ways
def test_each_page_asks_its_own_daemon(
    moles: str, two: tuple[FakeDaemon, FakeDaemon], database: None
) -> None:
    first, second = two
    second.then(Answer({"mole": 1.0}))
    staff, _ = User.objects.get_or_create(username="aliases", is_staff=True)
    browser = Browser()
    browser.force_login(staff)
    shown = browser.post(moles, {"image": photo(SMALL)}, headers={"Accept": "text/html"})
    assert "Harmless mole" in shown.text
    assert (len(first.asked), len(second.asked)) == (0, 1)
    assert browser.get("/skin/health/").json()["daemon"] == "ready"
    assert browser.get(f"{moles}health/").json()["daemon"] == "renewing"
    assert browser.get(f"{moles}memory/").json()["daemon"]["state"] == "renewing"
    assert "Harmless mole" in browser.get(f"{moles}status/").text
    assert "Harmless mole" not in browser.get("/skin/status/").text


@both_ways
def test_each_daemon_has_its_own_limit_and_token(
    moles: str, two: tuple[FakeDaemon, FakeDaemon]
) -> None:
    browser = Browser()
    assert browser.post(moles, {"image": photo(SMALL + 1)}).status_code == 413
    assert browser.post("/skin/", {"image": photo(SMALL + 1)}).status_code == 200
    token = {"Authorization": "Bearer let-me"}
    assert browser.get(f"{moles}metrics/", headers=token).text.startswith("second")
    assert browser.get("/skin/metrics/", headers=token).status_code == 403


def photo(size: int) -> BytesIO:
    """Begins as a JPEG does, which is all that the site looks at."""
    file = BytesIO(b"\xff\xd8\xff" + bytes(size - 3))
    file.name = "photo.jpg"
    return file
