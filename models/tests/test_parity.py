"""A converted network against Keras under its gradient tape, computed now.

float32 does not know 1 - p near p = 1, nor a gradient that is as small as a probability near 0: a
tape in float32 loses digits there (all of them where it underflows). So the heatmaps are compared
with the same network in float64 on every picture; in the long form also with the float32 tape,
wherever the explained class's probability is one that float32 can tell from 0 and 1.

`TEST_PARITY_PICTURES` asks for more pictures, `TEST_PARITY_MODEL` for another .keras file, and
`TEST_LONG` for the tape in float32 and for the layer that tutorials take beside the one that the
first site takes.
"""

import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="runs Keras: install the extra [tools]")

from graphs import Graph, in_float64

from dermald_model import reference
from dermald_model.conversion import build
from dermald_model.preprocessing import PIXELS
from dermald_model.sources import Wish, keras_file, read
from dermald_model.tape import Tape

PICTURES = int(os.environ.get("TEST_PARITY_PICTURES", "1"))
LONG = bool(os.environ.get("TEST_LONG"))
LAYERS = ["top_conv", *(["top_activation"] if LONG else [])]
SCORES = ("softmax", "logit")
TARGETS = [-1, 3]
# Not the seed that the reference's batch norms were calibrated on.
SEED = 90125


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of the first site's architecture, or the one that was named."""
    named = os.environ.get("TEST_PARITY_MODEL")
    if named:
        return Path(named)
    path = tmp_path_factory.mktemp("reference") / "reference.keras"
    reference.build().save(path)
    return path


def test_probabilities_and_heatmaps_are_those_of_the_tape(model: Path, tmp_path: Path) -> None:
    size = (reference.SIDE, reference.SIDE)
    single = Tape(keras_file.load(model, Wish())[0], size, LAYERS) if LONG else None
    double = Tape(in_float64(model, tmp_path), size, LAYERS)
    graphs = {}
    for layer in LAYERS:
        source = read(model, Wish(layer=layer))
        for score in SCORES:
            graphs[layer, score] = Graph(build(source, PIXELS["0..255"], score, "gradcam"))
    probability, heat, taped = 0.0, 0.0, []
    for picture in reference.pictures(PICTURES, SEED):
        tensor = picture[None]
        exact = double.explain(tensor, TARGETS)
        short = single.explain(tensor, TARGETS) if single else exact
        for (layer, score), graph in graphs.items():
            for target in TARGETS:
                probabilities, heatmap = graph.run(tensor, target)
                key = layer, score, target
                difference = np.abs(probabilities - short.probabilities).max()
                probability = max(probability, float(difference))
                heat = max(heat, float(np.abs(heatmap - exact.heatmaps[key]).max()))
                p = exact.probabilities[target if target >= 0 else exact.probabilities.argmax()]
                if single and (score == "logit" or 1e-3 < p < 1 - 1e-3):
                    taped.append(float(np.abs(heatmap - short.heatmaps[key]).max()))
    print(
        f"\n{PICTURES} pictures, {' and '.join(LAYERS)}, both scores, top class and class "
        f"{TARGETS[1]}: probabilities differ by at most {probability:.1e}, heatmaps by {heat:.1e} "
        f"from the tape in float64, by {max(taped, default=0):.1e} from the one in float32 "
        f"({len(taped)} maps)"
    )
    assert probability <= 1e-5
    assert heat <= 1e-4
    assert max(taped, default=0) <= 1e-4
    assert bool(taped) == LONG
