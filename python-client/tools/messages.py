"""Compiles the catalogues of `dermald.django` and of the example clinic, or checks that they are
compiled and complete.

    python tools/messages.py           # after a change of a .po file
    python tools/messages.py --check

The compiled files are committed, so that neither a build nor a site needs gettext's programs.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

ROOT = Path(__file__).resolve().parents[1]
# Where texts are, and where their catalogues.
PLACES = (
    (ROOT / "src" / "dermald", ROOT / "src" / "dermald" / "django" / "locale"),
    (ROOT / "example" / "clinic", ROOT / "example" / "clinic" / "locale"),
)
# What templatize makes of {% translate %} and {% blocktranslate %}.
_IN_TEMPLATES = re.compile(r"\b(gettext|ngettext|_)\((u?'(?:[^'\\]|\\.)*'|u?\"(?:[^\"\\]|\\.)*\")")
_KEYWORDS = {"_": None, "gettext": None, "translated_lazily": None}


def main() -> int:
    check = "--check" in sys.argv[1:]
    wrong = [line for source in sources() for line in (faults(source) if check else ())]
    if not check:
        for source in sources():
            source.with_suffix(".mo").write_bytes(compiled(source))
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


def sources() -> list[Path]:
    return [
        source
        for _, locales in PLACES
        for source in sorted(locales.glob("*/LC_MESSAGES/django.po"))
    ]


def catalogue(source: Path) -> Catalog:
    with source.open("rb") as file:
        return read_po(file, abort_invalid=True)


def compiled(source: Path) -> bytes:
    out = io.BytesIO()
    write_mo(out, catalogue(source))
    return out.getvalue()


def faults(source: Path) -> Iterator[str]:
    """What is wrong with a catalogue, a line each."""
    binary = source.with_suffix(".mo")
    if not binary.exists() or binary.read_bytes() != compiled(source):
        yield f"{binary}: older than {source.name}; run python tools/messages.py"
    known = {first(message.id): message for message in catalogue(source) if message.id}
    used = set(used_texts(source))
    for text in sorted(used - known.keys()):
        yield f"{source}: no entry for {text!r}"
    for text, message in known.items():
        if text not in used:
            yield f"{source}: nobody says {text!r}"
        if message.fuzzy or not first(message.string):
            yield f"{source}: {text!r} is not translated"
        if sorted(re.findall(r"%\(\w+\)\w|%\w", text)) != sorted(
            re.findall(r"%\(\w+\)\w|%\w", first(message.string))
        ):
            yield f"{source}: {text!r} and its translation have different places for values"


def first(text: str | tuple[str, ...] | list[str] | None) -> str:
    return text if isinstance(text, str) else (text or [""])[0]


def used_texts(source: Path) -> Iterator[str]:
    """Every text that is marked for translation where the catalogue belongs."""
    folder = next(folder for folder, locales in PLACES if locales in source.parents)
    for path in sorted(folder.rglob("*.py")):
        with path.open("rb") as file:
            for _, text, _, _ in extract("python", file, _KEYWORDS):
                yield first(text)
    for path in sorted(folder.rglob("*.html")):
        yield from in_template(path.read_text(encoding="utf-8"))


def in_template(source: str) -> Iterator[str]:
    from django.utils.translation.template import templatize

    for _, literal in _IN_TEMPLATES.findall(templatize(source)):
        yield unquoted(literal.removeprefix("u"))


def unquoted(literal: str) -> str:
    import ast

    return str(ast.literal_eval(literal))


if __name__ == "__main__":
    sys.exit(main())
