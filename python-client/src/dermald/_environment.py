"""What the environment says of Grad-CAM, read as the first site reads it."""

from __future__ import annotations

import os


def gradcam_enabled() -> bool:
    """$ENABLE_GRADCAM: `true`, `1` or `yes` in any case; on when it is not set."""
    return os.environ.get("ENABLE_GRADCAM", "true").strip().lower() in ("true", "1", "yes")
