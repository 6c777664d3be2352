"""Two floors of a network's speed: its arithmetic at a measured rate, and the bytes that it moves.

Arithmetic is that of convolutions and matrix products. Bytes are what these read and write once
each, as if all other steps were part of them; weights count once a batch. No implementation of
these layers, one by one, can be faster than the slower of the two.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import onnx
import torch
from onnx import shape_inference
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from vcn_ray.models.backbones import Backbone
from vcn_ray.models.onnx_graph import graph_inputs, load_whole_model
from vcn_ray.models.onnx_session import hide_weights

FLOAT_BYTES = 4


class Work(NamedTuple):
    """What a network does to one picture."""

    flops: float  # a multiplication and an addition are two
    moved: float  # bytes of activations read and written
    weights: float  # bytes, read once a batch

    def fastest(self, rates: Rates, batch: int) -> tuple[float, float]:
        """Pictures a second by arithmetic, and by bytes."""
        arithmetic = rates.flops / self.flops
        return arithmetic, rates.bytes / (self.moved + self.weights / batch)


class Rates(NamedTuple):
    """What a device reaches on large arrays."""

    flops: float  # a second, in matrix products
    bytes: float  # read and written a second


def measured(work: Callable[[], object], clock: Callable[[], float], seconds: float) -> float:
    """Seconds of one call: the mean over calls for some time, after a call that does not count."""
    work()
    began, calls = clock(), 0
    while calls == 0 or clock() - began < seconds:
        work()
        calls += 1
    return (clock() - began) / calls


def device_clock(device: str) -> Callable[[], float]:
    """A clock that is read once the device has finished its work."""

    def clock() -> float:
        if device != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter()

    return clock


def matrix_rate(device: str, kind: torch.dtype, side: int, seconds: float) -> float:
    """Operations a second of a product of square matrices."""
    left, right = (torch.rand(side, side, device=device).to(kind) for _ in range(2))
    took = measured(lambda: torch.mm(left, right), device_clock(device), seconds)
    return 2.0 * side**3 / took


def copy_rate(device: str, size: int, seconds: float) -> float:
    """Bytes a second that are read or written while an array of `size` bytes is copied."""
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    took = measured(lambda: target.copy_(source), device_clock(device), seconds)
    return 2.0 * size / took


def upload_rate(device: str, size: int, seconds: float) -> float:
    """Bytes a second from main memory, as numpy has it, to the device."""
    source = torch.zeros(size, dtype=torch.uint8)
    return size / measured(lambda: source.to(device, copy=True), device_clock(device), seconds)


def onnx_work(path: Path, height: int, width: int) -> Work:
    """The work of an ONNX graph on one picture of a size."""
    model = load_whole_model(path)
    hide_weights(model)
    (picture,) = graph_inputs(model)
    for axis, side in enumerate((1, 3, height, width)):
        picture.type.tensor_type.shape.dim[axis].dim_value = side
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]  # of another size
    graph = shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.value_info, *graph.output)
    } | {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    weights = {tensor.name for tensor in graph.initializer}
    parts = [_node_work(node, shapes, weights) for node in graph.node]
    return Work(*(float(sum(values)) for values in zip(*parts, strict=True)))


def _node_work(node: onnx.NodeProto, shapes: dict[str, list[int]], weights: set[str]) -> Work:
    if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
        return Work(0, 0, 0)
    data, factor, output = (shapes[name] for name in (*node.input[:2], node.output[0]))
    if node.op_type == "Conv":
        flops = 2 * math.prod(output) * math.prod(factor[1:])
    elif node.op_type == "ConvTranspose":
        flops = 2 * math.prod(data) * math.prod(factor[1:])
    else:
        flops = 2 * math.prod(output) * data[-1]
    fixed = FLOAT_BYTES * math.prod(factor)
    is_weight = node.input[1] in weights
    moved = FLOAT_BYTES * (math.prod(data) + math.prod(output)) + (0 if is_weight else fixed)
    return Work(flops, moved, fixed if is_weight else 0)


def encoder_work(encoder: Backbone, value_bytes: int = FLOAT_BYTES) -> Work:
    """The work of an encoder on one crop; it runs once, where it is.

    Args:
        encoder: In eval mode.
        value_bytes: Of a value in the precision that counts.
    """
    device = next(encoder.parameters()).device
    side = encoder.input_pixels
    images = torch.rand(1, 3, side, side, device=device)
    moved = _Moved()
    with torch.no_grad():
        with FlopCounterMode(display=False) as counter:
            encoder(images)
        with moved:
            encoder(images)
    return Work(
        float(counter.get_total_flops()),
        float(moved.activations * value_bytes),
        float(moved.weights * value_bytes),
    )


class _Moved(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types here
    """Counts the values that convolutions and matrix products read and write.

    Attributes:
        activations: Values in and out.
        weights: Values of filters and matrices.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch has no types here
        self.activations = self.weights = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        place = _PLACES.get(func)
        if place is not None:
            data, factor = args[place], args[place + 1]
            self.activations += _values(data) + _values(output)
            self.weights += _values(factor)
        return output


_PLACES = {
    torch.ops.aten.convolution.default: 0,
    torch.ops.aten.mm.default: 0,
    torch.ops.aten.addmm.default: 1,  # behind the bias
}
"""Position of the data among the arguments of an operation; its weights follow."""


def _values(tensor: Tensor) -> int:
    return tensor.numel()
