"""ONNX graphs of encoders as torch modules that can be trained; it knows nothing of faces.

A small importer of our own: `onnx2torch` needs torchvision for operators that no encoder has, and
gives no way to cut a graph in two. The operators are those of IResNet, MobileFaceNet and vision
transformers as torch exports them; any other is an error that names it, never a wrong result.

What is trained: the filters, matrices, biases and slopes that a graph holds as floats. A batch
norm always uses its stored statistics, in train mode too, and its scale and shift are trained; one
that the exporter folded into a convolution is trained as that. What stands before the first filter
is the graph's own normalisation of its input and stays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from vcn_ray.errors import PackError

Attributes = dict[str, Any]
Given = list[Any]  # tensors; None where an optional input is left out
Operator = Callable[[Given, Attributes], Any]  # gives a tensor, or a tuple of them

FILTERS = ("Conv", "Gemm", "MatMul")
"""Operators that mix features: what "layers" are counted by."""

STATISTICS = {"BatchNormalization": (3, 4)}
"""Inputs that are measured, not trained, by operator."""

LEAST_OPSET = 11


@dataclass(frozen=True)
class Node:
    """One step of a graph; names of values are those of the file."""

    op: str
    inputs: tuple[str, ...]  # "" where an optional one is left out
    outputs: tuple[str, ...]
    attributes: Attributes


def _pool_padding(attributes: Attributes) -> list[int]:
    pads = list(attributes.get("pads", [0, 0, 0, 0]))
    half = len(pads) // 2
    if pads[:half] != pads[half:]:
        raise PackError(f"an ONNX operator with uneven padding {pads} is not supported")
    return pads[:half]


def _conv(given: Given, attributes: Attributes) -> Any:
    values, weight, bias = (*given, None)[:3]
    if attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise PackError(f"ONNX Conv with auto_pad {attributes['auto_pad']} is not supported")
    if torch.is_grad_enabled():  # see Backbone.prepare: a graph may permute on its way
        values, weight = values.contiguous(), weight.contiguous()
    return functional.conv2d(
        values,
        weight,
        bias,
        stride=attributes.get("strides", [1, 1]),
        padding=_pool_padding(attributes),
        dilation=attributes.get("dilations", [1, 1]),
        groups=attributes.get("group", 1),
    )


def _batch_norm(given: Given, attributes: Attributes) -> Any:
    values, scale, shift, mean, variance = given
    epsilon = attributes.get("epsilon", 1e-5)
    return functional.batch_norm(values, mean, variance, scale, shift, False, 0.0, epsilon)


def _gemm(given: Given, attributes: Attributes) -> Any:
    left, right, add = (*given, None)[:3]
    left = left.T if attributes.get("transA") else left
    right = right.T if attributes.get("transB") else right
    product: Tensor = attributes.get("alpha", 1.0) * (left @ right)
    return product if add is None else product + attributes.get("beta", 1.0) * add


def _prelu(given: Given, _: Attributes) -> Any:
    values, slope = given
    return torch.where(values >= 0, values, slope * values)


def _clip(given: Given, _: Attributes) -> Any:
    values, low, high = (*given, None, None)[:3]
    return torch.clamp(values, low, high)


def _flatten(given: Given, attributes: Attributes) -> Any:
    (values,) = given
    axis = attributes.get("axis", 1) % max(values.ndim, 1)
    return values.reshape(int(np.prod(values.shape[:axis], dtype=int)), -1)


def _reshape(given: Given, _: Attributes) -> Any:
    values, shape = given
    wanted = [int(side) for side in shape]
    return values.reshape([values.shape[n] if side == 0 else side for n, side in enumerate(wanted)])


def _layer_norm(given: Given, attributes: Attributes) -> Any:
    values, scale, shift = (*given, None)[:3]
    shape = values.shape[attributes.get("axis", -1) % values.ndim :]
    return functional.layer_norm(values, shape, scale, shift, attributes.get("epsilon", 1e-5))


def _softmax(given: Given, attributes: Attributes) -> Any:
    (values,) = given
    return torch.softmax(values, attributes.get("axis", -1))


def _reduce_mean(given: Given, attributes: Attributes) -> Any:
    values, axes = (*given, None)[:2]
    dims = attributes.get("axes") if axes is None else [int(axis) for axis in axes]
    return values.mean(dims, keepdim=bool(attributes.get("keepdims", 1)))


def _average_pool(given: Given, attributes: Attributes) -> Any:
    (values,) = given
    return functional.avg_pool2d(
        values,
        attributes["kernel_shape"],
        attributes.get("strides", [1, 1]),
        _pool_padding(attributes),
        bool(attributes.get("ceil_mode", 0)),
        bool(attributes.get("count_include_pad", 0)),
    )


def _max_pool(given: Given, attributes: Attributes) -> Any:
    (values,) = given
    return functional.max_pool2d(
        values,
        attributes["kernel_shape"],
        attributes.get("strides", [1, 1]),
        _pool_padding(attributes),
        attributes.get("dilations", [1, 1]),
        bool(attributes.get("ceil_mode", 0)),
    )


def _slice(given: Given, _: Attributes) -> Any:
    values, starts, ends, axes, steps = (*given, None, None)[:5]
    where = range(len(starts)) if axes is None else [int(axis) for axis in axes]
    strides = [1] * len(starts) if steps is None else [int(step) for step in steps]
    for axis, start, end, step in zip(where, starts.tolist(), ends.tolist(), strides, strict=True):
        if step < 1:
            raise PackError("an ONNX Slice that runs backwards is not supported")
        size = values.shape[axis]
        first, last, _step = slice(start, end).indices(size)
        values = values.narrow(axis, first, max(0, last - first))
        values = values[(slice(None),) * (axis % values.ndim) + (slice(None, None, step),)]
    return values


def _split(given: Given, attributes: Attributes) -> Any:
    values, sizes = (*given, None)[:2]
    axis = attributes.get("axis", 0)
    parts = attributes.get("split") if sizes is None else sizes.tolist()
    if parts is None:
        return torch.tensor_split(values, attributes["outputs"], axis)
    return tuple(torch.split(values, list(parts), axis))


def _gather(given: Given, attributes: Attributes) -> Any:
    values, index = given
    axis = attributes.get("axis", 0) % values.ndim
    index = torch.where(index < 0, index + values.shape[axis], index)
    found = torch.index_select(values, axis, index.reshape(-1))
    return found.reshape((*values.shape[:axis], *index.shape, *values.shape[axis + 1 :]))


def _unsqueeze(given: Given, attributes: Attributes) -> Any:
    values, axes = (*given, None)[:2]
    dims = attributes["axes"] if axes is None else axes.tolist()
    for axis in sorted(axis % (values.ndim + len(dims)) for axis in dims):
        values = values.unsqueeze(axis)
    return values


def _squeeze(given: Given, attributes: Attributes) -> Any:
    values, axes = (*given, None)[:2]
    dims = attributes.get("axes") if axes is None else axes.tolist()
    return values.squeeze() if dims is None else values.squeeze(tuple(dims))


def _expand(given: Given, _: Attributes) -> Any:
    values, shape = given
    return values * torch.ones(shape.tolist(), dtype=values.dtype, device=values.device)


def _cast(given: Given, attributes: Attributes) -> Any:
    (values,) = given
    kind = onnx.helper.tensor_dtype_to_np_dtype(attributes["to"])
    return values.to(torch.from_numpy(np.empty(0, kind)).dtype)


def _plain(call: Callable[..., Tensor]) -> Operator:
    """An operator without attributes, all of whose inputs are there."""
    return lambda given, _: call(*given)


OPERATORS: dict[str, Operator] = {
    "Add": _plain(torch.add),
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": lambda given, attributes: torch.cat(
        [value for value in given if value is not None], attributes["axis"]
    ),
    "Conv": _conv,
    "Div": _plain(
        lambda a, b: torch.div(a, b, rounding_mode=None if a.is_floating_point() else "floor")
    ),
    "Dropout": lambda given, _: given[0],  # encoders run as they do in use
    "Erf": _plain(torch.erf),
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Gelu": lambda given, attributes: functional.gelu(
        given[0], approximate=attributes.get("approximate", "none")
    ),
    "Gemm": _gemm,
    "GlobalAveragePool": _plain(lambda x: x.mean((2, 3), keepdim=True)),
    "HardSigmoid": lambda given, attributes: torch.clamp(
        attributes.get("alpha", 0.2) * given[0] + attributes.get("beta", 0.5), 0.0, 1.0
    ),
    "HardSwish": _plain(functional.hardswish),
    "Identity": _plain(lambda x: x),
    "LayerNormalization": _layer_norm,
    "LeakyRelu": lambda given, attributes: functional.leaky_relu(
        given[0], attributes.get("alpha", 0.01)
    ),
    "MatMul": _plain(torch.matmul),
    "MaxPool": _max_pool,
    "Mul": _plain(torch.mul),
    "Neg": _plain(torch.neg),
    "PRelu": _prelu,
    "Pow": _plain(torch.pow),
    "ReduceMean": _reduce_mean,
    "Relu": _plain(torch.relu),
    "Reshape": _reshape,
    "Shape": _plain(lambda x: torch.tensor(x.shape, dtype=torch.int64)),
    "Sigmoid": _plain(torch.sigmoid),
    "Slice": _slice,
    "Softmax": _softmax,
    "Split": _split,
    "Sqrt": _plain(torch.sqrt),
    "Squeeze": _squeeze,
    "Sub": _plain(torch.sub),
    "Tanh": _plain(torch.tanh),
    "Transpose": lambda given, attributes: given[0].permute(attributes["perm"]),
    "Unsqueeze": _unsqueeze,
}


def read_graph(path: Path) -> onnx.ModelProto:
    """Read an ONNX file; it is data, and nothing in it is run.

    Raises:
        PackError: It is no such file, has several inputs or outputs, is older than opset 11, or
            keeps weights in other files.
    """
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf's and onnx's errors share no base class
        words = " ".join(str(error).split())[:200]
        raise PackError(f"{path} is no ONNX graph ({words}): give one") from error
    if not model.graph.node:
        raise PackError(f"{path} is no ONNX graph, or an empty one: give one")
    if any(t.data_location == onnx.TensorProto.EXTERNAL for t in model.graph.initializer):
        raise PackError(f"{path} keeps its weights in other files: save it as one file")
    opset = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)
    if opset < LEAST_OPSET:
        raise PackError(
            f"{path} is of ONNX opset {opset}: convert it to {LEAST_OPSET} or newer, as by "
            "onnx.version_converter"
        )
    if len(inputs_of(model)) != 1 or len(model.graph.output) != 1:
        raise PackError(f"{path} has not one input and one output: it is no face-ID encoder")
    return model


def inputs_of(model: onnx.ModelProto) -> list[str]:
    """Names of a graph's inputs; old files list their weights among them."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [value.name for value in model.graph.input if value.name not in weights]


