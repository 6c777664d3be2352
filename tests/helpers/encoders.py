"""Small face-ID encoders as seeded torch modules, and what torch makes of them in ONNX."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from vcn_ray.models.iresnet import IResNet

Net = TypeVar("Net", bound=nn.Module)


def _conv_block(inputs: int, outputs: int, kernel: int, stride: int, groups: int) -> nn.Module:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.PReLU(outputs))


class DepthWise(nn.Module):
    """Widen, filter each channel, narrow; with the input added where shapes agree."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.residual = stride == 1 and inputs == outputs
        self.body = nn.Sequential(
            _conv_block(inputs, 2 * inputs, 1, 1, 1),
            _conv_block(2 * inputs, 2 * inputs, 3, stride, 2 * inputs),
            nn.Conv2d(2 * inputs, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x)
        return x + out if self.residual else out


class MobileNet(nn.Module):
    """MobileFaceNet with PReLU, as InsightFace trains it, narrow."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _conv_block(3, width, 3, 2, 1),
            DepthWise(width, width, 2),
            DepthWise(width, width, 1),
            DepthWise(width, 2 * width, 2),
            DepthWise(2 * width, 2 * width, 1),
            DepthWise(2 * width, 2 * width, 2),
            DepthWise(2 * width, 2 * width, 1),
            _conv_block(2 * width, 4 * width, 1, 1, 1),
            nn.Conv2d(4 * width, 4 * width, 7, groups=4 * width, bias=False),
            nn.BatchNorm2d(4 * width),
            nn.Flatten(),
        )
        self.linear = nn.Linear(4 * width, 24, bias=False)
        self.bn = nn.BatchNorm1d(24)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(self.linear(self.body(x)))
        return out


class Attention(nn.Module):
    """Self-attention of several heads, written out."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        count, tokens, width = x.shape
        parts = self.qkv(x).reshape(count, tokens, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1) * (width // self.heads) ** -0.5).softmax(dim=-1)
        out: Tensor = self.proj((weights @ v).transpose(1, 2).reshape(count, tokens, width))
        return out


class VisionBlock(nn.Module):
    """Norm, attention, norm, two layers; each with its input added."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class VisionTransformer(nn.Module):
    """A ViT as for faces: patches, places, blocks, all tokens into one layer."""

    def __init__(self, width: int = 16, depth: int = 4, patch: int = 16) -> None:
        super().__init__()
        tokens = (112 // patch) ** 2
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.places = nn.Parameter(torch.zeros(1, tokens, width))
        self.blocks = nn.Sequential(*(VisionBlock(width, 2) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.feature = nn.Sequential(
            nn.Linear(width * tokens, 40, bias=False),
            nn.BatchNorm1d(40),
            nn.Linear(40, 20, bias=False),
            nn.BatchNorm1d(20),
        )

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.places
        hidden = self.norm(self.blocks(tokens))
        out: Tensor = self.feature(hidden.reshape(hidden.shape[0], -1))
        return out


ENCODERS: dict[str, Callable[[], nn.Module]] = {
    "iresnet": partial(IResNet, (1, 1, 1, 1), dim=32, width=8),
    "mobilefacenet": MobileNet,
    "vit": VisionTransformer,
}


def seeded(kind: str, seed: int = 0) -> nn.Module:
    """An encoder whose every number, statistics too, is drawn; in eval mode."""
    torch.manual_seed(seed)
    return drawn(ENCODERS[kind]())


def drawn(model: Net) -> Net:
    """A module with statistics, norms and biases drawn, so that none is left out unseen."""
    with torch.no_grad():
        for name, values in model.state_dict().items():
            if name.endswith("running_var"):
                values.uniform_(0.5, 1.5)
            elif name.endswith("running_mean") or (values.is_floating_point() and values.ndim == 1):
                values.add_(0.1 * torch.randn(values.shape))
            elif name.endswith("places"):
                values.normal_(0.0, 0.5)
    return model.eval()


def export(model: nn.Module, path: Path, folded: bool = True, opset: int = 17) -> None:
    """Write a module as ONNX, its batch norms folded into convolutions or kept."""
    mode = torch.onnx.TrainingMode.EVAL if folded else torch.onnx.TrainingMode.PRESERVE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter that needs no further package
        torch.onnx.export(
            model,
            (torch.zeros(1, 3, 112, 112),),
            str(path),
            input_names=["data"],
            output_names=["embedding"],
            dynamic_axes={"data": {0: "n"}, "embedding": {0: "n"}},
            opset_version=opset,
            training=mode,
            do_constant_folding=folded,
            dynamo=False,
        )
