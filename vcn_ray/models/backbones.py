"""The trainable face-ID encoder as the method sees it; it knows no files and no training loop."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from vcn_ray.errors import ShapeError


class Backbone(nn.Module, ABC):
    """A face-ID encoder f of METHOD, cut in three so that each part can be run alone.

    `trunk` holds the early blocks, whose activations can be cached while only the tail is trained;
    `tail` the last blocks up to the features before the last layer; `project` is the last layer,
    before which SER-FIQ (METHOD 3.1) drops features.

    Attributes:
        input_pixels: Side of the square crop it takes.
        dim: Length d of the embedding.
    """

    input_pixels: int
    dim: int

    @abstractmethod
    def normalise(self, images: Tensor) -> Tensor:
        """RGB images (b, 3, p, p) float32 in 0..255 to what the first layer takes, same shape."""

    def prepare(self, crops: Tensor) -> Tensor:
        """Crops to normalised images, (b, 3, p, p) float32, contiguous.

        A permuted view would do for the forward pass, but on CPUs with AVX-512 the backward pass
        of oneDNN's convolutions writes outside its buffers when tensors are channels-last.

        Args:
            crops: (b, p, p, 3) uint8 RGB, or (b, 3, p, p) float RGB in 0..255.

        Raises:
            ShapeError: They have another shape.
        """
        images = crops if crops.is_floating_point() else crops.permute(0, 3, 1, 2)
        side = self.input_pixels
        if images.shape[1:] != (3, side, side):
            raise ShapeError(f"crops need {side} pixels a side, got {tuple(crops.shape)}")
        return self.normalise(images.float()).contiguous()

    @abstractmethod
    def trunk(self, images: Tensor) -> Tensor:
        """Normalised images to the activations where the tail begins."""

    @abstractmethod
    def tail(self, activations: Tensor) -> Tensor:
        """Activations to features (b, h), the input of the last layer."""

    @abstractmethod
    def project(self, features: Tensor) -> Tensor:
        """Features to embeddings (b, d), not normalised."""

    @abstractmethod
    def tail_parameters(self) -> list[nn.Parameter]:
        """Parameters of the tail and the last layer: what fine-tuning of the last blocks trains."""

    def frozen_trunk(self) -> Callable[[Tensor], Tensor]:
        """The trunk as it is now, for many passes without gradients; equal but for rounding.

        Its activations are contiguous. Inside it is channels-last, which is faster on a CPU and
        safe where nothing is differentiated.
        """
        return channels_last_trunk(copy.deepcopy(self))

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (b, 3, p, p) to embeddings (b, d), not normalised."""
        return self.project(self.tail(self.trunk(images)))

    @torch.inference_mode()
    def embed(self, crops: Tensor, batch: int = 64) -> Tensor:
        """(m, p, p, 3) uint8 RGB crops to (m, d) unit embeddings on the CPU."""
        device = next(self.parameters()).device
        parts = [
            self(self.prepare(c.to(device))).cpu() for c in torch.split(crops, batch) if len(c)
        ]
        joined = torch.cat(parts) if parts else torch.zeros(0, self.dim)
        return nn.functional.normalize(joined, dim=1)


def channels_last_trunk(encoder: Backbone) -> Callable[[Tensor], Tensor]:
    """The trunk of an encoder that nobody else uses, its filters laid out anew in memory."""
    for parameter in encoder.requires_grad_(False).parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.contiguous(memory_format=torch.channels_last)
    return lambda images: encoder.trunk(
        images.contiguous(memory_format=torch.channels_last)
    ).contiguous()
