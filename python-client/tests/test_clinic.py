"""The example clinic under gunicorn with a real daemon: what a team would copy keeps its
promises."""

from __future__ import annotations

import html
import http.client
import json
import os
import re
import secrets
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

import dermald
from clinic_process import FOLDER, Clinic
from clinic_visitor import PATIENCE_SECONDS, Visitor
from conftest import StartDaemon
from processes import Daemon, Process

PATIENTS = {"an": secrets.token_urlsafe(), "binh": secrets.token_urlsafe()}
_CAPTION = re.compile(r"<figcaption>(What speaks for [^<]+)</figcaption>")
_OVERLAY = re.compile(r'<img src="(data:image/[^"]+)" alt="The photo with a heatmap')
StartClinic = Callable[..., Clinic]


@pytest.fixture(scope="module")
def accounts(daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with the patients: making one takes seconds."""
    folder = tmp_path_factory.mktemp("accounts")
    Clinic(folder, environment(daemon.socket), PATIENTS).close()
    return folder / "clinic.sqlite3"


@pytest.fixture(scope="module")
def clinic(
    daemon: Daemon, accounts: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Clinic]:
    folder = tmp_path_factory.mktemp("clinic")
    shutil.copy(accounts, folder)
    running = Clinic(folder, environment(daemon.socket), {})
    yield running
    running.close()


@pytest.fixture
def start_clinic(accounts: Path, tmp_path: Path) -> Iterator[StartClinic]:
    """A clinic of the test's own."""
    with ExitStack() as stack:

        def start(socket: Path, **more: str) -> Clinic:
            shutil.copy(accounts, tmp_path)
            running = Clinic(tmp_path, {**environment(socket), **more}, {})
            stack.callback(running.close)
            return running

        yield start


@pytest.fixture(scope="module")
def an(clinic: Clinic) -> Visitor:
    return patient(clinic, "an")


@pytest.fixture(scope="module")
def binh(clinic: Clinic) -> Visitor:
    return patient(clinic, "binh")


def test_nothing_is_shown_before_login(clinic: Clinic, an: Visitor, photo: Path) -> None:
    kept = an.keep(photo)
    stranger = Visitor(clinic.address)
    for path in ("/", "/history/", kept, f"{kept}file/", f"{kept}delete/"):
        page = stranger.get(path)
        assert page.path.startswith("/login/?next="), path
    assert json.loads(stranger.get("/health/").text)["daemon"] == "ready"


def test_photo_that_shall_not_be_kept_leaves_nothing(
    clinic: Clinic, binh: Visitor, photo: Path
) -> None:
    before = files(clinic)
    page = binh.upload(photo)
    assert (page.status, page.path) == (200, "/")
    assert "<h1>Ring</h1>" in page.text
    assert "This is no diagnosis." in page.text
    assert files(clinic) == before
    assert "You kept no photo." in binh.get("/history/").text


def test_kept_photo_is_its_owners_only(
    clinic: Clinic, an: Visitor, binh: Visitor, photo: Path
) -> None:
    kept = an.keep(photo)
    shown = an.get(f"{kept}file/")
    assert shown.body == photo.read_bytes()
    assert shown.headers["Content-Type"] == "image/jpeg"
    assert "no-store" in shown.headers["Cache-Control"]
    assert kept in an.get("/history/").text
    assert kept not in binh.get("/history/").text
    for path in (kept, f"{kept}?target=0", f"{kept}file/", f"{kept}state/{kept[8:-1]}/"):
        assert binh.get(path).status == 404, path
    assert binh.post(f"{kept}delete/", form="/").status == 404
    assert an.get(f"{kept}file/").status == 200
    (file,) = [file for file in files(clinic) if file.name == kept.split("/")[2]]
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    # Neither below a URL of its own.
    assert an.get(f"/media/{file.relative_to(clinic.folder / 'media')}").status == 404


def test_deletion_takes_the_file_along(clinic: Clinic, an: Visitor, photo: Path) -> None:
    before = files(clinic)
    kept = an.keep(photo)
    assert len(files(clinic)) == len(before) + 1
    assert an.get(f"{kept}delete/").status == 405
    page = an.post(f"{kept}delete/", form=kept)
    assert page.path == "/history/"
    assert "The photo and its result are deleted." in page.text
    assert files(clinic) == before
    assert an.get(kept).status == 404


def test_account_takes_its_photos_along(
    start_clinic: StartClinic, daemon: Daemon, photo: Path
) -> None:
    clinic = start_clinic(daemon.socket)
    patient(clinic, "an").keep(photo)
    patient(clinic, "binh").keep(photo)
    assert len(files(clinic)) == 2
    of_an = "from django.contrib.auth.models import User; User.objects.get(username='an').delete()"
    clinic.manage("shell", "--command", of_an)
    assert len(files(clinic)) == 1


def test_another_class_is_explained(an: Visitor, photo: Path) -> None:
    kept = an.keep(photo)
    first = an.get(kept)
    targets = re.findall(r'href="\?target=(\d+)"', first.text)
    assert len(targets) == 5
    pages = [an.get(f"{kept}?target={target}") for target in targets]
    assert len({caption(page.text) for page in pages}) == 5
    assert len({overlay(page.text) for page in pages}) > 1
    assert caption(pages[0].text) == caption(first.text) == "What speaks for Ring"
    for wrong in ("5", "-1", "ring"):
        assert an.get(f"{kept}?target={wrong}").status == 404


def test_another_class_of_a_photo_that_is_not_kept(an: Visitor, photo: Path) -> None:
    page = an.upload(photo)
    options = re.findall(r'<option value="(\d+)">([^<]+)<', page.text)
    assert len(options) == 5
    target, title = options[-1]
    assert caption(an.upload(photo, target=target).text) == f"What speaks for {title}"
    assert an.upload(photo, target="77").status == 400


def test_camera_is_a_way_too(an: Visitor, photo: Path) -> None:
    assert 'capture="environment"' in an.get("/").text
    page = an.post("/", fields={"camera": SimpleUploadedFile("image.jpg", photo.read_bytes())})
    assert "<h1>Ring</h1>" in page.text


@pytest.mark.parametrize("keep", [{}, {"keep": "on"}])
def test_what_is_no_photo_is_told_and_not_kept(
    clinic: Clinic, an: Visitor, photo: Path, keep: dict[str, str]
) -> None:
    before = files(clinic)
    assert an.post("/", fields=keep).status == 400
    for data in (b"no photo" * 40, photo.read_bytes()[:300]):
        page = an.upload(data, **keep)
        assert page.status == 422
        assert "cannot be read as a photo" in page.text
    assert files(clinic) == before


def test_language_is_the_browsers_until_it_is_chosen(clinic: Clinic, photo: Path) -> None:
    visitor = Visitor(clinic.address, "vi")
    assert 'lang="vi"' in visitor.get("/login/").text
    chosen = visitor.post("/language/", "/login/", {"language": "en", "next": "/login/"})
    assert "<h1>Sign in</h1>" in chosen.text
    visitor.sign_in("an", PATIENTS["an"])
    kept = visitor.keep(photo)
    assert "<h1>Ring</h1>" in visitor.get(kept).text
    page = visitor.post("/language/", kept, {"language": "vi", "next": kept})
    assert page.path == kept
    assert "<h1>Vòng tròn</h1>" in page.text
    assert "Đây không phải là chẩn đoán" in page.text
    assert "Sao không phải lớp kia?" in page.text
    assert "Vòng tròn</a>" in visitor.get("/history/").text


def test_headers_are_strict(an: Visitor, photo: Path) -> None:
    kept = an.keep(photo)
    for path in ("/", "/history/", kept, f"{kept}file/", "/nowhere/"):
        headers = an.get(path).headers
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; ")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "camera=()" in headers["Permissions-Policy"]
    first, second = an.get(kept), an.get(kept)
    (nonce,) = set(re.findall(r'nonce="([^"]+)"', first.text))
    assert f"'nonce-{nonce}'" in first.headers["Content-Security-Policy"]
    assert nonce not in second.text
    assert "style=" not in first.text


def test_behind_https_cookies_stay_there(start_clinic: StartClinic, daemon: Daemon) -> None:
    clinic = start_clinic(daemon.socket, CLINIC_HTTPS="1", SECRET_KEY=secrets.token_urlsafe(60))
    clinic.manage("check", "--deploy", "--fail-level", "WARNING")
    host = clinic.address.removeprefix("http://")
    with closing(http.client.HTTPConnection(host, timeout=PATIENCE_SECONDS)) as connection:
        connection.request("GET", "/login/")
        plain = connection.getresponse()
        plain.read()
        assert (plain.status, plain.headers["Location"]) == (301, f"https://{host}/login/")
        connection.request("GET", "/login/", headers={"X-Forwarded-Proto": "https"})
        secure = connection.getresponse()
        assert secure.status == 200
        assert int(secure.headers["Strict-Transport-Security"].partition("=")[2]) > 10**7
        assert {"Secure", "HttpOnly", "SameSite=Lax"} <= set(
            secure.headers["Set-Cookie"].split("; ")
        )


def test_what_is_old_is_forgotten(start_clinic: StartClinic, daemon: Daemon, photo: Path) -> None:
    clinic = start_clinic(daemon.socket)
    visitor = patient(clinic, "an")
    old, young = visitor.keep(photo), visitor.keep(photo)
    with closing(sqlite3.connect(clinic.folder / "clinic.sqlite3")) as database:
        aged = "UPDATE uploads_upload SET created_at = '2020-01-01 00:00:00' WHERE id = ?"
        database.execute(aged, [old.split("/")[2].replace("-", "")])
        database.commit()
    # Two files of a process that died before it wrote the row, a while ago and just now.
    lost, fresh = (files(clinic)[0].with_name(name) for name in ("lost", "fresh"))
    for file in (lost, fresh):
        file.write_bytes(b"")
    os.utime(lost, (0, 0))
    said = clinic.manage("forget", "--older-than", "30d")
    assert said == "1 photos deleted, and 1 files of none.\n"
    assert visitor.get(old).status == 404
    assert visitor.get(young).status == 200
    assert {file.name for file in files(clinic)} == {"fresh", young.split("/")[2]}
    with pytest.raises(RuntimeError, match="is no age; write 30d for days or 12h for hours"):
        clinic.manage("forget", "--older-than", "soon")


def test_file_that_cannot_be_removed_keeps_its_row(
    start_clinic: StartClinic, daemon: Daemon, photo: Path
) -> None:
    clinic = start_clinic(daemon.socket)
    visitor = patient(clinic, "an")
    stuck, other = visitor.keep(photo), visitor.keep(photo)
    file = next(file for file in files(clinic) if file.name in stuck)
    # Even root removes no folder with something in it.
    file.unlink()
    (file / "something").mkdir(parents=True)
    assert visitor.post(f"{stuck}delete/", form="/history/").status == 500
    with pytest.raises(RuntimeError, match="1 files cannot be removed: their rows stay"):
        clinic.manage("forget", "--older-than", "0d")
    page = visitor.get("/history/").text
    assert stuck in page
    assert other not in page
    (file / "something").rmdir()
    assert visitor.post(f"{stuck}delete/", form="/history/").path == "/history/"
    assert not file.exists()


def test_without_a_daemon_visitors_are_told(
    start_clinic: StartClinic, start_daemon: StartDaemon, photo: Path
) -> None:
    running = start_daemon()
    clinic = start_clinic(running.socket)
    visitor = patient(clinic, "an")
    kept = visitor.keep(photo)
    running.terminate()
    before = files(clinic)
    for page in (visitor.upload(photo), visitor.upload(photo, keep="on"), visitor.get(kept)):
        assert page.status == 503
        assert "The classifier is not running at the moment." in page.text
    assert files(clinic) == before
    # What was found stays to be seen, and can be deleted.
    assert kept in visitor.get("/history/").text
    assert visitor.post(f"{kept}delete/", form=kept).path == "/history/"
    assert files(clinic) == []


def test_worker_predicts_for_kept_photos(
    start_clinic: StartClinic, daemon: Daemon, photo: Path, tmp_path: Path
) -> None:
    pytest.importorskip("django_tasks_db", reason="NOT TESTED: django.tasks (dermald[tasks])")
    clinic = start_clinic(daemon.socket, CLINIC_BACKGROUND="tasks")
    visitor = patient(clinic, "an")
    kept = visitor.keep(photo)
    waiting = visitor.get(kept)
    assert "Your photo waits for its turn." in waiting.text
    (state,) = re.findall(r'fetch\("([^"]+)"\)', waiting.text)
    assert json.loads(visitor.get(state).text)["state"] == "waiting"
    assert patient(clinic, "binh").get(state).status == 404
    broken = visitor.keep(photo.read_bytes()[:300])
    worker = Process(
        [sys.executable, "manage.py", "db_worker", "--interval", "0.1", "--no-startup-delay"],
        clinic.environment,
        folder=FOLDER,
        log=tmp_path / "worker.log",
    )
    try:
        wait_until(lambda: json.loads(visitor.get(state).text)["state"] == "done")
        wait_until(lambda: "cannot be read as a photo" in visitor.get(broken).text)
        page = visitor.get(kept)
        assert "<h1>Ring</h1>" in page.text
        assert f'<img src="{kept}file/"' in page.text
        wait_until(lambda: _CAPTION.search(visitor.get(f"{kept}?target=1").text) is not None)
        assert caption(visitor.get(f"{kept}?target=1").text) != caption(page.text)
        assert "Ring</a>" in visitor.get("/history/").text
    finally:
        worker.terminate()
    for path in (kept, broken):
        visitor.post(f"{path}delete/", form=path)
    assert files(clinic) == []
    with closing(sqlite3.connect(clinic.folder / "clinic.sqlite3")) as database:
        count = "SELECT count(*) FROM dermald_background_storedprediction"
        assert database.execute(count).fetchone() == (0,)


def environment(socket: Path) -> dict[str, str]:
    paths = [str(Path(dermald.__path__[0]).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"DERMALD_SOCKET": str(socket), "PYTHONPATH": os.pathsep.join(paths)}


def patient(clinic: Clinic, name: str) -> Visitor:
    return Visitor(clinic.address).sign_in(name, PATIENTS[name])


def files(clinic: Clinic) -> list[Path]:
    """All that lies where photos are kept."""
    return sorted(path for path in (clinic.folder / "media").rglob("*") if path.is_file())


def caption(page: str) -> str:
    found = _CAPTION.search(page)
    assert found is not None, page
    return html.unescape(found[1])


def overlay(page: str) -> str:
    found = _OVERLAY.search(page)
    assert found is not None, page
    return found[1]


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
