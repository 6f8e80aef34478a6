"""Set before any test imports ONNX Runtime: it reports to its makers unless this says no."""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
