"""The codec against the golden files: whole, byte by byte, and followed by another frame."""

from __future__ import annotations

import subprocess
import sys

import pytest

import vectors
from dermald._wire.frames import FrameReader
from dermald._wire.values import WireError
from vectors import Vector

ALL = vectors.load()
GOOD = [vector for vector in ALL if vector.message is not None]
BAD = [vector for vector in ALL if vector.code is not None]
# Far below the promise of the vectors that are over the limit, far above all others.
LIMIT = 2**24


def named(chosen: list[Vector]) -> list[object]:
    return [pytest.param(vector, id=vector.name) for vector in chosen]


def read_all(data: bytes, step: int) -> list[bytes]:
    reader = FrameReader(LIMIT)
    messages: list[bytes] = []
    for start in range(0, len(data), step):
        reader.feed(data[start : start + step])
        while (message := reader.next()) is not None:
            messages.append(message)
    assert reader.pending() == 0
    return messages


def test_the_files_are_what_make_py_writes() -> None:
    made = subprocess.run(
        [sys.executable, "-B", str(vectors.FOLDER / "make.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr


def test_every_message_has_a_good_vector() -> None:
    seen = {(vector.direction, vector.message["type"]) for vector in GOOD if vector.message}
    both = ["health", "status", "metrics"]
    asked = {("request", kind) for kind in ["hello", "predict", "renew", *both]}
    told = ["welcome", "prediction", "error", "going_away", "renewed", *both]
    assert seen == asked | {("reply", kind) for kind in told}


@pytest.mark.parametrize("vector", named(GOOD))
@pytest.mark.parametrize("step", [1, 7, 2**20], ids=["byte-by-byte", "by-sevens", "whole"])
def test_good_vector_is_read_however_it_is_cut(vector: Vector, step: int) -> None:
    assert vector.message is not None
    (message,) = read_all(vector.data, step)
    assert vector.decode(message) == vectors.message_from_json(vector.direction, vector.message)


@pytest.mark.parametrize("vector", named(GOOD))
def test_good_vector_is_read_before_another_frame(vector: Vector) -> None:
    other = GOOD[0].data if vector is not GOOD[0] else GOOD[1].data
    first, second = read_all(vector.data + other, 2**20)
    assert first == vector.data[4:]
    assert second == other[4:]


@pytest.mark.parametrize("vector", named(GOOD))
def test_good_vector_is_written_to_the_byte(vector: Vector) -> None:
    assert vector.message is not None
    message = vectors.message_from_json(vector.direction, vector.message)
    assert vectors.encode(message) == vector.data


@pytest.mark.parametrize("vector", named(GOOD))
def test_no_prefix_of_a_good_message_is_a_message(vector: Vector) -> None:
    message = vector.data[4:]
    for length in range(len(message)):
        with pytest.raises(WireError) as caught:
            vector.decode(message[:length])
        assert caught.value.code == "malformed"


@pytest.mark.parametrize("vector", named(BAD))
@pytest.mark.parametrize("step", [1, 2**20], ids=["byte-by-byte", "whole"])
def test_bad_vector_is_refused_with_its_code(vector: Vector, step: int) -> None:
    def read() -> None:
        for message in read_all(vector.data, step):
            vector.decode(message)

    with pytest.raises(WireError) as caught:
        read()
    assert caught.value.code == vector.code


def test_length_over_the_limit_is_refused_by_its_four_bytes() -> None:
    reader = FrameReader(100)
    reader.feed((101).to_bytes(4, "big"))
    with pytest.raises(WireError, match="101 bytes are more than 100"):
        reader.next()


def test_length_at_the_limit_is_read() -> None:
    reader = FrameReader(100)
    reader.feed((100).to_bytes(4, "big") + bytes(100))
    assert reader.next() == bytes(100)


def test_large_picture_is_not_copied_into_the_frame() -> None:
    from dermald._wire.requests import Predict, encode_request

    picture = memoryview(bytes(250_000))
    parts = encode_request(Predict(id=1, picture=picture))
    assert any(part is picture for part in parts)
    assert int.from_bytes(parts[0][:4], "big") == sum(map(len, parts)) - 4
