"""What becomes of a background prediction's row, whatever daemon, storage and queue do."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.files.storage import storages
from django.core.management import call_command
from django.db import transaction
from django.test import Client as Browser
from django.test import override_settings
from django.urls import path
from django.utils import timezone, translation

import dermald
from dermald.django import stored as stored_predictions
from dermald.django.background import predict_later, requeue, sending, work
from dermald.django.background.models import State, StoredPrediction
from dermald.django.background.views import prediction_state
from dermald.django.background.work import TryAgain, perform
from dermald.testing import Answer, FakeDaemon, Hang, Refusal

urlpatterns = [path("predictions/<uuid:id>/", prediction_state)]
ANSWER = Answer({"Acne": 0.9, "Healthy": 0.1})


class Queue:
    """A queue that only remembers; `down` makes it refuse."""

    def __init__(self) -> None:
        self.sent: list[uuid.UUID] = []
        self.down = False

    def enqueue(self, prediction: StoredPrediction, daemon: object) -> None:
        if self.down:
            raise ConnectionError("no broker")
        self.sent.append(prediction.id)


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Queue:
    made = Queue()
    monkeypatch.setattr(sending, "_queue", lambda _: made)
    return made


@pytest.fixture
def fake(database: None, queue: Queue, tmp_path: Path) -> Iterator[FakeDaemon]:
    place = {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": tmp_path},
    }
    entry = {"BACKGROUND": "celery", "RETRIES": 0, "TASK_ATTEMPTS": 3, "TASK_TIMEOUT": 5}
    with FakeDaemon() as daemon, daemon.override_settings(**entry):
        with override_settings(STORAGES={"default": place}, ROOT_URLCONF=__name__):
            yield daemon
    StoredPrediction.objects.all().delete()


def stored(data: bytes = b"a picture", **options: Any) -> StoredPrediction:  # noqa: ANN401  # as predict_later
    with storages["default"].open(name := f"{uuid.uuid4()}.jpg", "wb") as file:
        file.write(data)
    return predict_later(name, **options)


def most_probable(prediction: StoredPrediction) -> str:
    assert prediction.result is not None
    return str(prediction.result["labels"][0]["name"])


def again(prediction: StoredPrediction) -> StoredPrediction:
    return StoredPrediction.objects.get(pk=prediction.pk)


def test_answer_is_stored_with_its_overlay(fake: FakeDaemon) -> None:
    fake.then(ANSWER)
    prediction = stored(b"these bytes", explain="overlay", language="vi", priority="batch", top_k=2)
    assert perform(prediction.id) == {"id": str(prediction.id), "state": "done"}
    row = again(prediction)
    assert most_probable(row) == "Acne"
    assert row.overlay is not None
    assert row.overlay.media_type == "image/png"
    assert row.finished_at is not None
    (asked,) = fake.asked
    assert asked.picture == b"these bytes"
    assert asked.priority == "batch"
    assert (asked.top_k, asked.language) == (2, "vi")


def test_task_delivered_twice_asks_and_stores_once(fake: FakeDaemon) -> None:
    prediction = stored()
    fake.then(ANSWER)
    perform(prediction.id)
    first = again(prediction)
    assert perform(prediction.id)["state"] == "done"
    assert len(fake.asked) == 1
    assert again(prediction).finished_at == first.finished_at


def test_of_two_workers_at_the_same_row_the_first_stores(
    fake: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    prediction = stored()
    fake.then(Answer({"Acne": 0.9}), Answer({"Healthy": 0.9}))
    once = stored_predictions.predict_stored
    inner: list[dict[str, str]] = []

    def meanwhile(*arguments: Any, **options: Any) -> dermald.Prediction:  # noqa: ANN401
        monkeypatch.setattr(work, "predict_stored", once)
        answer = once(*arguments, **options)
        # Another worker is given the same task while this one is about to store.
        inner.append(perform(prediction.id))
        return answer

    monkeypatch.setattr(work, "predict_stored", meanwhile)
    perform(prediction.id)
    assert inner[0]["state"] == "done"
    assert most_probable(again(prediction)) == "Healthy"


def test_same_picture_and_question_is_the_same_row(fake: FakeDaemon, queue: Queue) -> None:
    prediction = stored()
    same = predict_later(prediction.name)
    other = predict_later(prediction.name, target=1)
    assert same.id == prediction.id
    assert other.id != prediction.id
    assert queue.sent == [prediction.id, other.id]
    assert predict_later("other.jpg", key="mine").id == predict_later("third.jpg", key="mine").id


def test_task_is_sent_when_the_row_is_committed(fake: FakeDaemon, queue: Queue) -> None:
    with transaction.atomic():
        prediction = stored()
        assert queue.sent == []
    assert queue.sent == [prediction.id]
    with transaction.atomic():
        stored()
        transaction.set_rollback(True)
    assert queue.sent == [prediction.id]
    assert StoredPrediction.objects.count() == 1


def test_busy_is_tried_again_and_not_before_the_daemon_said(fake: FakeDaemon) -> None:
    prediction = stored()
    fake.then(Refusal("busy", retry_after=7), ANSWER)
    with pytest.raises(TryAgain) as told:
        perform(prediction.id)
    assert told.value.pause >= 7
    assert again(prediction).state == State.WAITING
    assert perform(prediction.id)["state"] == "done"
    assert again(prediction).attempts == 2


@pytest.mark.parametrize("code", ["busy", "internal", "model_invalid", "deadline_exceeded"])
def test_what_may_pass_is_tried_until_the_attempts_are_over(fake: FakeDaemon, code: str) -> None:
    prediction = stored()
    fake.then(*[Refusal(code)] * 3)
    for _ in range(2):
        with pytest.raises(TryAgain):
            perform(prediction.id)
    assert perform(prediction.id)["state"] == "failed"
    row = again(prediction)
    assert (row.code, row.attempts) == (code, 3)


def test_poison_picture_is_asked_about_once(fake: FakeDaemon) -> None:
    for code in ("picture_broken", "picture_failed"):
        prediction = stored()
        fake.then(Refusal(code))
        assert perform(prediction.id)["state"] == "failed"
        row = again(prediction)
        assert (row.code, row.problem, row.attempts) == (code, "picture", 1)
    assert len(fake.asked) == 2


def test_picture_that_kills_its_worker_each_time_is_given_up(fake: FakeDaemon) -> None:
    prediction = stored()
    # Three workers began and never came back.
    StoredPrediction.objects.filter(pk=prediction.pk).update(attempts=3, state=State.RUNNING)
    assert perform(prediction.id)["state"] == "failed"
    assert again(prediction).code == "worker_lost"
    assert fake.asked == []


def test_deleted_picture_is_told_and_not_waited_for(fake: FakeDaemon) -> None:
    prediction = stored()
    storages["default"].delete(prediction.name)
    assert perform(prediction.id)["state"] == "failed"
    row = again(prediction)
    assert row.code == "picture_missing"
    with translation.override("vi"):
        assert "tải" in row.sentence


def test_deleted_row_is_no_error(fake: FakeDaemon) -> None:
    prediction = stored()
    StoredPrediction.objects.all().delete()
    assert perform(prediction.id)["state"] == "gone"
    assert fake.asked == []


def test_storage_that_fails_is_tried_again(
    fake: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    prediction = stored()

    def broken(*_: object) -> None:
        raise OSError("the storage is away")

    monkeypatch.setattr(storages["default"], "open", broken)
    with pytest.raises(TryAgain):
        perform(prediction.id)
    assert again(prediction).state == State.WAITING


def test_daemon_that_hangs_is_left_in_time(fake: FakeDaemon) -> None:
    prediction = stored()
    fake.then(Hang())
    with fake.override_settings(BACKGROUND="celery", TASK_TIMEOUT=0.5):
        with pytest.raises(TryAgain):
            perform(prediction.id)


def test_queue_that_is_away_loses_nothing(
    fake: FakeDaemon, queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    queue.down = True
    first, second = stored(), stored()
    assert f"prediction {first.id} was not sent (ConnectionError: no broker)" in caplog.text
    assert first.name not in caplog.text
    assert requeue().refused
    queue.down = False
    done = requeue()
    assert (done.sent, done.refused) == (2, False)
    assert queue.sent == [first.id, second.id]
    assert requeue().sent == 0


def test_only_what_is_overdue_is_sent_again(fake: FakeDaemon, queue: Queue) -> None:
    waiting, running, done = stored(), stored(), stored()
    fake.then(ANSWER)
    perform(done.id)
    StoredPrediction.objects.filter(pk=running.pk).update(state=State.RUNNING)
    assert requeue().sent == 0
    StoredPrediction.objects.update(due_at=timezone.now() - timedelta(seconds=1))
    assert requeue().sent == 2
    assert queue.sent[3:] == [waiting.id, running.id]
    assert again(running).state == State.WAITING
    assert requeue(everything=True).sent == 2


def test_failed_are_sent_again_but_for_their_pictures_sake(fake: FakeDaemon, queue: Queue) -> None:
    broken, unlucky = stored(), stored()
    fake.then(Refusal("picture_broken"), *[Refusal("internal")] * 3, ANSWER)
    perform(broken.id)
    for _ in range(2):
        with pytest.raises(TryAgain):
            perform(unlucky.id)
    perform(unlucky.id)
    assert requeue(failed=True).sent == 1
    assert perform(unlucky.id)["state"] == "done"
    assert (again(unlucky).attempts, again(broken).state) == (1, "failed")


def test_page_can_ask_how_far_it_is(fake: FakeDaemon) -> None:
    first, second = stored(), stored()
    browser = Browser()
    told = browser.get(f"/predictions/{second.id}/").json()
    assert (told["state"], told["ahead"], told["result"]) == ("waiting", 1, None)
    assert told["sentence"] == "Your photo waits for its turn."
    fake.then(ANSWER, Refusal("picture_broken"))
    perform(first.id)
    perform(second.id)
    told = browser.get(f"/predictions/{first.id}/").json()
    assert told["result"]["labels"][0]["title"] == "Acne"
    told = browser.get(f"/predictions/{second.id}/", headers={"Accept-Language": "vi"}).json()
    assert (told["state"], told["code"]) == ("failed", "picture_broken")
    assert told["sentence"].startswith("Không đọc được")
    assert browser.get(f"/predictions/{uuid.uuid4()}/").status_code == 404


def test_what_cannot_work_is_told_at_once(fake: FakeDaemon) -> None:
    with fake.override_settings(), pytest.raises(ImproperlyConfigured, match="no BACKGROUND"):
        predict_later("x.jpg")


def test_tables_are_those_of_the_models(database: None) -> None:
    call_command("makemigrations", "dermald_background", "--check", "--dry-run", verbosity=0)
