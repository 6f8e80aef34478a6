"""Names of the classes, from whatever list a site has; it knows nothing of a network."""

import json
import tomllib
from pathlib import Path
from typing import Any

from dermald_model.manifest import Label
from dermald_model.refusal import Refusal

FORMS = (
    "names separated by commas, or a file: one name a line (.txt), a list, {index: name} or "
    "{name: index} (.json), or [[labels]] with name and titles as in a manifest (.toml)"
)


def read(text: str) -> tuple[Label, ...]:
    """The labels in output order. Fails with Refusal, naming the file and what is wrong."""
    path = Path(text)
    if "," in text and not path.is_file():
        return _of_names([name.strip() for name in text.split(",")], "--labels")
    try:
        content = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".json":
            return _of_names(_from_json(json.loads(content), path), str(path))
        if path.suffix == ".toml":
            return _from_toml(tomllib.loads(content), path)
    except OSError as error:
        raise Refusal(f"--labels {text}: {error.strerror}; expected {FORMS}") from error
    except (UnicodeDecodeError, json.JSONDecodeError, tomllib.TOMLDecodeError) as error:
        raise Refusal(f"--labels {path} cannot be read: {error}") from error
    return _of_names([line.strip() for line in content.splitlines() if line.strip()], str(path))


def _from_json(value: Any, path: Path) -> list[str]:
    if isinstance(value, list):
        return [str(name) for name in value]
    if isinstance(value, dict):
        # Keras's class_indices have the name first, Hugging Face's id2label the number.
        by_number = all(isinstance(number, int) for number in value.values())
        pairs = [(n, name) for name, n in value.items()] if by_number else list(value.items())
        try:
            ordered = sorted((int(number), str(name)) for number, name in pairs)
        except ValueError as error:
            raise Refusal(f"--labels {path}: neither names nor values are numbers") from error
        if [number for number, _ in ordered] != list(range(len(ordered))):
            raise Refusal(f"--labels {path}: the numbers are not 0 to {len(ordered) - 1}")
        return [name for _, name in ordered]
    raise Refusal(f"--labels {path}: expected {FORMS}")


def _from_toml(table: dict[str, Any], path: Path) -> tuple[Label, ...]:
    try:
        labels = [Label(one["name"], dict(one.get("titles", {}))) for one in table["labels"]]
    except (KeyError, TypeError) as error:
        raise Refusal(f"--labels {path}: expected [[labels]] with name and titles") from error
    _of_names([label.name for label in labels], str(path))
    return tuple(labels)


def _of_names(names: list[str], place: str) -> tuple[Label, ...]:
    for name in names:
        if not name:
            raise Refusal(f"{place}: a name is empty")
        if names.count(name) > 1:
            raise Refusal(f"{place}: {name!r} stands there twice")
    return tuple(Label(name, {}) for name in names)
