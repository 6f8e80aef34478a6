"""Makes model bundles for dermald; it knows nothing of sockets or of the daemon's code.

The subcommands are `convert`, `quantise`, `verify`, `inspect_bundle`, `pictures`, `reference`,
`demo`; `cli` dispatches them. Beneath them, lowest first:

- `refusal`: what is not done, told in a sentence. `manifest`: a bundle's manifest.
- `skin`, `lesions`, `photo`: drawn pictures with known lesion masks. `photos`: a site's own.
- `parts`, `graph`: an ONNX graph, written by hand and read and added to.
- `step`, `curves`, `spatial`, `derivatives`, `backward`: the derivative of a score by a layer.
- `gradcam`: Grad-CAM and HiResCAM from that derivative.
- `simplify`: the same graph, smaller, for every CPU.
- `sources`: model files of each framework, as one ONNX graph.
- `selftest`, `bundle`: what a bundle's folder holds, written whole and run.
- `conversion`: from a source to a bundle's graph. `labels`, `preprocessing`: what a file lacks.
- `quantisation`: from a float network and photos to int8, through `convolutions` (which may be),
  `calibration` (how wide tensors are), `int8` (the rewriting) and `sensitivity` (which stay float).
  `float16`: weights that travel. `probe`: a graph in memory. `gate`: is the result good enough?
- `agreement`: how far two models agree. `tape`: Keras's own Grad-CAM. `subjects`, `measure`,
  `page`: what `verify` compares, measures and draws.
- `demo_graph`, `training`, `evaluate`, `card`: the demonstration.

Frameworks are imported by the modules that need them, when they run: `pictures` needs no more than
numpy and Pillow.
"""

import os

# ONNX Runtime reports to its makers unless this is set before its first import, and a tool that
# sees patients' photos tells nobody anything.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
