"""The encoder's last blocks together with the head: what the later epochs train (METHOD 2.4).

It knows how to copy, train and name those blocks; not when, nor on what.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from vcn_ray.learn.views import encode_tail, mixed_precision
from vcn_ray.models.backbones import Backbone


class TailWithHead(nn.Module):
    """From the trunk's activations to the head's outputs; batch norm keeps its stored statistics.

    Args:
        encoder: Copied, so that the pack's own stays as it is.
        head: Copied too.
    """

    def __init__(self, encoder: Backbone, head: nn.Module) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(encoder).eval().requires_grad_(False)
        self.head = copy.deepcopy(head)
        for parameter in self.encoder.tail_parameters():
            parameter.requires_grad_(True)

    def forward(self, activations: Tensor) -> Tensor:
        """(b, ...) activations to (b, K) outputs z."""
        with mixed_precision(activations.device, trained=True):
            embeddings = encode_tail(self.encoder, activations).embeddings
        outputs: Tensor = self.head(embeddings)
        return outputs

    def trained(self) -> list[nn.Parameter]:
        """The parameters that change: the tail's, then the head's."""
        return [*self.encoder.tail_parameters(), *self.head.parameters()]

    def groups(self, tail_rate: float, head_rate: float) -> list[dict[str, object]]:
        """The same as an optimiser wants them, each part with its learning rate.

        Args:
            tail_rate: What a step moves a parameter of the tail, as a share of its root mean
                square. The weights of dlib's encoder are fifty times smaller than MobileFaceNet's:
                the rate that suits one wrecks the other.
            head_rate: The same for the head, whose scale is known, as it is.
        """
        tail: list[dict[str, object]] = [
            {"params": [p], "lr": tail_rate * float(p.detach().square().mean().sqrt())}
            for p in self.encoder.tail_parameters()
        ]
        return [*tail, {"params": list(self.head.parameters()), "lr": head_rate}]


def changed_tensors(tuned: Backbone, untuned: Backbone) -> dict[str, Tensor]:
    """Parameters of `tuned` that differ from `untuned`'s, by name, on the CPU."""
    before = dict(untuned.named_parameters())
    return {
        name: parameter.detach().cpu().clone()
        for name, parameter in tuned.named_parameters()
        if not torch.equal(parameter.detach(), before[name].detach())
    }
