"""Edits the configuration inside a Keras file before Keras builds the network from it.

Precision and input size are fixed when layers are built, so they are changed in a copy of the
file: `config.json` of a .keras archive, the attribute `model_config` of an .h5 file.
"""

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

_SHORT = ("float16", "bfloat16", "mixed_float16", "mixed_bfloat16")

Edit = Callable[[Any], Any]


def edited(path: Path, edit: Edit, folder: Path) -> Path:
    """A copy of the file in `folder` whose configuration went through `edit`."""
    copy = folder / path.name
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(copy, "w") as new:
            for item in old.infolist():
                content = old.read(item)
                if item.filename == "config.json":
                    content = json.dumps(edit(json.loads(content))).encode()
                new.writestr(item, content)
        return copy
    import h5py

    shutil.copyfile(path, copy)
    with h5py.File(copy, "r+") as file:
        text = file.attrs["model_config"]
        text = text.decode() if isinstance(text, bytes) else text
        file.attrs["model_config"] = json.dumps(edit(json.loads(text)))
    return copy


def read(path: Path) -> Any:
    """The configuration; None for an .h5 file that holds weights only."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read("config.json"))
    import h5py

    with h5py.File(path) as file:
        text = file.attrs.get("model_config")
        return None if text is None else json.loads(text)


def is_short(config: Any) -> bool:
    """Whether any layer computes in less than float32."""
    return bool(_as_float32(config) != config)


def to_float32(config: Any) -> Any:
    """The configuration with every layer in float32."""
    return _as_float32(config)


def to_size(old: tuple[int, int], new: tuple[int, int]) -> Edit:
    """An edit that gives every input of one size another one."""

    def edit(config: Any) -> Any:
        if isinstance(config, dict):
            return {key: edit(value) for key, value in config.items()}
        if isinstance(config, list):
            is_input = len(config) == 4 and tuple(config[1:3]) == old and config[3] in (1, 3)
            return [config[0], *new, config[3]] if is_input else [edit(item) for item in config]
        return config

    return edit


def _as_float32(config: Any) -> Any:
    if isinstance(config, dict):
        return {
            key: _precision(value) if key == "dtype" else _as_float32(value)
            for key, value in config.items()
        }
    if isinstance(config, list):
        return [_as_float32(item) for item in config]
    return config


def _precision(value: Any) -> Any:
    if isinstance(value, str):
        return "float32" if value in _SHORT else value
    if isinstance(value, dict):
        name = value.get("config", {}).get("name")
        return "float32" if name in _SHORT else value
    return value
