"""Who looks: the window, the colours and the language."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any


@dataclass(frozen=True)
class Look:
    """width and height in CSS pixels."""

    device: str
    width: int
    height: int
    colours: str
    language: str

    @property
    def name(self) -> str:
        return f"{self.device}-{self.colours}-{self.language}"

    def context(self) -> dict[str, Any]:
        """What a browser context is made with."""
        phone = self.device == "phone"
        return {
            "viewport": {"width": self.width, "height": self.height},
            "device_scale_factor": 2 if phone else 1,
            "is_mobile": phone,
            "has_touch": phone,
            "color_scheme": self.colours,
            "locale": self.language,
            "reduced_motion": "reduce",
        }


# The narrow one is what small phones have.
DEVICES = (("desktop", 1280, 800), ("phone", 360, 740))
LOOKS = tuple(
    Look(*device, colours, language)
    for device, colours, language in product(DEVICES, ("light", "dark"), ("en", "vi"))
)
