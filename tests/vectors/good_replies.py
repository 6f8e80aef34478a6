"""Replies that every implementation reads and writes to the byte.

Each vector states its message twice, as JSON and as bytes, both by hand.
"""

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
    u16,
    u32,
    u64,
)

DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
OVERLAY = bytes.fromhex("89504e470d0a1a0a00")
NOTICE = "Bản trình diễn, không phải chẩn đoán."
MODEL = string("demo") + string("1.0.0") + string(DIGEST)
MODEL_JSON = {"name": "demo", "version": "1.0.0", "digest": DIGEST}
STATUS_JSON = '{"model": {"loaded": true}, "tên": "mẫu"}'
METRICS_TEXT = "# TYPE dermald_requests counter\ndermald_requests_total 1\n# EOF\n"


def error_vector(
    name: str, code: str, fault: tuple[int, str], retryable: bool, retry_after_ms: int | None
) -> tuple[str, str, dict[str, object], bytes]:
    message = {
        "type": "error",
        "id": 5,
        "code": code,
        "fault": fault[1],
        "retryable": retryable,
        "retry_after_ms": retry_after_ms,
        "message": f"A sentence about {code}.",
        "extensions": [],
    }
    wire = choice(
        2,
        some(u64(5)),
        string(code),
        choice(fault[0]),
        boolean(retryable),
        NONE if retry_after_ms is None else some(u32(retry_after_ms)),
        string(f"A sentence about {code}."),
        NO_EXTENSIONS,
    )
    return name, "reply", message, frame(wire)


