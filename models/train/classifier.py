"""The judge: a small convolutional network that says which of the subject classes a picture shows.

Input [n, 3, 128, 128] in [−1, 1] (`shrink` makes it from a picture of any size); output logits [n, classes], one per class,
independent of each other, since a picture may show several.
"""

import json

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

from catalogue import CLASS_NAMES
from paths import CLASSIFIER

WIDTHS = (48, 96, 128, 160)


class Block(nn.Module):
    """Two 3×3 convolutions beside a 1×1 one, normalised over the batch."""

    def __init__(self, before: int, width: int, stride: int):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(before, width, 3, stride, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
                                  nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))
        self.beside = nn.Sequential(nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.body(x) + self.beside(x))


class Classifier(nn.Module):
    def __init__(self, classes: int = len(CLASS_NAMES)):
        super().__init__()
        layers = [nn.Conv2d(3, WIDTHS[0], 5, stride=2, padding=2, bias=False), nn.BatchNorm2d(WIDTHS[0]), nn.ReLU()]
        before = WIDTHS[0]
        for level, width in enumerate(WIDTHS):
            layers.append(Block(before, width, 2 if level else 1))
            before = width
        self.features = nn.Sequential(*layers)
        self.head = nn.Conv2d(before, classes, 1)
        nn.init.constant_(self.head.bias, -4.0)  # most classes are absent

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        maps = self.head(self.features(pictures))
        return torch.logsumexp(maps.flatten(2).float(), dim=2) - 4.0  # a soft maximum over the 8×8 places


def shrink(pictures: torch.Tensor) -> torch.Tensor:
    """The shorter side becomes 128 pixels."""
    factor = 128 / min(pictures.shape[2:])
    return F.interpolate(pictures, size=[round(side * factor) for side in pictures.shape[2:]], mode="area")


def save_classifier(model: Classifier):
    CLASSIFIER.mkdir(exist_ok=True)
    weights = {key: value.detach().cpu().half().contiguous() for key, value in model.state_dict().items() if value.is_floating_point()}
    save_file(weights, CLASSIFIER / "model.safetensors", metadata={"format": "pt"})
    config = {"classes": list(CLASS_NAMES), "widths": list(WIDTHS), "input_side": 128, "input_range": [-1, 1], "pooling": "logsumexp", "logit_offset": -4.0}
    (CLASSIFIER / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def load_classifier(device="cpu") -> Classifier:
    model = Classifier()
    model.load_state_dict({key: value.float() for key, value in load_file(CLASSIFIER / "model.safetensors").items()}, strict=False)
    return model.to(device).eval()
