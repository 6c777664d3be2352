"""MobileFaceNet as a trainable encoder (Chen et al., 2018); it knows nothing of packs or training.

The modules have the entry names of foamliu's MobileFaceNet, so its weights load strictly. Batch
norm always uses its stored statistics, in train mode too, and its scale and shift are trained like
any other parameter.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Self

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from vcn_ray.models.backbones import Backbone, channels_last_trunk, freeze_statistics

BLOCKS = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))
"""Inverted residuals: expansion, channels, number of blocks, stride of the first block."""

TAIL_BLOCK = 12
"""First block of the tail: its input is the smallest set of activations, 128 x 14 x 14."""


def conv_bn_relu6(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Build a convolution without bias, batch norm and ReLU6; stride 1 keeps the size."""
    conv = nn.Conv2d(
        inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False
    )
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU6())


class InvertedResidual(nn.Module):
    """Widen by 1x1, filter each channel by 3x3, narrow by 1x1; add the input if shapes agree."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.residual = stride == 1 and inputs == outputs
        self.conv = nn.Sequential(
            conv_bn_relu6(inputs, wide, 1),
            conv_bn_relu6(wide, wide, 3, stride, groups=wide),
            nn.Conv2d(wide, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, inputs, h, w) to (b, outputs, h / stride, w / stride)."""
        out: Tensor = self.conv(x)
        return x + out if self.residual else out


class SeparableConv(nn.Module):
    """Filter each channel by 3x3, then mix channels by 1x1; batch norm and ReLU follow both."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, inputs, h, w) to (b, outputs, h, w)."""
        hidden = torch.relu(self.bn1(self.depthwise(x)))
        return torch.relu(self.bn2(self.pointwise(hidden)))


class GlobalDepthwise(nn.Module):
    """Apply one 7x7 filter per channel to the whole 7x7 map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, groups=channels, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, channels, 7, 7) to (b, channels, 1, 1)."""
        out: Tensor = self.bn(self.depthwise(x))
        return out


def inverted_residuals() -> nn.Sequential:
    """Build the 15 blocks of the body, from 64 x 56 x 56 to 128 x 7 x 7."""
    blocks: list[nn.Module] = []
    inputs = 64
    for expansion, outputs, count, stride in BLOCKS:
        for index in range(count):
            first_stride = stride if index == 0 else 1
            blocks.append(InvertedResidual(inputs, outputs, first_stride, expansion))
            inputs = outputs
    return nn.Sequential(*blocks)


def fold_batch_norms(module: nn.Module) -> None:
    """Fold each batch norm of a trunk into the convolution before it, in place.

    Together with channels-last filters this halves the trunk's time on a CPU.
    """
    for part in module.modules():
        if isinstance(part, SeparableConv):
            for conv, norm in (("depthwise", "bn1"), ("pointwise", "bn2")):
                setattr(part, conv, fuse_conv_bn_eval(getattr(part, conv), getattr(part, norm)))
                setattr(part, norm, nn.Identity())
        elif isinstance(part, nn.Sequential):
            for at in range(len(part) - 1):
                first, second = part[at], part[at + 1]
                if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                    part[at], part[at + 1] = fuse_conv_bn_eval(first, second), nn.Identity()
        elif isinstance(part, nn.ReLU6):
            part.inplace = True


class MobileFaceNet(Backbone):
    """128-d face-ID encoder for crops aligned to the ArcFace template, 112 pixels a side."""

    input_pixels = 112
    dim = 128

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = conv_bn_relu6(3, 64, 3, stride=2)
        self.dw_conv = SeparableConv(64, 64)
        self.features = inverted_residuals()
        self.conv2 = conv_bn_relu6(128, 512, 1)
        self.gdconv = GlobalDepthwise(512)
        self.conv3 = nn.Conv2d(512, self.dim, 1)
        self.bn = nn.BatchNorm2d(self.dim)
        for name, values in (("mean", (0.485, 0.456, 0.406)), ("std", (0.229, 0.224, 0.225))):
            constant = torch.tensor(values).reshape(3, 1, 1)
            self.register_buffer(name, constant, persistent=False)
        self.eval()

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Read the weights of a `.safetensors` file; every entry must be present and fit.

        Raises:
            RuntimeError: From torch: an entry is missing, unknown or of another shape.
            SafetensorError: The file has another format.
        """
        model = cls()
        model.load_state_dict(load_file(path), strict=True)
        return model

    def train(self, mode: bool = True) -> Self:
        """Switch the mode of all modules except batch norm, which keeps its statistics."""
        super().train(mode)
        freeze_statistics(self)
        return self

    def normalise(self, images: Tensor) -> Tensor:
        """Scale to 0..1, subtract each colour's mean and divide by its standard deviation."""
        return (images / 255 - self.mean) / self.std

    def trunk(self, images: Tensor) -> Tensor:
        """Compute activations (b, 128, 14, 14) from images (b, 3, 112, 112)."""
        hidden: Tensor = self.features[:TAIL_BLOCK](self.dw_conv(self.conv1(images)))
        return hidden

    def frozen_trunk(self) -> Callable[[Tensor], Tensor]:
        """Copy the trunk, with its batch norms folded into the convolutions before them."""
        frozen = copy.deepcopy(self).eval()
        for part in (frozen.conv1, frozen.dw_conv, frozen.features):
            fold_batch_norms(part)
        return channels_last_trunk(frozen)

    def tail(self, activations: Tensor) -> Tensor:
        """Compute features (b, 512) from activations (b, 128, 14, 14)."""
        hidden: Tensor = self.gdconv(self.conv2(self.features[TAIL_BLOCK:](activations)))
        return hidden.flatten(1)

    def project(self, features: Tensor) -> Tensor:
        """Compute embeddings (b, 128), not normalised, from features (b, 512)."""
        hidden: Tensor = self.bn(self.conv3(features[:, :, None, None]))
        return hidden.flatten(1)

    def tail_parameters(self) -> list[nn.Parameter]:
        """List the parameters of blocks 12 to 14 and of everything behind them."""
        parts = (self.features[TAIL_BLOCK:], self.conv2, self.gdconv, self.conv3, self.bn)
        return [parameter for part in parts for parameter in part.parameters()]