class OnnxGraph(nn.Module):
    """A graph that runs and learns as a torch module.

    Args:
        model: The graph, as of read_graph.

    Attributes:
        nodes: Its steps, in an order in which they can be run.
        input: Name of its input.
        output: Name of its output.
        weights: What is trained, by names without dots; `weight_names` has those of the file.

    Raises:
        PackError: It has an operator that is not known.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        super().__init__()
        self.nodes = _nodes_of(model)
        self.input, self.output = inputs_of(model)[0], model.graph.output[0].name
        trained = _trained(model, self.nodes, self.input)
        self.weight_names: dict[str, str] = {}  # of the file, to our own
        self.weights = nn.ParameterDict()
        self.constant_names: dict[str, str] = {}
        for number, (name, values) in enumerate(_constants(model)):
            tensor = torch.from_numpy(np.array(values))
            if name in trained:
                self.weight_names[name] = f"w{number:04d}"
                self.weights[f"w{number:04d}"] = nn.Parameter(tensor.float())
            else:
                self.constant_names[name] = f"c{number:04d}"
                self.register_buffer(f"c{number:04d}", tensor, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """The graph's output for its input."""
        return self.run(images, self.input, self.output)

    def run(self, values: Tensor, start: str, end: str) -> Tensor:
        """The part of the graph from one of its values to another.

        Args:
            values: What stands for the value `start`.
            start: Name of a value.
            end: Name of a value that depends on `start` alone, and on constants.
        """
        there = {start: values}
        for _ in self.trace(there, end):
            continue
        return there[end]

    def trace(
        self, there: dict[str, Tensor], end: str | None = None
    ) -> Iterator[tuple[str, Tensor]]:
        """Each value on the way from one that is there to another, which comes last.

        Args:
            there: The one, by its name; values are dropped from it as soon as nothing needs them.
            end: Name of the other; the output if None.
        """
        (start,) = there
        end = end or self.output
        yield start, there[start]
        for node, done in self.steps(start, end):
            given = [self._value(name, there) for name in node.inputs]
            found = OPERATORS[node.op](given, node.attributes)
            outputs = found if isinstance(found, tuple) else (found,)
            there.update(zip(node.outputs, outputs, strict=False))
            yield from zip(node.outputs, outputs, strict=False)
            for name in done:
                there.pop(name, None)

    def steps(self, start: str, end: str) -> list[tuple[Node, tuple[str, ...]]]:
        """Steps between two values, and what each was the last to need."""
        wanted, chosen = {end}, []
        for node in reversed(self.nodes):
            if wanted.isdisjoint(node.outputs) or start in node.outputs:
                continue
            fresh = {name for name in node.inputs if name not in wanted}
            wanted |= fresh
            chosen.append((node, tuple(fresh - {end})))
        return chosen[::-1]

    def parameters_between(self, start: str, end: str) -> list[nn.Parameter]:
        """What is trained between two values, each once."""
        names = dict.fromkeys(n for node, _ in self.steps(start, end) for n in node.inputs)
        return [self.weights[self.weight_names[n]] for n in names if n in self.weight_names]

    def _value(self, name: str, there: dict[str, Tensor]) -> Tensor | None:
        if not name:
            return None
        if name in there:
            return there[name]
        if name in self.weight_names:
            weight: Tensor = self.weights[self.weight_names[name]]
            return weight
        return self.get_buffer(self.constant_names[name])


