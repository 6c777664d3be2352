"""Writes an encoder as ONNX: as the graph that it came from, or a torch module as a new one."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from vcn_ray.models.backbones import Backbone
from vcn_ray.models.onnx_encoder import OnnxEncoder, write_encoder

OPSET = 17
INPUT, OUTPUT = "crops", "embeddings"


class _FromCrops(nn.Module):
    """An encoder together with what it does to pixels first."""

    def __init__(self, encoder: Backbone) -> None:
        super().__init__()
        self._encoder = encoder

    def forward(self, crops: Tensor) -> Tensor:
        """(n, 3, p, p) float32 RGB in 0..255 to embeddings (n, d), not normalised."""
        embeddings: Tensor = self._encoder(self._encoder.prepare(crops))
        return embeddings


def write_module(encoder: Backbone, path: Path) -> None:
    """Write an encoder as ONNX.

    The graph takes `crops`, any number of RGB pictures (3, p, p) of grey levels 0 to 255 as
    float32, scales them itself and gives `embeddings`, which are not normalised.

    Args:
        encoder: On the CPU, in eval mode.
        path: Where to write.
    """
    side = encoder.input_pixels
    with warnings.catch_warnings():
        # The exporter that needs no further package says that there is another, and of shapes that
        # are the same for every picture that they are.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _FromCrops(encoder).eval(),
            (torch.zeros(1, 3, side, side),),
            str(path),
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes={INPUT: {0: "n"}, OUTPUT: {0: "n"}},
            opset_version=OPSET,
            dynamo=False,
        )


def write_like(source: Path, encoder: Backbone, path: Path) -> None:
    """Write an encoder as the graph in `source` with what it has learned, if it came from one."""
    if isinstance(encoder, OnnxEncoder):
        write_encoder(encoder, source, path)
    else:
        write_module(encoder, path)


def describe_input(encoder: Backbone) -> str:
    """What the graph that is written of an encoder takes, for people."""
    side = encoder.input_pixels
    if not isinstance(encoder, OnnxEncoder):
        return f"crops of {side} pixels, RGB, grey levels 0 to 255"
    mean, std = (" ".join(f"{x:g}" for x in v) for v in (encoder.scale.mean, encoder.scale.std))
    order = "BGR" if encoder.scale.bgr else "RGB"
    return f"crops of {side} pixels, {order}, (grey level - {mean}) / {std}"
