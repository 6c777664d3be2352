"""The encoder f of METHOD 2.1: its tail, its precision, and the part of it that later epochs train.

It knows how to run, copy and train those parts; not when, nor on what.
"""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from vcn_ray.models.backbones import Backbone

Unfrozen = Literal["tail", "all"]
"""The part of the encoder that is trained: its last blocks, or all of it."""


class Encoded(NamedTuple):
    """What an encoder makes of crops."""

    features: Tensor  # (b, h) input of its last layer
    embeddings: Tensor  # (b, d) unit e
    lengths: Tensor  # (b,) of the embeddings before they were made unit vectors


def encode_tail(encoder: Backbone, activations: Tensor) -> Encoded:
    """Run an encoder from the trunk's activations (b, ...) to its end, in float32 at the end."""
    features = encoder.tail(activations)
    embeddings = encoder.project(features).float()
    lengths = torch.linalg.vector_norm(embeddings, dim=1)
    return Encoded(features.float(), functional.normalize(embeddings, dim=1), lengths)


def mixed_precision(device: torch.device, trained: bool = False) -> torch.autocast:
    """Use half precision on a GPU only; bfloat16 in training, so that gradients do not vanish."""
    kind = torch.bfloat16 if trained else torch.float16
    return torch.autocast(device.type, dtype=kind, enabled=device.type == "cuda")


def repeatable(device: torch.device) -> AbstractContextManager[None]:
    """Restrict a GPU to kernels that sum in one order, so that two runs give the same bits."""
    cudnn = torch.backends.cudnn
    if device.type != "cuda":
        return nullcontext()
    flags: AbstractContextManager[None] = cudnn.flags(
        enabled=cudnn.enabled, deterministic=True, benchmark=False, allow_tf32=cudnn.allow_tf32
    )
    return flags


class EncoderWithHead(nn.Module):
    """The network g(f(x)) that is trained once the head alone is (METHOD 2.4).

    Batch norm keeps its stored statistics.

    Args:
        encoder: Copied, so that the pack's own stays as it is.
        head: Copied too.
        part: The part of the encoder that is trained.
    """

    def __init__(self, encoder: Backbone, head: nn.Module, part: Unfrozen) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(encoder).eval().requires_grad_(False)
        self.head = copy.deepcopy(head)
        self.part = part
        for parameter in self.encoder_parameters():
            parameter.requires_grad_(True)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map inputs to (b, K) outputs z.

        Args:
            inputs: The trunk's activations (b, ...) where the tail is trained; else pictures
                (b, 3, p, p), float32 RGB in 0..255.
        """
        with mixed_precision(inputs.device, trained=True):
            if self.part == "all":
                inputs = self.encoder.trunk(self.encoder.prepare(inputs))
            embeddings = encode_tail(self.encoder, inputs).embeddings
        outputs: Tensor = self.head(embeddings)
        return outputs

    def encoder_parameters(self) -> list[nn.Parameter]:
        """Return the encoder's trained parameters."""
        return (
            list(self.encoder.parameters())
            if self.part == "all"
            else self.encoder.tail_parameters()
        )

    def trained(self) -> list[nn.Parameter]:
        """Return all trained parameters: the encoder's, then the head's."""
        return [*self.encoder_parameters(), *self.head.parameters()]

    def groups(self, encoder_rate: float, head_rate: float) -> list[dict[str, object]]:
        """Return the trained parameters as an optimiser's groups, each with its learning rate.

        Args:
            encoder_rate: Step of a parameter of the encoder, as a fraction of its root mean square.
                The weights of dlib's encoder are fifty times smaller than MobileFaceNet's: an
                absolute rate that suits one wrecks the other.
            head_rate: Learning rate of the head, whose scale is known.
        """
        encoder: list[dict[str, object]] = [
            {"params": [p], "lr": encoder_rate * float(p.detach().square().mean().sqrt())}
            for p in self.encoder_parameters()
        ]
        return [*encoder, {"params": list(self.head.parameters()), "lr": head_rate}]


def changed_tensors(adapted: Backbone, pretrained: Backbone) -> dict[str, Tensor]:
    """Return the parameters of `adapted` that differ from `pretrained`'s, by name, on the CPU."""
    before = dict(pretrained.named_parameters())
    return {
        name: parameter.detach().cpu().clone()
        for name, parameter in adapted.named_parameters()
        if not torch.equal(parameter.detach(), before[name].detach())
    }
