"""A small seeded PyTorch classifier: its ONNX file, and its own Grad-CAM by autograd.

    python torch_network.py OUT

Run by a Python that has PyTorch (Debian: python3-torch); `test_frameworks.py` reads what it writes.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn


class Network(nn.Module):
    """Convolutions with batch norms, a residual sum, SiLU and a two-layer head; NCHW, 48 x 64."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 12, 3, 2, 1), nn.BatchNorm2d(12), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(12, 12, 3, 1, 1), nn.BatchNorm2d(12), nn.SiLU())
        self.target = nn.Conv2d(12, 20, 3, 2, 1)
        self.tail = nn.Sequential(nn.Hardswish(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(20, 16), nn.GELU(), nn.Linear(16, 5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        self.features = self.target(x + self.body(x))
        return self.head(self.tail(self.features))


def main(out: Path) -> None:
    torch.manual_seed(11)
    network = Network()
    # Norms that do something, a head that has opinions.
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
        if isinstance(module, nn.Linear):
            module.weight.data.mul_(4)
    network.eval()
    pictures = torch.randn(6, 3, 48, 64)
    torch.onnx.export(
        network,
        pictures[:1],
        str(out / "network.onnx"),
        input_names=["picture"],
        output_names=["logits"],
        dynamic_axes={"picture": {0: "n"}, "logits": {0: "n"}},
        opset_version=14,
    )
    found: dict[str, list[np.ndarray]] = {"logits": [], "softmax": [], "logit": []}
    for picture in pictures:
        logits = network(picture[None])
        found["logits"].append(logits[0].detach().numpy())
        for name, scores in (("softmax", logits.softmax(1)), ("logit", logits)):
            maps = []
            for k in range(5):
                (gradient,) = torch.autograd.grad(scores[0, k], network.features, retain_graph=True)
                raw = (gradient.mean((2, 3), keepdim=True) * network.features).sum(1)[0]
                kept = raw.relu() if raw.max() > 0 else raw.abs()
                maps.append((kept / kept.max()).detach().numpy())
            found[name].append(np.stack(maps))
    stacked = {name: np.stack(values) for name, values in found.items()}
    np.savez(out / "torch.npz", pictures=pictures.numpy(), **stacked)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
