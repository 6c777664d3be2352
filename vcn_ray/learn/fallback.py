"""What stands in for the trained head after a collapse (METHOD 2.8)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vcn_ray.learn.heads import BOTTLENECK
from vcn_ray.learn.loss import Temperatures
from vcn_ray.learn.outputs import Student


class Projection(nn.Module):
    """A fixed random projection without loss: cosines between outputs are those of embeddings.

    Outputs have the norm that those of a head have on average, so that temperatures mean the same.
    """

    def __init__(self, dim: int, outputs: int, generator: torch.Generator) -> None:
        super().__init__()
        longer, shorter = max(dim, outputs), min(dim, outputs)
        basis, _ = torch.linalg.qr(torch.randn(longer, shorter, generator=generator))
        weight = basis if outputs >= dim else basis.T
        self.weight: Tensor
        self.register_buffer("weight", weight * (outputs / BOTTLENECK) ** 0.5)

    def forward(self, embeddings: Tensor) -> Tensor:
        """(b, d) unit embeddings to (b, K) outputs."""
        return embeddings @ self.weight.T


def fallback_student(
    embeddings: Tensor, outputs: int, temperatures: Temperatures, generator: torch.Generator
) -> Student:
    """A student that knows no more than the untuned embeddings (m, d) it is centred on."""
    head = Projection(embeddings.shape[1], outputs, generator).to(embeddings.device)
    return Student(head, head(embeddings).mean(dim=0), temperatures)
