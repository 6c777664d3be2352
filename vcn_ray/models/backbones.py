"""The trainable face-ID encoder as the method sees it; it knows no files and no training loop."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn


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
    def prepare(self, crops: Tensor) -> Tensor:
        """Crops to normalised images, (b, 3, p, p) float32.

        Args:
            crops: (b, p, p, 3) uint8 RGB, or (b, 3, p, p) float RGB in 0..255.
        """

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

        Convolutions on a CPU are faster with the channels of a pixel side by side in memory.
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
    return lambda images: encoder.trunk(images.contiguous(memory_format=torch.channels_last))