VECTORS: list[tuple[str, str, dict[str, object], bytes]] = [
    (
        "welcome",
        "reply",
        {
            "type": "welcome",
            "version": 1,
            "daemon": "dermald/0.1.0",
            "limits": {
                "frame_bytes": 16777216,
                "queue_requests": 32,
                "queue_bytes": 2**40 + 1,
                "requests_per_connection": 16,
                "deadline_ms": 60000,
            },
            "extensions": [["unknown", "0102"]],
        },
        frame(
            choice(
                0,
                u16(1),
                string("dermald/0.1.0"),
                u32(16777216),
                u32(32),
                u64(2**40 + 1),
                u32(16),
                u32(60000),
                several(extension("unknown", b"\x01\x02")),
            )
        ),
    ),
    (
        "prediction-minimal",
        "reply",
        {
            "type": "prediction",
            "id": 1,
            "model": MODEL_JSON,
            "labels": [],
            "explained": None,
            "heatmap": None,
            "overlay": None,
            "timings": {
                "queue_us": 0,
                "load_us": 0,
                "decode_us": 0,
                "inference_us": 0,
                "render_us": 0,
            },
            "extensions": [],
        },
        frame(
            choice(
                1,
                u64(1),
                MODEL,
                several(),
                NONE,
                NONE,
                NONE,
                u32(0) + u32(0) + u32(0) + u32(0) + u32(0),
                NO_EXTENSIONS,
            )
        ),
    ),
    (
        "prediction-everything",
        "reply",
        {
            "type": "prediction",
            "id": 2**64 - 1,
            "model": MODEL_JSON,
            "labels": [
                {"index": 2, "name": "melanocytic", "title": "Nốt ruồi", "probability": 0.75},
                {"index": 0, "name": "ring", "title": "Hình nhẫn ○", "probability": 0.25},
            ],
            "explained": 2,
            "heatmap": {"height": 2, "width": 3, "values": [0.0, 0.125, 0.25, 0.5, 0.75, 1.0]},
            "overlay": {"format": "jpeg", "width": 640, "height": 480, "picture": OVERLAY.hex()},
            "timings": {
                "queue_us": 1,
                "load_us": 20,
                "decode_us": 300,
                "inference_us": 4000,
                "render_us": 4294967295,
            },
            "extensions": [["notice", NOTICE.encode().hex()]],
        },
        frame(
            choice(
                1,
                u64(2**64 - 1),
                MODEL,
                several(
                    u32(2) + string("melanocytic") + string("Nốt ruồi") + f32(0.75),
                    u32(0) + string("ring") + string("Hình nhẫn ○") + f32(0.25),
                ),
                some(u32(2)),
                some(
                    u32(2)
                    + u32(3)
                    + several(f32(0.0), f32(0.125), f32(0.25), f32(0.5), f32(0.75), f32(1.0))
                ),
                some(choice(1) + u32(640) + u32(480) + blob(OVERLAY)),
                u32(1) + u32(20) + u32(300) + u32(4000) + u32(4294967295),
                several(extension("notice", NOTICE.encode())),
            )
        ),
    ),
    (
        "prediction-explanation-missing",
        "reply",
        {
            "type": "prediction",
            "id": 3,
            "model": MODEL_JSON,
            "labels": [{"index": 1, "name": "spot", "title": "spot", "probability": 1.0}],
            "explained": None,
            "heatmap": {"height": 0, "width": 0, "values": []},
            "overlay": {"format": "webp", "width": 0, "height": 0, "picture": ""},
            "timings": {
                "queue_us": 5,
                "load_us": 0,
                "decode_us": 6,
                "inference_us": 7,
                "render_us": 0,
            },
            "extensions": [
                ["explanation", b"The model has no Grad-CAM output.".hex()],
                ["from-the-future", ""],
            ],
        },
        frame(
            choice(
                1,
                u64(3),
                MODEL,
                several(u32(1) + string("spot") + string("spot") + f32(1.0)),
                NONE,
                some(u32(0) + u32(0) + several()),
                some(choice(2) + u32(0) + u32(0) + blob(b"")),
                u32(5) + u32(0) + u32(6) + u32(7) + u32(0),
                several(
                    extension("explanation", b"The model has no Grad-CAM output."),
                    extension("from-the-future", b""),
                ),
            )
        ),
    ),
    error_vector("error-caller", "picture_broken", (0, "caller"), False, None),
    error_vector("error-busy", "busy", (1, "daemon"), True, 250),
    error_vector("error-operator", "runtime_unavailable", (2, "operator"), False, None),
    error_vector("error-unknown-code", "meteor_strike", (1, "daemon"), True, 4294967295),
    (
        "error-of-the-connection",
        "reply",
        {
            "type": "error",
            "id": None,
            "code": "unsupported_version",
            "fault": "caller",
            "retryable": False,
            "retry_after_ms": None,
            "message": "Máy khách quá cũ.",
            "extensions": [["newest", "0200"]],
        },
        frame(
            choice(
                2,
                NONE,
                string("unsupported_version"),
                choice(0),
                boolean(False),
                NONE,
                string("Máy khách quá cũ."),
                several(extension("newest", u16(2))),
            )
        ),
    ),
    (
        "health-reply",
        "reply",
        {"type": "health", "id": 7, "state": "ready", "message": "", "extensions": []},
        frame(choice(3, u64(7), string("ready"), string(""), NO_EXTENSIONS)),
    ),
    (
        "health-failed",
        "reply",
        {
            "type": "health",
            "id": 7,
            "state": "failed",
            "message": "libonnxruntime.so was not found.",
            "extensions": [["since", u64(12).hex()]],
        },
        frame(
            choice(
                3,
                u64(7),
                string("failed"),
                string("libonnxruntime.so was not found."),
                several(extension("since", u64(12))),
            )
        ),
    ),
    (
        "status-reply",
        "reply",
        {"type": "status", "id": 8, "json": STATUS_JSON, "extensions": []},
        frame(choice(4, u64(8), string(STATUS_JSON), NO_EXTENSIONS)),
    ),
    (
        "metrics-reply",
        "reply",
        {"type": "metrics", "id": 0, "text": METRICS_TEXT, "extensions": []},
        frame(choice(5, u64(0), string(METRICS_TEXT), NO_EXTENSIONS)),
    ),
    (
        "going-away",
        "reply",
        {
            "type": "going_away",
            "reason": "stopping",
            "message": "SIGTERM was received.",
            "extensions": [],
        },
        frame(choice(6, string("stopping"), string("SIGTERM was received."), NO_EXTENSIONS)),
    ),
    (
        "renewed",
        "reply",
        {"type": "renewed", "id": 9, "pause_us": 12345, "extensions": []},
        frame(choice(7, u64(9), u32(12345), NO_EXTENSIONS)),
    ),
]
