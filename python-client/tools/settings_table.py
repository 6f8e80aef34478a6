"""Writes the table of settings into docs/django.md, from the keys that the code knows.

python tools/settings_table.py           # after a change of keys.py or conf.py
python tools/settings_table.py --check
"""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path

from dermald import RenderOverlay
from dermald.django.conf import DaemonSettings
from dermald.django.keys import KEYS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "django.md"
BEGIN, END = "<!-- settings: made by tools/settings_table.py -->\n", "<!-- settings end -->\n"


def main() -> int:
    page = PAGE.read_text(encoding="utf-8")
    if "--check" in sys.argv[1:]:
        if page == with_table(page):
            return 0
        print(f"{PAGE}: its settings are not the code's; run tools/settings_table.py")
        return 1
    PAGE.write_text(with_table(page), encoding="utf-8")
    return 0


def with_table(page: str) -> str:
    """The page with today's table in place of its own."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return head + BEGIN + table() + END + tail


def table() -> str:
    defaults = DaemonSettings()
    lines = ['| key of `DERMALD["default"]` | default | meaning |', "|---|---|---|"]
    for field in fields(DaemonSettings):
        key = KEYS[field.name.upper()]
        default = shown(getattr(defaults, field.name))
        lines.append(f"| `{field.name.upper()}` | `{default}` | {key.meaning} |")
    return "\n".join(lines) + "\n"


def shown(value: object) -> str:
    """As one would write it."""
    if not isinstance(value, RenderOverlay):
        return repr(value)
    plain = RenderOverlay()
    said = [
        f"{field.name}={getattr(value, field.name)!r}"
        for field in fields(RenderOverlay)
        if getattr(value, field.name) != getattr(plain, field.name)
    ]
    return f"RenderOverlay({', '.join(said)})"


if __name__ == "__main__":
    sys.exit(main())
