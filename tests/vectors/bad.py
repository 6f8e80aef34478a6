"""Frames that every implementation refuses, with the code that the daemon answers.

A receiver reports `malformed`, `frame_too_large` or `unknown_message`; a client, which answers
nothing, tells its caller the same.
"""

from good_replies import DIGEST, MODEL
from good_requests import PICTURE, predict
from pack import (
    NO_EXTENSIONS,
    NONE,
    blob,
    boolean,
    choice,
    extension,
    f32,
    frame,
    several,
    some,
    string,
    u8,
    u16,
    u32,
    u64,
)

Bad = tuple[str, str, str, str, bytes]

HELLO_HEAD = u32(0) + u16(1) + u16(1)
PREDICT_HEAD = u32(1) + u64(1)
TIMINGS = u32(0) * 5
NOT_UTF8 = blob(b"\xc3\x28")


def malformed(direction: str, name: str, why: str, message: bytes) -> Bad:
    return f"bad-{direction}-{name}", direction, "malformed", why, frame(message)


def request(name: str, why: str, message: bytes) -> Bad:
    return malformed("request", name, why, message)


def reply(name: str, why: str, message: bytes) -> Bad:
    return malformed("reply", name, why, message)


def predict_after_explain(*fields: bytes) -> bytes:
    """A predict up to and including `explain`, then the given fields."""
    head = PREDICT_HEAD + blob(PICTURE) + u32(0) + NONE + choice(0)
    return head + b"".join(fields)


def prediction(*fields: bytes) -> bytes:
    """A prediction up to and including the model, then the given fields."""
    return u32(1) + u64(1) + MODEL + b"".join(fields)


LENGTHS: list[Bad] = [
    (
        "bad-request-frame-over-the-limit",
        "request",
        "frame_too_large",
        "the length is above every limit; nothing follows",
        b"\xff\xff\xff\xff",
    ),
    (
        "bad-reply-frame-over-the-limit",
        "reply",
        "frame_too_large",
        "the length is above every limit; nothing follows",
        b"\xff\xff\xff\xff",
    ),
    request("empty-frame", "a frame without a message", b""),
    reply("empty-frame", "a frame without a message", b""),
]

TRUNCATED: list[Bad] = [
    request("truncated-variant", "ends inside the variant number", b"\x00\x00\x00"),
    request("truncated-u16", "ends inside `newest`", u32(0) + u16(1) + u8(1)),
    request("truncated-string-length", "ends inside the length", HELLO_HEAD + b"\x04\x00\x00"),
    request("truncated-string", "the string ends early", HELLO_HEAD + u64(4) + b"dem"),
    request("truncated-before-extensions", "ends behind `client`", HELLO_HEAD + string("demo")),
    request(
        "truncated-extension-key",
        "the only extension has no key",
        HELLO_HEAD + string("demo") + u64(1) + u64(0)[:7],
    ),
    request(
        "truncated-extension-value",
        "the extension's value ends early",
        HELLO_HEAD + string("demo") + u64(1) + string("k") + u64(2) + b"v",
    ),
    request("truncated-u64", "ends inside `id`", u32(1) + u64(1)[:5]),
    request("truncated-bytes", "the picture ends early", PREDICT_HEAD + u64(16) + PICTURE),
    request("truncated-u32", "ends inside `top_k`", PREDICT_HEAD + blob(PICTURE) + b"\x00\x00"),
    request("truncated-option-tag", "ends before `target`", PREDICT_HEAD + blob(PICTURE) + u32(0)),
    request(
        "truncated-option-value",
        "ends inside the value of `target`",
        PREDICT_HEAD + blob(PICTURE) + u32(0) + u8(1) + b"\x00",
    ),
    request(
        "truncated-inner-choice",
        "ends inside the variant number of `explain`",
        PREDICT_HEAD + blob(PICTURE) + u32(0) + NONE + b"\x02",
    ),
    request(
        "truncated-f32",
        "ends inside `alpha`",
        PREDICT_HEAD
        + blob(PICTURE)
        + u32(0)
        + NONE
        + choice(2, choice(0), u32(0), choice(0), f32(0.5)[:3]),
    ),
    request("truncated-health", "ends behind `id`", u32(2) + u64(7)),
    reply("truncated-bool", "ends before `retryable`", choice(2, NONE, string("x"), choice(0))),
    reply(
        "truncated-list",
        "the second label is missing",
        prediction(u64(2), u32(0) + string("a") + string("a") + f32(0.5)),
    ),
    reply(
        "truncated-heatmap",
        "the last of six values is missing",
        prediction(several(), NONE, some(u32(2) + u32(3) + u64(6) + f32(0.5) * 5)),
    ),
    reply("truncated-model", "ends inside the digest", u32(1) + u64(1) + MODEL[: -len(DIGEST)]),
]

