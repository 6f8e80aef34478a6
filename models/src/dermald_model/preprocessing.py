"""How pixels become numbers, by the names that frameworks use; it knows no network."""

from dataclasses import dataclass

_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Pixels:
    """`tensor = (pixel * scale - mean) / std` with pixels in 0..255, red first."""

    scale: float = 1.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    # Whether the network wants blue first: the graph turns the channels round.
    blue_first: bool = False


PIXELS = {
    "0..255": Pixels(),
    "0..1": Pixels(scale=1 / 255),
    "tf": Pixels(scale=1 / 127.5, mean=(1.0, 1.0, 1.0)),
    "torch": Pixels(scale=1 / 255, mean=_IMAGENET_MEAN, std=_IMAGENET_STD),
    "caffe": Pixels(mean=(123.68, 116.779, 103.939), blue_first=True),
}

HELP = (
    "what the network takes: 0..255 (it scales by itself), 0..1, or Keras's modes: tf (-1..1), "
    "torch (0..1 less ImageNet's mean, by its deviation; torchvision's too), caffe (blue first, "
    "ImageNet's mean subtracted: keras.applications' ResNet50 and VGG)"
)
