"""dlib's face-ID residual network as a trainable torch module.

It knows the network and where its tail begins; it does not know how faces are aligned or how the
network is trained. Before any training, embeddings equal dlib's `face_recognition_model_v1`.

The network differs from the usual residual network (He et al., CVPR 2016) in two ways: batch norm
is a plain scale and shift, because dlib's file has its statistics folded in; and if the two sides
of a sum differ in channels, rows or columns, the smaller side is padded with zeros at the far end.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from vcn_ray.errors import PackError
from vcn_ray.models.backbones import Backbone
from vcn_ray.models.dlib_weights import Affine, Conv, Layer, Linear, read_layers, read_means

INPUT_PIXELS = 150
DIM = 128
BLOCKS = 14
TAIL_BLOCKS = 4
"""Blocks with 256 channels, on 4x4 pixels and fewer: they hold 4.4 of 5.6 million weights and do an
eighth of the work, and their input is only 32 KiB per crop, so it can be cached."""


class ScaledConv(nn.Module):
    """A convolution, then a scale and a shift for each channel, all trainable."""

    def __init__(self, conv: Conv, affine: Affine) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.from_numpy(conv.weight))
        self.bias = nn.Parameter(torch.from_numpy(conv.bias))
        self.scale = nn.Parameter(torch.from_numpy(affine.scale))
        self.shift = nn.Parameter(torch.from_numpy(affine.shift))
        self.stride = conv.stride
        self.padding = conv.padding

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, c, h, w) to (b, out, h', w')."""
        # Scaling the weights is cheaper than scaling the activations, which are larger.
        weight = self.weight * self.scale[:, None, None, None]
        bias = self.bias * self.scale + self.shift
        return functional.conv2d(x, weight, bias, self.stride, self.padding)


class Block(nn.Module):
    """Two convolutions beside a skip, which averages 2x2 pixels if the first one has stride 2."""

    def __init__(self, first: ScaledConv, second: ScaledConv) -> None:
        super().__init__()
        self.first = first
        self.second = second

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, c, h, w) to (b, out, h', w')."""
        y = self.second(torch.relu(self.first(x)))
        skip = functional.avg_pool2d(x, 2, 2) if self.first.stride == 2 else x
        size = [max(a, b) for a, b in zip(y.shape[1:], skip.shape[1:], strict=True)]
        return torch.relu(_padded(y, size) + _padded(skip, size))


class DlibResNet(Backbone):
    """The encoder of the pack `dlib`.

    Args:
        data: Content of the network's file.

    Raises:
        PackError: The file holds another network.
    """

    means: Tensor

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.input_pixels = INPUT_PIXELS
        self.dim = DIM
        self.register_buffer("means", torch.from_numpy(read_means(data)).view(1, 3, 1, 1))
        layers = iter(read_layers(data))
        self.stem = _scaled_conv(layers)
        blocks = [Block(_scaled_conv(layers), _scaled_conv(layers)) for _ in range(BLOCKS)]
        self.early = nn.Sequential(*blocks[:-TAIL_BLOCKS])
        self.late = nn.Sequential(*blocks[-TAIL_BLOCKS:])
        last = next(layers, None)
        if not isinstance(last, Linear) or last.weight.shape[0] != DIM:
            raise PackError(f"wanted a last layer to {DIM} numbers: not dlib's face-ID network")
        self.last = nn.Parameter(torch.from_numpy(last.weight))
        self.eval()

    def normalise(self, images: Tensor) -> Tensor:
        """Compute (x - mean) / 256 with the mean colour of the file."""
        return (images - self.means) / 256

    def trunk(self, images: Tensor) -> Tensor:
        """Compute activations (b, 128, 8, 8) from images (b, 3, 150, 150)."""
        x = functional.max_pool2d(torch.relu(self.stem(images)), 3, 2)
        activations: Tensor = self.early(x)
        return activations

    def tail(self, activations: Tensor) -> Tensor:
        """Compute features (b, 256), all at least 0, from activations (b, 128, 8, 8)."""
        features: Tensor = self.late(activations).mean(dim=(2, 3))
        return features

    def project(self, features: Tensor) -> Tensor:
        """Compute embeddings (b, 128), not normalised, from features (b, 256)."""
        return functional.linear(features, self.last)

    def tail_parameters(self) -> list[nn.Parameter]:
        """List the parameters of the last four blocks and of the last layer."""
        return [*self.late.parameters(), self.last]


def _scaled_conv(layers: Iterator[Layer]) -> ScaledConv:
    conv, affine = next(layers, None), next(layers, None)
    if not isinstance(conv, Conv) or not isinstance(affine, Affine):
        raise PackError("wanted a convolution and its scale: not dlib's face-ID network")
    return ScaledConv(conv, affine)


def _padded(x: Tensor, size: list[int]) -> Tensor:
    """Pad (b, c, h, w) with zeros at the far end, up to `size` of c, h and w."""
    missing = [wanted - got for wanted, got in zip(size, x.shape[1:], strict=True)]
    if not any(missing):
        return x
    channels, rows, columns = missing
    return functional.pad(x, (0, columns, 0, rows, 0, channels))