def write_graph(graph: OnnxGraph, model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the file that a graph was read from, with the weights that it has learned."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for tensor in copy.graph.initializer:
        ours = graph.weight_names.get(tensor.name)
        if ours is not None:
            values = graph.weights[ours].detach().cpu().numpy()
            values = values.astype(numpy_helper.to_array(tensor).dtype)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return copy


def _nodes_of(model: onnx.ModelProto) -> list[Node]:
    nodes = []
    for node in model.graph.node:
        if node.op_type == "Constant":
            continue
        if node.op_type not in OPERATORS or node.domain not in ("", "ai.onnx"):
            raise PackError(
                f"the ONNX operator {node.op_type} of {node.name or node.output[0]} is not known "
                "here, so this graph cannot be trained"
            )
        attributes: Attributes = {"outputs": len(node.output)}
        for attribute in node.attribute:
            value = onnx.helper.get_attribute_value(attribute)
            attributes[attribute.name] = value.decode() if isinstance(value, bytes) else value
        nodes.append(Node(node.op_type, tuple(node.input), tuple(node.output), attributes))
    return nodes


def _constants(model: onnx.ModelProto) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    for tensor in model.graph.initializer:
        yield tensor.name, numpy_helper.to_array(tensor)
    for node in model.graph.node:
        if node.op_type == "Constant":
            (value,) = (onnx.helper.get_attribute_value(a) for a in node.attribute)
            is_tensor = isinstance(value, onnx.TensorProto)
            yield node.output[0], numpy_helper.to_array(value) if is_tensor else np.array(value)


def _trained(model: onnx.ModelProto, nodes: Sequence[Node], start: str) -> set[str]:
    """Names of weights that are trained: those that steps take in from the first filter on.

    Single numbers are limits, roots and the like, but for the slope that all of a PReLU share.
    """
    floats = {
        tensor.name: math.prod(tensor.dims)
        for tensor in model.graph.initializer
        if np.issubdtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type), np.floating)
    }
    raw = {start}  # what nothing but the normalisation of the input has gone into
    trained: set[str] = set()
    for node in nodes:
        if node.op not in FILTERS and any(name in raw for name in node.inputs):
            raw.update(node.outputs)
            continue
        measured = STATISTICS.get(node.op, ())
        trained.update(
            name
            for n, name in enumerate(node.inputs)
            if n not in measured and (floats.get(name, 0) > 1 or node.op == "PRelu")
        )
    return trained & set(floats)
