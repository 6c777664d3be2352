"""The head g of METHOD 2: from an embedding to the outputs that the loss compares.

It knows nothing of encoders, losses or training.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

HIDDEN = 512
BOTTLENECK = 256
INIT_DEVIATION = 0.02


class Head(nn.Module):
    """MLP d-512-512-256 with GELU, L2-normalised, then K outputs with unit rows and no bias.

    The outputs of a unit vector on unit rows are cosines, in -1..1. Embeddings are first taken from
    the title's mean and normalised again: those of some encoders all point one way (two strangers
    have a cosine of 0.88 in dlib's), and a head on them as they come cannot tell people apart.

    Args:
        mean: (d,) of the title's embeddings.
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
        """(b, d) unit embeddings e to (b, K) outputs z."""
        centred = functional.normalize(embeddings - self.mean, dim=1)
        hidden = functional.gelu(self.first(centred))
        hidden = functional.gelu(self.second(hidden))
        hidden = functional.normalize(self.third(hidden), dim=1)
        return functional.linear(hidden, functional.normalize(self.last.weight, dim=1))


def _linear(inputs: int, outputs: int, generator: torch.Generator, bias: bool = True) -> nn.Linear:
    # Made on "meta" first: the usual initialisation would take numbers from the global generator.
    layer = nn.Linear(inputs, outputs, bias=bias, device="meta").to_empty(device="cpu")
    nn.init.trunc_normal_(layer.weight, std=INIT_DEVIATION, generator=generator)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer
