"""The trainable face-ID encoder as the method uses it; it knows no files and no training loop.

Letters of shapes: b crops of a batch, m crops, p pixels of a crop's side, h features before the
last layer, d embedding.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from vcn_ray.errors import ShapeError


class Backbone(nn.Module, ABC):
    """A face-ID encoder f (METHOD 2.1), cut into three parts that can run alone.

    `trunk` holds the early blocks: while only the tail is trained, their activations can be cached.
    `tail` holds the last blocks, up to the features before the last layer. `project` is the last
    layer; SER-FIQ (METHOD 3.1; Terhörst et al., CVPR 2020) drops features before it.

        images = encoder.prepare(crops)      # (b, 3, p, p) float32, normalised
        activations = encoder.trunk(images)  # (b, ...)
        features = encoder.tail(activations)  # (b, h)
        embeddings = encoder.project(features)  # (b, d), not normalised

    All tensors are float32 on the device of the parameters, unless a method says otherwise.

    Attributes:
        input_pixels: Side p of the square crops.
        dim: Length d of the embedding.
    """

    input_pixels: int
    dim: int

    @abstractmethod
    def normalise(self, images: Tensor) -> Tensor:
        """Scale pixels to the input of the first layer.

        Args:
            images: (b, 3, p, p) float32 RGB, grey levels 0 to 255.

        Returns:
            (b, 3, p, p) float32.
        """

    def prepare(self, crops: Tensor) -> Tensor:
        """Turn crops into normalised images.

        The images are contiguous. A permuted view would do for the forward pass, but on CPUs with
        AVX-512 the backward pass of oneDNN's convolutions writes outside its buffers when tensors
        are channels-last.

        Args:
            crops: (b, p, p, 3) uint8 RGB, or (b, 3, p, p) float RGB with grey levels 0 to 255.

        Returns:
            (b, 3, p, p) float32, contiguous.

        Raises:
            ShapeError: The crops have another shape.
        """
        images = crops if crops.is_floating_point() else crops.permute(0, 3, 1, 2)
        side = self.input_pixels
        if images.shape[1:] != (3, side, side):
            raise ShapeError(f"crops need {side} pixels a side, got {tuple(crops.shape)}")
        return self.normalise(images.float()).contiguous()

    @abstractmethod
    def trunk(self, images: Tensor) -> Tensor:
        """Compute the activations where the tail begins.

        Args:
            images: (b, 3, p, p), as `prepare` returns them.

        Returns:
            (b, ...); the shape depends on the network.
        """

    @abstractmethod
    def tail(self, activations: Tensor) -> Tensor:
        """Compute the features (b, h) before the last layer from the activations of `trunk`."""

    @abstractmethod
    def project(self, features: Tensor) -> Tensor:
        """Compute embeddings (b, d), not normalised, from features (b, h)."""

    @abstractmethod
    def tail_parameters(self) -> list[nn.Parameter]:
        """List the parameters of the tail and the last layer, each once.

        Fine-tuning of the last blocks trains these.
        """

    def frozen_trunk(self) -> Callable[[Tensor], Tensor]:
        """Copy the trunk for many passes without gradients; later training does not change it.

        Its activations equal those of `trunk` except for rounding, and are contiguous. Inside, the
        copy is channels-last, which is faster on a CPU and safe without a backward pass.
        """
        return channels_last_trunk(copy.deepcopy(self))

    def forward(self, images: Tensor) -> Tensor:
        """Compute embeddings (b, d), not normalised, from normalised images (b, 3, p, p)."""
        return self.project(self.tail(self.trunk(images)))

    @torch.inference_mode()
    def embed(self, crops: Tensor, batch: int = 64) -> Tensor:
        """Embed any number of crops.

        Args:
            crops: (m, p, p, 3) uint8 RGB on the CPU.
            batch: Crops in one pass through the network.

        Returns:
            (m, d) float32 unit vectors on the CPU.

        Raises:
            ShapeError: The crops have another shape.
        """
        device = next(self.parameters()).device
        parts = [
            self(self.prepare(c.to(device))).cpu() for c in torch.split(crops, batch) if len(c)
        ]
        joined = torch.cat(parts) if parts else torch.zeros(0, self.dim)
        return nn.functional.normalize(joined, dim=1)


def channels_last_trunk(encoder: Backbone) -> Callable[[Tensor], Tensor]:
    """Give the trunk of an encoder with its filters stored channels-last.

    Args:
        encoder: A copy that nothing else uses; it is changed.

    Returns:
        A function from contiguous images to contiguous activations.
    """
    for parameter in encoder.requires_grad_(False).parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.contiguous(memory_format=torch.channels_last)
    return lambda images: encoder.trunk(
        images.contiguous(memory_format=torch.channels_last)
    ).contiguous()


def freeze_statistics(module: nn.Module) -> None:
    """Make every batch norm use its stored statistics, in train mode too.

    The statistics of a batch with crops of a few people would mislead the network.
    """
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            part.eval()
