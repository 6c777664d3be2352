"""Writes an encoder as ONNX: as the graph that it was read from, or a torch module as a new graph.

It knows no packs; the caller says which file an encoder was read from.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from vcn_ray.models.backbones import Backbone
from vcn_ray.models.onnx_encoder import OnnxEncoder
from vcn_ray.models.onnx_graph import read_graph, write_graph

OPSET = 17
INPUT, OUTPUT = "crops", "embeddings"


class _FromCrops(nn.Module):
    """An encoder together with its scaling of pixels."""

    def __init__(self, encoder: Backbone) -> None:
        super().__init__()
        self._encoder = encoder

    def forward(self, crops: Tensor) -> Tensor:
        """Map crops (n, 3, p, p), float32 RGB 0 to 255, to embeddings (n, d), not normalised."""
        embeddings: Tensor = self._encoder(self._encoder.prepare(crops))
        return embeddings


def write_module(encoder: Backbone, path: Path) -> None:
    """Write an encoder as a new ONNX graph.

    The graph takes `crops` (n, 3, p, p), RGB pictures with grey levels 0 to 255 as float32, scales
    them itself and gives `embeddings` (n, d), which are not normalised.

    Args:
        encoder: On the CPU, in eval mode.
        path: The file to write.
    """
    side = encoder.input_pixels
    with warnings.catch_warnings():
        # The exporter that needs no further package warns that there is a newer one, and that some
        # shapes become constants.
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


def write_encoder(encoder: OnnxEncoder, source: Path, path: Path) -> None:
    """Write an encoder from an ONNX file as the graph of that file, with its present weights.

    Args:
        encoder: Read from `source`.
        source: The file with the graph.
        path: The file to write.
    """
    onnx.save(write_graph(encoder.graph, read_graph(source)), str(path))


def write_like(source: Path, encoder: Backbone, path: Path) -> None:
    """Write an encoder as the graph in `source` if it was read from one, else as a new graph."""
    if isinstance(encoder, OnnxEncoder):
        write_encoder(encoder, source, path)
    else:
        write_module(encoder, path)


def describe_input(encoder: Backbone) -> str:
    """Say what the written graph of an encoder takes, for people."""
    side = encoder.input_pixels
    if not isinstance(encoder, OnnxEncoder):
        return f"crops of {side} pixels, RGB, grey levels 0 to 255"
    mean, std = (" ".join(f"{x:g}" for x in v) for v in (encoder.scale.mean, encoder.scale.std))
    order = "BGR" if encoder.scale.bgr else "RGB"
    return f"crops of {side} pixels, {order}, (grey level - {mean}) / {std}"
