"""IResNet as a trainable encoder (ArcFace: Deng et al., CVPR 2019); it knows nothing of packs.

The modules have the entry names of InsightFace's arcface_torch, so its weights load strictly; the
names also show how many blocks there are. Batch norm always uses its stored statistics, in train
mode too, and its scale and shift are trained like any other parameter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

from safetensors.torch import load_file
from torch import Tensor, nn

from vcn_ray.models.backbones import Backbone, freeze_statistics

R50_BLOCKS = (3, 4, 14, 3)
DEFAULT_DIM = 512
MIDDLE_GREY = 127.5
BLOCK = re.compile(r"layer([1-4])\.(\d+)\.")


class IResBlock(nn.Module):
    """Norm, 3x3, norm, PReLU, 3x3, norm; then the input is added, resampled if shapes differ."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.prelu = nn.PReLU(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, inputs, h, w) to (b, outputs, h / stride, w / stride)."""
        hidden = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        out: Tensor = self.bn3(self.conv2(hidden)) + self.downsample(x)
        return out


def layer(inputs: int, outputs: int, count: int) -> nn.Sequential:
    """Build `count` blocks; the first one halves height and width."""
    first = IResBlock(inputs, outputs, stride=2)
    return nn.Sequential(first, *(IResBlock(outputs, outputs, stride=1) for _ in range(count - 1)))


class IResNet(Backbone):
    """Face-ID encoder for crops aligned to the ArcFace template, 112 pixels a side.

    Args:
        blocks: Number of blocks in each of the four layers.
        dim: Length d of the embedding.
        width: Channels of the first layer; each further layer has twice as many.
    """

    input_pixels = 112

    def __init__(
        self,
        blocks: tuple[int, int, int, int] = R50_BLOCKS,
        dim: int = DEFAULT_DIM,
        width: int = 64,
    ) -> None:
        super().__init__()
        self.dim = dim
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.prelu = nn.PReLU(width)
        self.layer1 = layer(width, width, blocks[0])
        self.layer2 = layer(width, 2 * width, blocks[1])
        self.layer3 = layer(2 * width, 4 * width, blocks[2])
        self.layer4 = layer(4 * width, 8 * width, blocks[3])
        self.bn2 = nn.BatchNorm2d(8 * width)
        self.fc = nn.Linear(8 * width * 7 * 7, dim)
        self.features = nn.BatchNorm1d(dim)
        self.eval()

    @classmethod
    def like(cls, weights: Mapping[str, Tensor]) -> Self:
        """Build an untrained net with the depth and the embedding length of some weights."""
        last = weights.get("fc.weight")
        dim = DEFAULT_DIM if last is None or not last.ndim else len(last)
        return cls(count_blocks(weights), dim)

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Read the weights of a `.safetensors` file; every entry must be present and fit.

        Raises:
            RuntimeError: From torch: an entry is missing, unknown or of another shape.
            SafetensorError: The file has another format.
        """
        weights = load_file(path)
        model = cls.like(weights)
        model.load_state_dict(weights, strict=True)
        return model

    def train(self, mode: bool = True) -> Self:
        """Switch the mode of all modules except batch norm, which keeps its statistics."""
        super().train(mode)
        freeze_statistics(self)
        return self

    def normalise(self, images: Tensor) -> Tensor:
        """Scale grey levels 0 to 255 to -1 to 1."""
        return (images - MIDDLE_GREY) / MIDDLE_GREY

    def trunk(self, images: Tensor) -> Tensor:
        """Compute activations (b, 4 * width, 14, 14) from images (b, 3, 112, 112)."""
        hidden = self.prelu(self.bn1(self.conv1(images)))
        out: Tensor = self.layer3(self.layer2(self.layer1(hidden)))
        return out

    def tail(self, activations: Tensor) -> Tensor:
        """Compute features (b, 8 * width * 49) from activations (b, 4 * width, 14, 14)."""
        hidden: Tensor = self.bn2(self.layer4(activations))
        return hidden.flatten(1)

    def project(self, features: Tensor) -> Tensor:
        """Compute embeddings (b, d), not normalised, from features (b, 8 * width * 49)."""
        out: Tensor = self.features(self.fc(features))
        return out

    def tail_parameters(self) -> list[nn.Parameter]:
        """List the parameters of the last layer of blocks and of everything behind it."""
        parts = (self.layer4, self.bn2, self.fc, self.features)
        return [parameter for part in parts for parameter in part.parameters()]


def count_blocks(names: Iterable[str]) -> tuple[int, int, int, int]:
    """Count the blocks of the four layers by the names of weights; at least one each."""
    found = {block.groups() for block in map(BLOCK.match, names) if block}
    first, second, third, fourth = (
        max(1, sum(layer == number for layer, _ in found)) for number in "1234"
    )
    return first, second, third, fourth
