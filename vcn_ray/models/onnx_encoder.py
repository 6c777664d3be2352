"""A face-ID encoder from an ONNX file, cut into the three parts of a Backbone.

The graph itself shows where to cut it. `project` begins at the last operator that mixes features.
The tail of a convolutional network is its last stage: it begins where the picture becomes smaller
for the last time. A vision transformer has no stages, and its tail is the last quarter of its
layers. Either cut is at a value on which alone all later values depend.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import onnx
import torch
from torch import Tensor, nn

from vcn_ray.errors import PackError
from vcn_ray.models.backbones import Backbone, channels_last_trunk
from vcn_ray.models.onnx_graph import FILTERS, OnnxGraph, graph_inputs, input_shape, read_graph

TAIL_FRACTION = 0.25  # of the layers, if the graph has no stages

MAX_VALUES = 1 << 27  # of one step for two pictures; the largest known net has 2 million

Shapes = dict[str, tuple[int, ...]]  # of values for one picture, without the batch axis


@dataclass(frozen=True)
class InputScale:
    """How pixels become the input of an encoder: (value - mean) / std, for each channel.

    Attributes:
        mean: In grey levels, 0 to 255, in the encoder's order of channels.
        std: In grey levels, in the encoder's order of channels.
        bgr: Whether the encoder takes blue first.
    """

    mean: tuple[float, float, float] = (127.5, 127.5, 127.5)
    std: tuple[float, float, float] = (127.5, 127.5, 127.5)
    bgr: bool = False


class OnnxEncoder(Backbone):
    """An encoder that runs, and is trained, as the graph of an ONNX file.

    Args:
        model: The graph, as `read_graph` returns it; its input is pictures (n, 3, p, p).
        scale: How pixels become its input.

    Raises:
        PackError: The graph takes no square pictures, gives no embeddings, or cannot be cut.
    """

    mean: Tensor
    std: Tensor
    scale: InputScale

    def __init__(self, model: onnx.ModelProto, scale: InputScale) -> None:
        super().__init__()
        self.graph = OnnxGraph(model)
        self.input_pixels = input_side(model)
        self.set_scale(scale)
        shapes = self._measure()
        self.dim = shapes[self.graph.output][-1]
        self._features = self._last_filter(shapes)
        self._feature_shape = shapes[self._features]
        self._cut = self._tail_start(shapes)
        self.eval()

    @classmethod
    def from_file(cls, path: Path, scale: InputScale) -> Self:
        """Read an ONNX file.

        Raises:
            PackError: The file is no ONNX graph, or no encoder that can be trained here.
        """
        return cls(read_graph(path), scale)

    def set_scale(self, scale: InputScale) -> None:
        """Change how pixels become the encoder's input."""
        self.scale = scale
        for name, values in (("mean", scale.mean), ("std", scale.std)):
            self.register_buffer(name, torch.tensor(values).reshape(3, 1, 1), persistent=False)

    def normalise(self, images: Tensor) -> Tensor:
        """Scale pixels as `scale` says, and put channels in the encoder's order."""
        images = images.flip(1) if self.scale.bgr else images
        return (images - self.mean) / self.std

    def trunk(self, images: Tensor) -> Tensor:
        """Compute the activations where the tail begins; their shape depends on the graph."""
        return self.graph.run(images, self.graph.input, self._cut)

    def tail(self, activations: Tensor) -> Tensor:
        """Compute features (b, h) from activations."""
        return self.graph.run(activations, self._cut, self._features).flatten(1)

    def project(self, features: Tensor) -> Tensor:
        """Compute embeddings (b, d), not normalised, from features (b, h)."""
        shaped = features.reshape(-1, *self._feature_shape)
        return self.graph.run(shaped, self._features, self.graph.output).flatten(1)

    def frozen_trunk(self) -> Callable[[Tensor], Tensor]:
        """Copy the trunk, with each batch norm as part of its convolution, see Backbone."""
        frozen = copy.deepcopy(self)
        frozen.graph.fold_batch_norms()
        if not any(self._cut in node.outputs for node in frozen.graph.nodes):
            frozen = copy.deepcopy(self)  # the cut is between a convolution and its batch norm
        return channels_last_trunk(frozen)

    def tail_parameters(self) -> list[nn.Parameter]:
        """List the parameters of the tail and the last layer."""
        return self.graph.parameters_between(self._cut, self.graph.output)

    def _measure(self) -> Shapes:
        """Run two blank pictures and note the shapes of all values that have one row for each."""
        side = self.input_pixels
        shapes: Shapes = {}
        with torch.no_grad():
            pictures = {self.graph.input: torch.zeros(2, 3, side, side)}
            for name, value in self.graph.trace(pictures):
                if value.numel() > MAX_VALUES:
                    raise PackError(
                        f"the ONNX graph computes {value.numel()} numbers at once: no encoder does"
                    )
                if value.ndim and value.shape[0] == 2:
                    shapes[name] = tuple(value.shape[1:])
        if len(shapes.get(self.graph.output, ())) != 1:
            raise PackError("the ONNX graph gives no embedding, one row per picture")
        return shapes

    def _last_filter(self, shapes: Shapes) -> str:
        """Name of the last layer's input."""
        for node, _ in reversed(self.graph.steps(self.graph.input, self.graph.output)):
            if node.op in FILTERS:
                (name,) = [name for name in node.inputs if name in shapes]
                return name
        raise PackError("the ONNX graph has no layer that can be trained")

    def _tail_start(self, shapes: Shapes) -> str:
        """Name of the bottleneck where the tail begins."""
        narrow = [n for n in self._bottlenecks(shapes) if n != self._features]
        maps = [n for n in narrow if len(shapes[n]) == 3 and min(shapes[n][1:]) > 1]
        min_rows = min((shapes[n][1] for n in maps), default=0)
        before = [n for n in maps if shapes[n][1] > min_rows]
        if len(before) < 2:
            return self._before_last(TAIL_FRACTION, narrow)
        rows = min(shapes[n][1] for n in before)
        stage = [n for n in before if shapes[n][1] == rows]
        sizes = sorted(math.prod(shapes[n]) for n in stage)
        usual = sizes[len(sizes) // 2]  # within a block, activations may be wider
        return next(n for n in reversed(stage) if math.prod(shapes[n]) <= usual)

    def _before_last(self, fraction: float, narrow: list[str]) -> str:
        """Name of the last bottleneck that leaves a fraction of the layers to the tail."""
        steps = self.graph.steps(self.graph.input, self.graph.output)
        layers = sum(node.op in FILTERS for node, _ in steps)
        passed, found = 0, self.graph.input
        for node, _ in steps:
            passed += node.op in FILTERS
            if passed > (1 - fraction) * layers:
                break
            found = next((name for name in node.outputs if name in narrow), found)
        return found

    def _bottlenecks(self, shapes: Shapes) -> list[str]:
        """Names of the values on which alone all later values depend, up to the last features."""
        steps = self.graph.steps(self.graph.input, self._features)
        last_use = {name: n for n, (node, _) in enumerate(steps) for name in node.inputs}
        alive = {self.graph.input}
        found = []
        for number, (node, _) in enumerate(steps):
            alive |= {name for name in node.outputs if name in shapes}
            alive = {name for name in alive if last_use.get(name, -1) > number}
            if len(alive) == 1 and node.outputs[0] in alive:
                found.append(node.outputs[0])
        return found


def input_side(model: onnx.ModelProto) -> int:
    """Side of the square pictures that a graph takes.

    Raises:
        PackError: The graph takes something else.
    """
    (graph_input,) = graph_inputs(model)
    shape = input_shape(graph_input)
    if len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3] or shape[2] < 1:
        raise PackError(
            f"the ONNX graph takes {graph_input.name} of {shape}: an encoder takes (n, 3, p, p)"
        )
    return shape[2]
