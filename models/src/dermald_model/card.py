"""The text of the demonstration's model card; the numbers are filled in after measuring."""

CARD = """\
# dermald-demo

A small classifier that shows what dermald does. It was trained on drawn pictures only and has
never seen a patient. **It is no diagnosis and cannot become one.**

- Input: a photo, stretched to {size} x {size} with Lanczos.
- Output: {classes} probabilities and a 16 x 16 Grad-CAM heatmap of the softmax score, computed
  inside the graph.
- Labels: {labels}.
- The labels say what is drawn, not which disease it might resemble.
- `model.onnx` ({kilobytes:.0f} kB, float32): seven convolutions with ReLU, batch norm folded in,
  global average pooling, one dense layer. Input `target_class` chooses the class to explain;
  -1 explains the most probable one.

## How it was made

    pip install -r models/requirements.txt -e models
    dermald-model demo --out models/demo

{count} pictures (seed {training_seed}), {epochs} epochs. They are drawn at photo sizes, saved as
JPEG at assorted qualities and resized as the daemon resizes; training turns them over, changes
light and colour, and covers small patches. The drawings' masks take part in it: beside the right
class, the loss asks that the heatmap of that class lie in the lesion. A network trained on labels
alone would explain itself less neatly. The same versions on the same kind of CPU repeat the file.

## Measured

On {held_out_count} pictures that training has not seen (seed {held_out_seed}), run by ONNX
Runtime:

| | |
|---|---|
| accuracy | {accuracy:.1f} % |
| hottest point of the heatmap lies in the lesion | {hits:.1f} % of the pictures with a lesion |
| the same for a random point (mean area of the lesions) | {chance:.1f} % |

These numbers are about drawings. About photographs of skin they say nothing.

## The sample

`sample.jpg` is a held-out drawing; the right answer is `{sample_label}` ({sample_title}). The model
gives it a probability of {sample_probability:.3f}, and {sample_inside:.0f} % of the heat lies in
the lesion, which `sample_mask.png` marks. The picture was chosen for show, not at random: the first
large, whole lesion that is answered rightly with at least {sample_floor:.0f} % of the heat inside
(candidate {sample_number} of seed {sample_seed}).
"""
