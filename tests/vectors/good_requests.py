"""Requests that every implementation reads and writes to the byte.

Each vector states its message twice, as JSON and as bytes, both by hand.
"""

from pack import (
    NO_EXTENSIONS,
    NONE,
    blob,
    choice,
    extension,
    f32,
    frame,
    several,
    some,
    string,
    u16,
    u32,
    u64,
)

PICTURE = bytes.fromhex("ffd8ffe000104a464946000102ffd9")
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

PREDICT_MINIMAL = {
    "type": "predict",
    "id": 1,
    "picture": PICTURE.hex(),
    "top_k": 0,
    "target": None,
    "explain": {"kind": "none"},
    "deadline_ms": 0,
    "priority": "interactive",
    "language": None,
    "traceparent": None,
    "extensions": [],
}


def predict(explain: bytes, *, extensions: bytes = NO_EXTENSIONS) -> bytes:
    """PREDICT_MINIMAL as bytes, with another `explain` or other extensions."""
    return choice(
        1,
        u64(1),
        blob(PICTURE),
        u32(0),
        NONE,
        explain,
        u32(0),
        choice(0),
        NONE,
        NONE,
        extensions,
    )


def overlay_predict(
    name: str, format: tuple[int, str], side: int, colour_map: tuple[int, str], alpha: float
) -> tuple[str, str, dict[str, object], bytes]:
    """One predict for each format and colour map, so that every inner choice is covered."""
    explain = {
        "kind": "overlay",
        "format": format[1],
        "longest_side": side,
        "colour_map": colour_map[1],
        "alpha": alpha,
    }
    wire = choice(2, choice(format[0]), u32(side), choice(colour_map[0]), f32(alpha))
    return name, "request", {**PREDICT_MINIMAL, "explain": explain}, frame(predict(wire))


VECTORS: list[tuple[str, str, dict[str, object], bytes]] = [
    (
        "hello",
        "request",
        {"type": "hello", "oldest": 1, "newest": 1, "client": "demo", "extensions": []},
        # The example of the page, digit by digit.
        bytes.fromhex("0000001c 00000000 0100 0100 0400000000000000 64656d6f 0000000000000000"),
    ),
    (
        "hello-newer-client",
        "request",
        {
            "type": "hello",
            "oldest": 1,
            "newest": 65535,
            "client": "khách hàng/2.0 – ✓",
            "extensions": [["locale", b"vi".hex()], ["", ""]],
        },
        frame(
            choice(
                0,
                u16(1),
                u16(65535),
                string("khách hàng/2.0 – ✓"),
                several(extension("locale", b"vi"), extension("", b"")),
            )
        ),
    ),
    (
        "hello-empty-name",
        "request",
        {"type": "hello", "oldest": 0, "newest": 0, "client": "", "extensions": []},
        frame(choice(0, u16(0), u16(0), string(""), NO_EXTENSIONS)),
    ),
    ("predict-minimal", "request", PREDICT_MINIMAL, frame(predict(choice(0)))),
    (
        "predict-everything",
        "request",
        {
            "type": "predict",
            "id": 2**64 - 1,
            "picture": PICTURE.hex(),
            "top_k": 7,
            "target": 4294967295,
            "explain": {
                "kind": "overlay",
                "format": "webp",
                "longest_side": 1024,
                "colour_map": "magma",
                "alpha": 0.75,
            },
            "deadline_ms": 30000,
            "priority": "batch",
            "language": "vi",
            "traceparent": TRACEPARENT,
            "extensions": [["site", "00ff"]],
        },
        frame(
            choice(
                1,
                u64(2**64 - 1),
                blob(PICTURE),
                u32(7),
                some(u32(4294967295)),
                choice(2, choice(2), u32(1024), choice(4), f32(0.75)),
                u32(30000),
                choice(1),
                some(string("vi")),
                some(string(TRACEPARENT)),
                several(extension("site", b"\x00\xff")),
            )
        ),
    ),
    (
        "predict-values",
        "request",
        {**PREDICT_MINIMAL, "explain": {"kind": "values"}},
        frame(predict(choice(1))),
    ),
    overlay_predict("predict-overlay-png-jet", (0, "png"), 0, (0, "jet"), 0.5),
    overlay_predict("predict-overlay-jpeg-turbo", (1, "jpeg"), 300, (1, "turbo"), 0.0),
    overlay_predict("predict-overlay-webp-viridis", (2, "webp"), 640, (2, "viridis"), 1.0),
    overlay_predict("predict-overlay-png-inferno", (0, "png"), 4096, (3, "inferno"), 0.25),
    (
        "predict-empty-picture",
        "request",
        {**PREDICT_MINIMAL, "picture": "", "language": "", "target": 0},
        frame(
            choice(
                1,
                u64(1),
                blob(b""),
                u32(0),
                some(u32(0)),
                choice(0),
                u32(0),
                choice(0),
                some(string("")),
                NONE,
                NO_EXTENSIONS,
            )
        ),
    ),
    (
        "predict-unknown-extensions",
        "request",
        {**PREDICT_MINIMAL, "extensions": [["from-the-future", "2a"], ["màu", "d091"]]},
        frame(
            predict(
                choice(0),
                extensions=several(
                    extension("from-the-future", b"\x2a"), extension("màu", b"\xd0\x91")
                ),
            )
        ),
    ),
    (
        "predict-64-extensions",
        "request",
        {**PREDICT_MINIMAL, "extensions": [[f"k{n}", f"{n:02x}"] for n in range(64)]},
        frame(
            predict(
                choice(0),
                extensions=several(*(extension(f"k{n}", bytes([n])) for n in range(64))),
            )
        ),
    ),
    (
        "health-request",
        "request",
        {"type": "health", "id": 7, "extensions": []},
        # The example of the page, digit by digit.
        bytes.fromhex("00000014 02000000 0700000000000000 0000000000000000"),
    ),
    (
        "status-request",
        "request",
        {"type": "status", "id": 8, "extensions": []},
        frame(choice(3, u64(8), NO_EXTENSIONS)),
    ),
    (
        "metrics-request",
        "request",
        {"type": "metrics", "id": 0, "extensions": [["format", b"text".hex()]]},
        frame(choice(4, u64(0), several(extension("format", b"text")))),
    ),
    (
        "renew-request",
        "request",
        {"type": "renew", "id": 9, "extensions": []},
        frame(choice(5, u64(9), NO_EXTENSIONS)),
    ),
]
