"""A face-ID encoder from an ONNX file, cut in three as the method wants it.

Where a graph is cut is read from the graph. `project` begins at the last operator that mixes
features. The tail begins where the picture becomes smaller for the last time, which is the last
stage of a convolutional network; a vision transformer has no such place, and its tail is the last
quarter of its layers. Both ends are values that all that follows depends on alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import onnx
import torch
from torch import Tensor, nn

from vcn_ray.errors import PackError
from vcn_ray.models.backbones import Backbone
from vcn_ray.models.onnx_graph import FILTERS, OnnxGraph, read_graph, write_graph

TAIL_SHARE = 0.25  # of the layers, where no stage tells where the tail begins


@dataclass(frozen=True)
class InputScale:
    """How pixels become what an encoder takes: (value - mean) / std, by channel.

    Attributes:
        mean: In grey levels, 0 to 255, in the order of `bgr`.
        std: Likewise.
        bgr: Whether blue comes first.
    """

    mean: tuple[float, float, float] = (127.5, 127.5, 127.5)
    std: tuple[float, float, float] = (127.5, 127.5, 127.5)
    bgr: bool = False


class OnnxEncoder(Backbone):
    """An encoder that runs, and learns, as the graph of an ONNX file.

    Args:
        model: The graph, with one picture of (3, p, p) a row as input.
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
            PackError: It is no such file, or no encoder that can be trained here.
        """
        return cls(read_graph(path), scale)

    def set_scale(self, scale: InputScale) -> None:
        """Have pixels become its input in another way from now on."""
        self.scale = scale
        for name, values in (("mean", scale.mean), ("std", scale.std)):
            self.register_buffer(name, torch.tensor(values).reshape(3, 1, 1), persistent=False)

    def normalise(self, images: Tensor) -> Tensor:
        """The scale of the file, in its own order of channels."""
        images = images.flip(1) if self.scale.bgr else images
        return (images - self.mean) / self.std

    def trunk(self, images: Tensor) -> Tensor:
        """Normalised images to the activations where the tail begins."""
        return self.graph.run(images, self.graph.input, self._cut)

    def tail(self, activations: Tensor) -> Tensor:
        """Activations to features (b, h)."""
        return self.graph.run(activations, self._cut, self._features).flatten(1)

    def project(self, features: Tensor) -> Tensor:
        """Features (b, h) to embeddings (b, d), not normalised."""
        shaped = features.reshape(-1, *self._feature_shape)
        return self.graph.run(shaped, self._features, self.graph.output).flatten(1)

    def tail_parameters(self) -> list[nn.Parameter]:
        """Parameters of the tail and the last layer."""
        return self.graph.parameters_between(self._cut, self.graph.output)

    def _measure(self) -> dict[str, tuple[int, ...]]:
        """Shapes of all values of one picture, without the first axis."""
        side = self.input_pixels
        shapes: dict[str, tuple[int, ...]] = {}
        with torch.no_grad():
            there = {self.graph.input: torch.zeros(2, 3, side, side)}
            for name, value in self.graph.trace(there):
                if value.ndim and value.shape[0] == 2:
                    shapes[name] = tuple(value.shape[1:])
        if len(shapes.get(self.graph.output, ())) != 1:
            raise PackError("the ONNX graph gives no embedding, one row a picture")
        return shapes

    def _last_filter(self, shapes: dict[str, tuple[int, ...]]) -> str:
        """The value that the last layer takes in."""
        for node, _ in reversed(self.graph.steps(self.graph.input, self.graph.output)):
            if node.op in FILTERS:
                (name,) = [name for name in node.inputs if name in shapes]
                return name
        raise PackError("the ONNX graph has no layer that can be trained")

    def _tail_start(self, shapes: dict[str, tuple[int, ...]]) -> str:
        """Of the values that alone lead on, the one where the tail begins."""
        narrow = [n for n in self._bottlenecks(shapes) if n != self._features]
        maps = [n for n in narrow if len(shapes[n]) == 3 and min(shapes[n][1:]) > 1]
        least = min((shapes[n][1] for n in maps), default=0)
        before = [n for n in maps if shapes[n][1] > least]
        if len(before) > 1:  # inside a block, activations may be wider than between blocks
            return min(reversed(before), key=lambda n: math.prod(shapes[n]))
        return self._before_last(TAIL_SHARE, narrow)

    def _before_last(self, share: float, narrow: list[str]) -> str:
        """The last bottleneck that leaves a share of the layers to the tail."""
        steps = self.graph.steps(self.graph.input, self.graph.output)
        layers = sum(node.op in FILTERS for node, _ in steps)
        passed, found = 0, self.graph.input
        for node, _ in steps:
            passed += node.op in FILTERS
            if passed > (1 - share) * layers:
                break
            found = next((name for name in node.outputs if name in narrow), found)
        return found

    def _bottlenecks(self, shapes: dict[str, tuple[int, ...]]) -> list[str]:
        """Values that all that follows depends on alone, in order, up to the last features."""
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


def write_encoder(encoder: OnnxEncoder, source: Path, path: Path) -> None:
    """Write an encoder as ONNX, with what it has learned.

    Args:
        encoder: One that was read from `source`.
        source: The file that has the graph.
        path: Where to write.
    """
    onnx.save(write_graph(encoder.graph, read_graph(source)), str(path))


def input_side(model: onnx.ModelProto) -> int:
    """Side of the square picture that a graph takes.

    Raises:
        PackError: It takes something else.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    (given,) = [value for value in model.graph.input if value.name not in weights]
    sides = [axis.dim_value for axis in given.type.tensor_type.shape.dim]
    if len(sides) != 4 or sides[1] != 3 or sides[2] != sides[3] or sides[2] < 1:
        raise PackError(
            f"the ONNX graph takes {given.name} of {sides}: an encoder takes (n, 3, p, p)"
        )
    return int(sides[2])
