"""Reads a model file of any framework into one ONNX graph and what the file itself tells.

What a file is, is seen in its content. Each kind has a module: `keras_file` (.keras and .h5),
`tflite_file`, `onnx_file`. Those of frameworks are imported only when a file is theirs.
"""

import importlib
import zipfile
from pathlib import Path

from dermald_model.refusal import Refusal
from dermald_model.sources.source import Source, Wish

__all__ = ["Source", "Wish", "read"]

_HDF5 = b"\x89HDF\r\n\x1a\n"


def read(path: Path, wish: Wish) -> Source:
    """Reads a model file. Fails with Refusal when it is none that can be read."""
    module = importlib.import_module(f"dermald_model.sources.{_kind(path)}")
    source: Source = module.read(path, wish)
    return source


def _kind(path: Path) -> str:
    if path.is_dir():
        raise Refusal(
            f"{path} is a folder; if it is a SavedModel, load it in the TensorFlow that made it "
            "and save it as .keras"
        )
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError as error:
        raise Refusal(f"{path} cannot be read: {error.strerror}") from error
    if start.startswith(_HDF5):
        return "keras_file"
    if start[4:8] == b"TFL3":
        return "tflite_file"
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        if "config.json" in names:
            return "keras_file"
        if any(name.endswith("data.pkl") for name in names):
            raise Refusal(
                f"{path} holds PyTorch weights without their network; export the network with "
                "torch.onnx.export and convert the .onnx"
            )
        raise Refusal(f"{path} is an archive, but no Keras model (there is no config.json)")
    if path.suffix == ".onnx":
        return "onnx_file"
    raise Refusal(
        f"{path} is no model file that is known here: .keras, .h5, .tflite and .onnx are read"
    )
