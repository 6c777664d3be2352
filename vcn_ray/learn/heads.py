"""The head g of METHOD 2.1: from an embedding to the outputs that the loss compares.

It knows nothing of encoders or of training.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from vcn_ray.core.distance import soft_assign
from vcn_ray.learn.loss import Temperatures
from vcn_ray.records import F32, SoftAssignments

HIDDEN = 512
BOTTLENECK = 256
INIT_DEVIATION = 0.02


class Head(nn.Module):
    """MLP d-512-512-256 with GELU, L2-normalised, then K outputs with unit rows and no bias.

    The form is that of DINO's projection head (Caron et al. 2021, section 3.1), narrower. The
    outputs of a unit vector on unit rows are cosines, in -1..1. The title's mean is subtracted from
    the embeddings, which are then normalised again: those of some encoders all point one way (two
    strangers have a cosine of 0.88 in dlib's), and without this a head cannot tell people apart.

    Args:
        mean: (d,) mean of the title's embeddings.
        outputs: K.
        generator: On the CPU; all weights come from it, none from the global one.
    """

    mean: Tensor

    def __init__(self, mean: Tensor, outputs: int, generator: torch.Generator) -> None:
        super().__init__()
        self.register_buffer("mean", mean.detach().cpu().clone())
        dim = len(mean)
        self.first = _linear(dim, HIDDEN, generator)
        self.second = _linear(HIDDEN, HIDDEN, generator)
        self.third = _linear(HIDDEN, BOTTLENECK, generator)
        self.last = _linear(BOTTLENECK, outputs, generator, bias=False)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Map (b, d) unit embeddings e to (b, K) outputs z."""
        centred = functional.normalize(embeddings - self.mean, dim=1)
        hidden = functional.gelu(self.first(centred))
        hidden = functional.gelu(self.second(hidden))
        hidden = functional.normalize(self.third(hidden), dim=1)
        return functional.linear(hidden, functional.normalize(self.last.weight, dim=1))


def _linear(inputs: int, outputs: int, generator: torch.Generator, bias: bool = True) -> nn.Linear:
    # The layer starts on "meta": the usual initialisation would advance the global generator.
    layer = nn.Linear(inputs, outputs, bias=bias, device="meta").to_empty(device="cpu")
    nn.init.trunc_normal_(layer.weight, std=INIT_DEVIATION, generator=generator)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


class Projection(nn.Module):
    """A fixed random projection that replaces the head after a collapse (METHOD 2.8).

    It is an isometry where K >= d: cosines between outputs equal those between embeddings. Outputs
    have the mean norm that those of a head have, so that the temperatures mean the same.

    Args:
        dim: d.
        outputs: K.
        generator: On the CPU.
    """

    def __init__(self, dim: int, outputs: int, generator: torch.Generator) -> None:
        super().__init__()
        longer, shorter = max(dim, outputs), min(dim, outputs)
        basis, _ = torch.linalg.qr(torch.randn(longer, shorter, generator=generator))
        weight = basis if outputs >= dim else basis.T
        self.weight: Tensor
        self.register_buffer("weight", weight * (outputs / BOTTLENECK) ** 0.5)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Map (b, d) unit embeddings e to (b, K) outputs z."""
        return embeddings @ self.weight.T


class Student(NamedTuple):
    """The trained state of METHOD 2: it turns an embedding into both sides of the loss."""

    head: nn.Module  # (b, d) unit e to (b, K) z
    centre: Tensor  # (K,) c
    temperatures: Temperatures

    @torch.no_grad()
    def outputs(self, embeddings: Tensor) -> F32:
        """Map (b, d) unit embeddings on any device to (b, K) outputs z."""
        device = self.centre.device
        result: F32 = self.head(embeddings.to(device)).cpu().numpy()
        return result

    def soft(self, outputs: F32) -> SoftAssignments:
        """Return both sides of the loss for outputs (b, K)."""
        centre = self.centre.cpu().numpy()
        return soft_assign(outputs, centre, self.temperatures.teacher, self.temperatures.student)


def fallback_student(
    embeddings: Tensor, outputs: int, temperatures: Temperatures, generator: torch.Generator
) -> Student:
    """Return a student that keeps the geometry of the pretrained encoder (METHOD 2.8).

    Args:
        embeddings: (m, d) unit embeddings of the title's crops, which the outputs are centred on.
        outputs: K.
        temperatures: As of the head that it replaces.
        generator: On the CPU.
    """
    head = Projection(embeddings.shape[1], outputs, generator).to(embeddings.device)
    return Student(head, head(embeddings).mean(dim=0), temperatures)
