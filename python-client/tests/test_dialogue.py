"""What the client makes of a daemon that refuses, leaves, stalls or talks nonsense.

Over real sockets, against a scripted daemon; the real one behaves too well for this.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import dermald
from dermald._wire import replies
from fake import FRAME_BYTES, Peer, Step, error, fake_daemon, prediction, serve_predictions


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "fake.sock"


def label_of(answer: dermald.Prediction) -> str:
    return answer.labels[0].name


def test_connection_is_used_again(path: Path) -> None:
    with fake_daemon(path, serve_predictions) as daemon:
        with dermald.Client(path) as client:
            for name in ("a", "b", "c"):
                assert label_of(client.predict(name.encode())) == name
        daemon.join()
        assert daemon.served == 1


def test_notice_and_explanation_are_read(path: Path) -> None:
    def step(peer: Peer) -> None:
        peer.welcome()
        peer.send(prediction(peer.read_predict().id, notice="Không phải chẩn đoán."))

    with fake_daemon(path, step), dermald.Client(path) as client:
        answer = client.predict(b"x")
        assert answer.notice == "Không phải chẩn đoán."
        assert answer.explanation is None


@pytest.mark.parametrize(
    ("code", "fault", "kind"),
    [
        ("picture_broken", "caller", dermald.PictureError),
        ("invalid_request", "caller", dermald.RequestError),
        ("not_allowed", "caller", dermald.RequestError),
        ("deadline_exceeded", "daemon", dermald.DeadlineExceeded),
        ("inference_failed", "daemon", dermald.DaemonError),
        ("picture_failed", "daemon", dermald.DaemonError),
        ("model_invalid", "operator", dermald.OperatorError),
        ("meteor_strike", "daemon", dermald.DaemonError),
        ("meteor_strike", "operator", dermald.OperatorError),
        ("meteor_strike", "caller", dermald.RequestError),
    ],
)
def test_code_becomes_exception(
    path: Path, code: str, fault: str, kind: type[dermald.DermaldError]
) -> None:
    def step(peer: Peer) -> None:
        peer.welcome()
        peer.send(error(peer.read_predict().id, code, fault))

    with fake_daemon(path, step), dermald.Client(path) as client:
        with pytest.raises(dermald.DermaldError) as caught:
            client.predict(b"x")
        assert type(caught.value) is kind
        assert (caught.value.code, caught.value.fault) == (code, fault)
        assert caught.value.message == f"A sentence about {code}."


def test_error_with_an_id_keeps_the_connection(path: Path) -> None:
    def step(peer: Peer) -> None:
        peer.welcome()
        peer.send(error(peer.read_predict().id, "picture_broken", "caller"))
        peer.send(prediction(peer.read_predict().id, "second"))

    with fake_daemon(path, step), dermald.Client(path) as client:
        with pytest.raises(dermald.PictureError):
            client.predict(b"x")
        assert label_of(client.predict(b"y")) == "second"


@pytest.mark.parametrize("code", ["not_allowed", "unsupported_version"])
def test_error_in_place_of_the_welcome_is_reported(path: Path, code: str) -> None:
    def step(peer: Peer) -> None:
        peer.send(error(None, code, "caller"))

    with fake_daemon(path, step), dermald.Client(path) as client:
        with pytest.raises(dermald.RequestError) as caught:
            client.health()
        assert caught.value.code == code


def test_busy_is_tried_again_after_the_time_it_names(path: Path) -> None:
    def step(peer: Peer) -> None:
        peer.welcome()
        peer.send(error(peer.read_predict().id, "busy", retryable=True, retry_after_ms=20))
        peer.send(prediction(peer.read_predict().id, "later"))

    with fake_daemon(path, step), dermald.Client(path) as client:
        assert label_of(client.predict(b"x")) == "later"


def test_busy_is_reported_when_the_deadline_forbids_to_wait(path: Path) -> None:
    def step(peer: Peer) -> None:
        peer.welcome()
        peer.send(error(peer.read_predict().id, "busy", retryable=True, retry_after_ms=60_000))

    with fake_daemon(path, step), dermald.Client(path, timeout=5) as client:
        with pytest.raises(dermald.Busy) as caught:
            client.predict(b"x")
        assert caught.value.retry_after == 60


def test_retries_end(path: Path) -> None:
    def step(peer: Peer) -> None:
        peer.welcome()
        for _ in range(3):
            peer.send(error(peer.read_predict().id, "busy", retryable=True))

    with (
        fake_daemon(path, step),
        dermald.Client(path, retries=2) as client,
        pytest.raises(dermald.Busy),
    ):
        client.predict(b"x")


def lose_the_request(peer: Peer) -> None:
    peer.welcome()
    peer.read_predict()


def test_lost_connection_is_tried_again(path: Path) -> None:
    script: list[Step] = [lose_the_request, lose_the_request, serve_predictions]
    with fake_daemon(path, *script), dermald.Client(path) as client:
        assert label_of(client.predict(b"kept")) == "kept"


def test_connection_that_stays_lost_is_reported(path: Path) -> None:
    script: list[Step] = [lose_the_request, lose_the_request, lose_the_request]
    with fake_daemon(path, *script), dermald.Client(path, retries=2) as client:
        with pytest.raises(dermald.Unreachable, match="closed the connection before its reply"):
            client.predict(b"x")


def test_idle_connection_that_the_daemon_closed_is_not_used(path: Path) -> None:
    def one_and_leave(peer: Peer) -> None:
        peer.welcome()
        peer.send(prediction(peer.read_predict().id, "first"))

    with (
        fake_daemon(path, one_and_leave, serve_predictions) as daemon,
        dermald.Client(path, retries=0) as client,
    ):
        assert label_of(client.predict(b"x")) == "first"
        while daemon.served == 0:
            pass
        assert label_of(client.predict(b"second")) == "second"


def test_going_away_before_the_answer_still_brings_the_answer(path: Path) -> None:
    def step(peer: Peer) -> None:
        peer.welcome()
        request = peer.read_predict()
        peer.send(replies.GoingAway("stopping", "SIGTERM was received."))
        peer.send(prediction(request.id, "finished"))

    with (
        fake_daemon(path, step, serve_predictions),
        dermald.Client(path, retries=0) as client,
    ):
        assert label_of(client.predict(b"x")) == "finished"
        assert label_of(client.predict(b"next daemon")) == "next daemon"


def test_going_away_in_place_of_the_answer_is_tried_again(path: Path) -> None:
    def step(peer: Peer) -> None:
        peer.welcome()
        peer.read_predict()
        peer.send(replies.GoingAway("stopping", "SIGTERM was received."))

    with fake_daemon(path, step), dermald.Client(path, retries=0) as client:
        with pytest.raises(dermald.GoingAway, match="SIGTERM"):
            client.predict(b"x")
    path.unlink()
    with fake_daemon(path, step, serve_predictions), dermald.Client(path) as client:
        assert label_of(client.predict(b"again")) == "again"


def test_late_answer_is_never_given_to_the_next_request(path: Path) -> None:
    def late(peer: Peer) -> None:
        peer.welcome()
        request = peer.read_predict()
        peer.wait_until_left()
        with pytest.raises(OSError, match="Broken pipe"):
            peer.send(prediction(request.id, "late"))

    with fake_daemon(path, late, serve_predictions), dermald.Client(path) as client:
        with pytest.raises(dermald.DeadlineExceeded, match=r"within 0\.2 seconds") as caught:
            client.predict(b"x", timeout=0.2)
        assert isinstance(caught.value.__cause__, OSError)
        assert label_of(client.predict(b"mine")) == "mine"


def test_deadline_covers_a_send_that_nobody_reads(path: Path) -> None:
    def deaf(peer: Peer) -> None:
        peer.welcome(replies.Limits(2**26, 16, 2**26, 8, 60_000))
        while not left:
            pass

    left: list[bool] = []
    with fake_daemon(path, deaf), dermald.Client(path) as client:
        with pytest.raises(dermald.DeadlineExceeded):
            client.predict(bytes(2**24), timeout=0.2)
        left.append(True)


def test_deadline_covers_a_missing_welcome(path: Path) -> None:
    with fake_daemon(path, Peer.wait_until_left), dermald.Client(path) as client:
        with pytest.raises(dermald.DeadlineExceeded):
            client.health(timeout=0.2)


def test_remaining_time_is_sent_along(path: Path) -> None:
    seen: list[int] = []

    def step(peer: Peer) -> None:
        peer.welcome()
        request = peer.read_predict()
        seen.append(request.deadline_ms)
        peer.send(prediction(request.id))

    with fake_daemon(path, step), dermald.Client(path, timeout=9) as client:
        client.predict(b"x")
    assert 0 < seen[0] <= 9000


def test_error_in_the_middle_of_our_sending_is_read(path: Path) -> None:
    def step(peer: Peer) -> None:
        peer.welcome(replies.Limits(2**26, 16, 2**26, 8, 60_000))
        peer.socket.recv(100)
        peer.send(error(None, "stalled", "caller"))

    with fake_daemon(path, step), dermald.Client(path, retries=0) as client:
        with pytest.raises(dermald.RequestError) as caught:
            client.predict(bytes(2**24))
        assert caught.value.code == "stalled"


def test_picture_over_the_limit_is_not_sent(path: Path) -> None:
    with fake_daemon(path, serve_predictions), dermald.Client(path) as client:
        for size in (FRAME_BYTES + 1, FRAME_BYTES, FRAME_BYTES - 46):
            with pytest.raises(dermald.PictureError, match=r"larger than the 1\.0 MiB") as caught:
                client.predict(bytes(size))
            assert caught.value.code == "picture_too_large"
        assert label_of(client.predict(b"small")) == "small"


@pytest.mark.parametrize(
    ("nonsense", "said"),
    [
        (b"\xff\xff\xff\xff", "are more than"),
        (b"\x00\x00\x00\x00", "a frame is empty"),
        (b"\x00\x00\x00\x04\x63\x00\x00\x00", "there is no reply 99"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "are more than"),
    ],
)
def test_nonsense_is_a_protocol_error(path: Path, nonsense: bytes, said: str) -> None:
    def step(peer: Peer) -> None:
        peer.socket.sendall(nonsense)
        peer.wait_until_left()

    with fake_daemon(path, step), dermald.Client(path) as client:
        with pytest.raises(dermald.ProtocolError, match=said) as caught:
            client.health()
        assert caught.value.__cause__ is not None


def test_answer_to_another_request_is_a_protocol_error(path: Path) -> None:
    def step(peer: Peer) -> None:
        peer.welcome()
        peer.send(prediction(peer.read_predict().id + 1))
        peer.wait_until_left()

    with fake_daemon(path, step), dermald.Client(path) as client:
        with pytest.raises(dermald.ProtocolError, match="answered request 2 where 1"):
            client.predict(b"x")


def test_other_version_is_a_protocol_error(path: Path) -> None:
    def step(peer: Peer) -> None:
        peer.read()
        peer.send(replies.Welcome(2, "dermald/9", replies.Limits(1, 1, 1, 1, 1)))
        peer.wait_until_left()

    with fake_daemon(path, step), dermald.Client(path) as client:
        with pytest.raises(dermald.ProtocolError, match="protocol version 2"):
            client.health()


def test_nobody_listening_is_unreachable(path: Path) -> None:
    with pytest.raises(dermald.Unreachable, match="dermald serve") as caught:
        dermald.Client(path, retries=0).health()
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_path_that_is_too_long_is_unreachable_at_once(tmp_path: Path) -> None:
    with pytest.raises(dermald.Unreachable, match="too long") as caught:
        dermald.Client(tmp_path / ("x" * 120)).health()
    assert not caught.value.retryable


def test_closed_client_says_so(path: Path) -> None:
    client = dermald.Client(path)
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.health()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"top_k": -1}, "top_k is -1"),
        ({"target": 2**32}, "target is"),
        ({"explain": "heat"}, "explain is 'heat'"),
        ({"priority": "urgent"}, "priority is 'urgent'"),
        ({"timeout": 0}, "timeout is 0"),
        ({"timeout": float("nan")}, "timeout is nan"),
    ],
)
def test_argument_out_of_range_is_a_value_error(
    path: Path, arguments: dict[str, object], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        dermald.Client(path).predict(b"x", **arguments)  # type: ignore[arg-type]
