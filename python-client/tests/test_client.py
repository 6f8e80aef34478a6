"""The blocking client against the real daemon."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile, TemporaryUploadedFile
from PIL import Image

import dermald
from conftest import StartDaemon
from photos import as_file

# Probabilities of a softmax in float32 add up to 1 within some rounding errors.
SUM_TOLERANCE = 1e-5


def uploaded(photo: Path) -> SimpleUploadedFile:
    return SimpleUploadedFile("photo.jpg", photo.read_bytes(), "image/jpeg")


def on_disk(photo: Path) -> TemporaryUploadedFile:
    file = TemporaryUploadedFile("photo.jpg", "image/jpeg", photo.stat().st_size, None)
    file.write(photo.read_bytes())
    file.flush()
    return file


FORMS: dict[str, Callable[[Path], object]] = {
    "bytearray": lambda photo: bytearray(photo.read_bytes()),
    "memoryview": lambda photo: memoryview(photo.read_bytes()),
    "path": lambda photo: photo,
    "str": str,
    "bytes-io": lambda photo: io.BytesIO(photo.read_bytes()),
    "upload-in-memory": uploaded,
    "upload-on-disk": on_disk,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_picture_gets_the_same_answer(
    client: dermald.Client, photo: Path, form: str
) -> None:
    expected = client.predict(photo.read_bytes())
    image = FORMS[form](photo)
    assert client.predict(image).labels == expected.labels  # type: ignore[arg-type]
    if isinstance(image, TemporaryUploadedFile):
        image.close()


def test_open_file_is_read_and_left_open(client: dermald.Client, photo: Path) -> None:
    with photo.open("rb") as file:
        assert client.predict(file).labels == client.predict(photo).labels
        assert not file.closed


def test_prediction_is_complete(client: dermald.Client, photo: Path) -> None:
    answer = client.predict(photo)
    probabilities = [label.probability for label in answer.labels]
    assert probabilities == sorted(probabilities, reverse=True)
    assert abs(sum(probabilities) - 1) <= SUM_TOLERANCE
    assert sorted(label.index for label in answer.labels) == list(range(len(answer.labels)))
    assert len(answer.model.digest) == 64
    assert answer.notice
    assert answer.timings.inference_us > 0
    assert (answer.explained, answer.heatmap, answer.overlay) == (None, None, None)


def test_top_k_limits_the_classes(client: dermald.Client, photo: Path) -> None:
    everything = client.predict(photo).labels
    assert client.predict(photo, top_k=2).labels == everything[:2]


def test_values_are_a_heatmap(client: dermald.Client, photo: Path) -> None:
    answer = client.predict(photo, explain="values")
    assert answer.explained == answer.labels[0].index
    assert answer.heatmap is not None
    rows = list(answer.heatmap.rows())
    assert len(rows) == answer.heatmap.height
    assert {len(row) for row in rows} == {answer.heatmap.width}
    assert 0 <= min(answer.heatmap.values) <= max(answer.heatmap.values) <= 1
    assert answer.overlay is None


def test_overlay_is_a_picture(client: dermald.Client, photo: Path) -> None:
    overlay = client.predict(photo, explain="overlay").overlay
    assert overlay is not None
    with Image.open(io.BytesIO(overlay.data)) as picture:
        assert picture.format == "PNG"
        assert picture.size == (overlay.width, overlay.height)


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
def test_overlay_is_drawn_as_asked(client: dermald.Client, photo: Path, format: str) -> None:
    options = dermald.RenderOverlay(format, longest_side=120, colour_map="viridis", alpha=0.5)
    overlay = client.predict(photo, explain=options).overlay
    assert overlay is not None
    assert (overlay.format, overlay.media_type) == (format, f"image/{format}")
    with Image.open(io.BytesIO(overlay.data)) as picture:
        assert picture.format == format.upper()
        assert max(picture.size) == 120


def test_target_is_explained(client: dermald.Client, photo: Path) -> None:
    least = client.predict(photo).labels[-1].index
    assert client.predict(photo, explain="values", target=least).explained == least


def test_titles_come_in_the_language_asked_for(client: dermald.Client, photo: Path) -> None:
    plain, translated = client.predict(photo), client.predict(photo, language="vi")
    assert [label.name for label in plain.labels] == [label.name for label in translated.labels]
    assert [label.title for label in plain.labels] != [label.title for label in translated.labels]
    assert plain.notice != translated.notice


def test_empty_picture_is_named(client: dermald.Client) -> None:
    with pytest.raises(dermald.PictureError) as caught:
        client.predict(b"")
    assert caught.value.code == "picture_empty"


def test_other_file_is_named(client: dermald.Client) -> None:
    with pytest.raises(dermald.PictureError) as caught:
        client.predict(b"This is a text. " * 50)
    assert caught.value.code == "picture_unsupported"


def test_half_a_picture_is_named(client: dermald.Client, photo: Path) -> None:
    data = photo.read_bytes()
    with pytest.raises(dermald.PictureError) as caught:
        client.predict(data[: len(data) // 2])
    assert caught.value.code == "picture_broken"


def test_picture_over_the_frame_limit_is_refused_here(client: dermald.Client) -> None:
    with pytest.raises(dermald.PictureError, match="MiB that the daemon takes") as caught:
        client.predict(bytes(300 * 2**20))
    assert caught.value.code == "picture_too_large"


def test_target_that_the_model_lacks_is_a_request_error(
    client: dermald.Client, photo: Path
) -> None:
    with pytest.raises(dermald.RequestError) as caught:
        client.predict(photo, target=10_000, explain="values")
    assert caught.value.code == "invalid_request"


def test_missing_file_is_an_os_error_and_leaves_the_client_well(
    client: dermald.Client, photo: Path
) -> None:
    with pytest.raises(FileNotFoundError):
        client.predict(photo.with_name("missing.jpg"))
    assert client.predict(photo).labels


def test_text_file_is_a_type_error(client: dermald.Client) -> None:
    with pytest.raises(TypeError, match="text mode"):
        client.predict(io.StringIO("text"))  # type: ignore[arg-type]


def test_daemon_tells_about_itself(client: dermald.Client, photo: Path) -> None:
    client.predict(photo)
    assert client.health().ready
    assert client.status()
    assert "# EOF" in client.metrics()


def test_large_photo_goes_through(client: dermald.Client) -> None:
    # Noise does not compress: a file of several megabytes, far above every socket buffer.
    noise = Image.effect_noise((1800, 1800), 80).convert("RGB")
    data = as_file(noise, "PNG")
    assert len(data) > 3 * 2**20
    assert client.predict(data).labels


def test_deadline_is_kept_by_a_run_that_takes_longer(
    start_daemon: StartDaemon, photo: Path
) -> None:
    daemon = start_daemon("slow")
    with dermald.Client(daemon.socket) as client:
        with pytest.raises(dermald.DeadlineExceeded):
            client.predict(photo, timeout=0.3)
        assert client.health().state in ("ready", "starting")


def test_health_is_answered_while_an_inference_runs(start_daemon: StartDaemon, photo: Path) -> None:
    daemon = start_daemon("slow")
    with dermald.Client(daemon.socket) as client:
        over = threading.Event()

        def predict() -> None:
            # One run takes seconds; it need not end for this.
            with pytest.raises(dermald.DeadlineExceeded):
                client.predict(photo, timeout=1.5)
            over.set()

        thread = threading.Thread(target=predict)
        thread.start()
        answered = 0
        while not over.is_set():
            client.health()
            answered += not over.is_set()
        thread.join()
        assert answered > 10


def test_renewal_is_asked_for_and_told(start_daemon: StartDaemon, photo: Path) -> None:
    daemon = start_daemon("nchw")
    with dermald.Client(daemon.socket) as client:
        client.predict(photo)
        assert 0 < client.renew() < 5
        assert client.predict(photo).labels
        renewals = client.status()["renewals"]
    assert isinstance(renewals, dict)
    assert renewals["counts"]["asked"] == 1


def test_model_without_grad_cam_says_why_there_is_no_overlay(
    start_daemon: StartDaemon, photo: Path
) -> None:
    daemon = start_daemon("no-gradcam")
    with dermald.Client(daemon.socket) as client:
        answer = client.predict(photo, explain="overlay")
        assert answer.labels
        assert answer.overlay is None
        assert answer.explained is None
        assert answer.explanation


def test_daemon_may_restart_between_and_during_calls(
    start_daemon: StartDaemon, photo: Path
) -> None:
    daemon = start_daemon()
    with dermald.Client(daemon.socket) as client:
        expected = client.predict(photo).labels
        wrong: list[object] = []
        answers = 0
        over = threading.Event()

        def ask() -> None:
            nonlocal answers
            while not over.is_set():
                try:
                    labels = client.predict(photo).labels
                except dermald.DermaldError as error:
                    wrong.append(repr(error))
                else:
                    answers += 1
                    if labels != expected:
                        wrong.append(labels)

        def wait_for_answers(count: int) -> None:
            goal = answers + count
            while answers < goal and not wrong:
                threading.Event().wait(0.001)

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            for _ in range(3):
                wait_for_answers(5)
                assert daemon.terminate() == 0
                daemon = start_daemon()
            wait_for_answers(5)
        finally:
            over.set()
            thread.join()
        assert wrong == []