TRAILING: list[Bad] = [
    request("trailing-byte", "one byte behind the message", predict(choice(0)) + b"\x00"),
    request(
        "trailing-message",
        "two messages in one frame",
        (choice(2, u64(7), NO_EXTENSIONS)) * 2,
    ),
    reply(
        "trailing-bytes",
        "four bytes behind the message",
        choice(3, u64(7), string("ready"), string(""), NO_EXTENSIONS) + b"more",
    ),
]

VALUES: list[Bad] = [
    request("utf8-string", "`client` is not UTF-8", HELLO_HEAD + NOT_UTF8 + NO_EXTENSIONS),
    request(
        "utf8-surrogate",
        "`client` holds a surrogate half, which is not UTF-8",
        HELLO_HEAD + blob(b"\xed\xa0\x80") + NO_EXTENSIONS,
    ),
    request(
        "utf8-extension-key",
        "the key of an extension is not UTF-8",
        predict(choice(0), extensions=several(NOT_UTF8 + blob(b""))),
    ),
    request(
        "utf8-option",
        "`language` is not UTF-8",
        predict_after_explain(u32(0), choice(0), some(NOT_UTF8), NONE, NO_EXTENSIONS),
    ),
    request(
        "option-tag-2",
        "the tag of `target` is neither 0 nor 1",
        PREDICT_HEAD + blob(PICTURE) + u32(0) + u8(2) + u32(0),
    ),
    request("explain-3", "`explain` has no variant 3", predict(choice(3))),
    request(
        "format-3",
        "the format has no variant 3",
        predict(choice(2, choice(3), u32(0), choice(0), f32(0.5))),
    ),
    request(
        "colour-map-5",
        "the colour map has no variant 5",
        predict(choice(2, choice(0), u32(0), choice(5), f32(0.5))),
    ),
    request(
        "priority-2",
        "the priority has no variant 2",
        predict_after_explain(u32(0), choice(2), NONE, NONE, NO_EXTENSIONS),
    ),
    reply(
        "bool-2",
        "`retryable` is neither 0 nor 1",
        choice(2, NONE, string("busy"), choice(1), u8(2), NONE, string(""), NO_EXTENSIONS),
    ),
    reply(
        "fault-3",
        "the fault has no variant 3",
        choice(2, NONE, string("x"), choice(3), boolean(True), NONE, string(""), NO_EXTENSIONS),
    ),
    reply(
        "option-tag-255",
        "the tag of `explained` is neither 0 nor 1",
        prediction(several(), u8(255), NONE, NONE, TIMINGS, NO_EXTENSIONS),
    ),
    reply(
        "utf8-status",
        "the JSON is not UTF-8",
        choice(4, u64(8), NOT_UTF8, NO_EXTENSIONS),
    ),
]

COUNTS: list[Bad] = [
    request("string-of-2-63", "a string of 2^63 bytes", HELLO_HEAD + u64(2**63) + b"demo"),
    request("string-of-2-64", "a string of 2^64 - 1 bytes", HELLO_HEAD + u64(2**64 - 1)),
    request("bytes-of-2-63", "a picture of 2^63 bytes", PREDICT_HEAD + u64(2**63) + PICTURE),
    request(
        "extensions-of-2-60",
        "2^60 extensions",
        HELLO_HEAD + string("demo") + u64(2**60) + extension("k", b"v"),
    ),
    request(
        "65-extensions",
        "one extension more than allowed",
        predict(choice(0), extensions=several(*(extension(f"k{n}", b"") for n in range(65)))),
    ),
    reply("labels-of-2-60", "2^60 labels", prediction(u64(2**60), NONE, NONE, NONE, TIMINGS)),
    reply(
        "heatmap-of-2-62",
        "2^62 heatmap values, 2^64 bytes",
        prediction(several(), NONE, some(u32(1) + u32(1) + u64(2**62) + f32(0.5))),
    ),
]

UNKNOWN: list[Bad] = [
    (
        f"bad-{direction}-unknown-{name}",
        direction,
        "unknown_message",
        f"there is no {direction} {number}",
        frame(choice(number, u64(9), NO_EXTENSIONS)),
    )
    for direction, name, number in [
        ("request", "next", 6),
        ("request", "largest", 2**32 - 1),
        ("reply", "next", 8),
        ("reply", "largest", 2**32 - 1),
    ]
]

VECTORS: list[Bad] = LENGTHS + TRUNCATED + TRAILING + VALUES + COUNTS + UNKNOWN
