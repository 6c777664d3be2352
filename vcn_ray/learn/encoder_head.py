"""An encoder, or its last blocks, together with the head: what later epochs train (METHOD 2.4).

It knows how to copy, train and name those parts; not when, nor on what.
"""

from __future__ import annotations

import copy
from typing import Literal

import torch
from torch import Tensor, nn

from vcn_ray.learn.views import encode_tail, mixed_precision
from vcn_ray.models.backbones import Backbone

Part = Literal["tail", "all"]
"""What of the encoder is trained: its last blocks, or all of it."""


class EncoderWithHead(nn.Module):
    """From pictures, or the trunk's activations, to the head's outputs.

    Batch norm keeps its stored statistics.

    Args:
        encoder: Copied, so that the pack's own stays as it is.
        head: Copied too.
        part: What of the encoder is trained.
    """

    def __init__(self, encoder: Backbone, head: nn.Module, part: Part) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(encoder).eval().requires_grad_(False)
        self.head = copy.deepcopy(head)
        self.part = part
        for parameter in self.encoder_parameters():
            parameter.requires_grad_(True)

    def forward(self, inputs: Tensor) -> Tensor:
        """Activations (b, ...) of the tail, or pictures (b, 3, p, p) of all, to (b, K) outputs z.

        Pictures are RGB in 0..255.
        """
        with mixed_precision(inputs.device, trained=True):
            if self.part == "all":
                inputs = self.encoder.trunk(self.encoder.prepare(inputs))
            embeddings = encode_tail(self.encoder, inputs).embeddings
        outputs: Tensor = self.head(embeddings)
        return outputs

    def encoder_parameters(self) -> list[nn.Parameter]:
        """The encoder's parameters that change."""
        return (
            list(self.encoder.parameters())
            if self.part == "all"
            else self.encoder.tail_parameters()
        )

    def trained(self) -> list[nn.Parameter]:
        """The parameters that change: the encoder's, then the head's."""
        return [*self.encoder_parameters(), *self.head.parameters()]

    def groups(self, encoder_rate: float, head_rate: float) -> list[dict[str, object]]:
        """The same as an optimiser wants them, each part with its learning rate.

        Args:
            encoder_rate: What a step moves a parameter of the encoder, as a share of its root mean
                square. The weights of dlib's encoder are fifty times smaller than MobileFaceNet's:
                the rate that suits one wrecks the other.
            head_rate: The same for the head, whose scale is known, as it is.
        """
        encoder: list[dict[str, object]] = [
            {"params": [p], "lr": encoder_rate * float(p.detach().square().mean().sqrt())}
            for p in self.encoder_parameters()
        ]
        return [*encoder, {"params": list(self.head.parameters()), "lr": head_rate}]


def changed_tensors(tuned: Backbone, untuned: Backbone) -> dict[str, Tensor]:
    """Parameters of `tuned` that differ from `untuned`'s, by name, on the CPU."""
    before = dict(untuned.named_parameters())
    return {
        name: parameter.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, parameter in tuned.named_parameters()
        if not torch.equal(parameter.detach(), before[name].detach())
    }
