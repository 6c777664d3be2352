"""ONNX graphs of encoders as torch modules that can be trained; it knows nothing of faces.

The package onnx2torch would need torchvision for operators that no encoder has, and cannot cut a
graph in two, so this is a small importer of its own. `onnx_operators` has its operators.

Training changes the filters, matrices, biases and slopes that a graph stores as floats. A batch
norm always uses its stored statistics, in train mode too, and its scale and shift are trained; a
batch norm that the exporter folded into a convolution is trained as part of it. Steps before the
first filter are the graph's own normalisation of its input, and are not trained.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn

from vcn_ray.errors import PackError
from vcn_ray.models.onnx_operators import OPERATORS, Attributes
from vcn_ray.redact import one_line

FILTERS = ("Conv", "Gemm", "MatMul")
"""Operators that mix features; a graph has as many layers as it has of these."""

STATISTICS = {"BatchNormalization": (3, 4)}
"""Inputs that are measured and not trained, by operator."""

RESTORED = ("DequantizeLinear", "Reshape")
"""Steps that turn weights kept as small integers into floats."""

MIN_OPSET = 11
DOMAINS = ("", "ai.onnx")  # both mean ONNX's own operators


def graph_inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """List the inputs of a graph; old files list their weights among them, which do not count."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in weights]


def input_shape(value: onnx.ValueInfoProto) -> list[int]:
    """List the sizes of an input's axes; 0 for an axis that the graph leaves open."""
    return [int(axis.dim_value) for axis in value.type.tensor_type.shape.dim]


def load_model(path: Path) -> onnx.ModelProto:
    """Load an ONNX file without weights that it keeps in other files; nothing in it is run.

    Raises:
        PackError: The file is no ONNX graph, or no regular file: a pipe would never end.
    """
    if path.exists() and not path.is_file():
        raise PackError(f"{path} is no regular file: replace or remove it")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # the errors of protobuf and onnx share no base class
        raise PackError(
            f"{path} is no ONNX graph ({one_line(error, 200)}): replace or remove it"
        ) from error
    if not model.graph.node:
        raise PackError(f"{path} is no ONNX graph, or an empty one: replace or remove it")
    return model


def load_whole_model(path: Path) -> onnx.ModelProto:
    """Load an ONNX file that holds all of its weights, so that its checksum stands for them.

    Raises:
        PackError: The file is no ONNX graph, or keeps weights in other files.
    """
    model = load_model(path)
    if has_external_weights(model):
        raise PackError(f"{path} keeps its weights in other files: save it as one file")
    return model


def has_external_weights(message: Any) -> bool:
    """True where any tensor, also one of a step or of an inner graph, lies in another file.

    Args:
        message: A model, or any part of one.
    """
    if isinstance(message, onnx.TensorProto):
        external: bool = message.data_location == onnx.TensorProto.EXTERNAL
        return external or bool(message.external_data)
    parts = (value for field, value in message.ListFields() if field.message_type)
    return any(
        has_external_weights(part)
        for value in parts
        for part in ([value] if hasattr(value, "ListFields") else value)
    )


def read_graph(path: Path) -> onnx.ModelProto:
    """Load an ONNX file that OnnxGraph can run.

    Raises:
        PackError: The file is no ONNX graph, has several inputs or outputs, is older than opset 11,
            or keeps weights in other files.
    """
    model = load_whole_model(path)
    restore_floats(model)
    opset = max((o.version for o in model.opset_import if o.domain in DOMAINS), default=0)
    if opset < MIN_OPSET:
        raise PackError(
            f"{path} has ONNX opset {opset}: convert it to {MIN_OPSET} or newer, for instance with "
            "onnx.version_converter"
        )
    if len(graph_inputs(model)) != 1 or len(model.graph.output) != 1:
        raise PackError(f"{path} has not one input and one output: it is no face-ID encoder")
    return model


def restore_floats(model: onnx.ModelProto) -> None:
    """Store weights that a graph keeps as small integers as float32, which can be trained.

    Only steps whose inputs are all stored are computed, in a graph that has quantised weights.

    Args:
        model: The graph; it is changed.
    """
    if not any(node.op_type == "DequantizeLinear" for node in model.graph.node):
        return
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in list(model.graph.node):
        if node.op_type in RESTORED and all(name in stored for name in node.input):
            values = _compute(node, [stored[name] for name in node.input], model)
            stored[node.output[0]] = numpy_helper.from_array(values, node.output[0])
            model.graph.node.remove(node)
    used = {name for node in model.graph.node for name in node.input}
    # Some files list computed weights among the inputs; from now on these are stored.
    inputs = [v for v in model.graph.input if v.name in used and v.name not in stored]
    del model.graph.input[:], model.graph.initializer[:]
    model.graph.input.extend(inputs)
    model.graph.initializer.extend(tensor for name, tensor in stored.items() if name in used)


def _compute(
    node: onnx.NodeProto, inputs: list[onnx.TensorProto], model: onnx.ModelProto
) -> np.ndarray[Any, Any]:
    """Compute one step of a graph by ONNX's own reference implementation."""
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in inputs}
    declared = [
        onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        for tensor in inputs
    ]
    output = onnx.helper.make_tensor_value_info(node.output[0], onnx.TensorProto.FLOAT, None)
    graph = onnx.helper.make_graph([node], "step", declared, [output])
    step = onnx.helper.make_model(graph, opset_imports=model.opset_import)
    (result,) = ReferenceEvaluator(step).run(None, values)
    return np.ascontiguousarray(result)


@dataclass(frozen=True)
class Node:
    """One step of a graph; values have the names of the file."""

    op: str
    inputs: tuple[str, ...]  # "" for an optional input that is left out
    outputs: tuple[str, ...]
    attributes: Attributes


class OnnxGraph(nn.Module):
    """A graph that runs and is trained as a torch module.

    Args:
        model: The graph, as `read_graph` returns it.

    Attributes:
        nodes: The steps, in an order in which they can run.
        input: Name of the input.
        output: Name of the output.
        weights: The trained values, by names without dots.
        weight_names: The names in `weights` by the names of the file.
        constant_names: The names of buffers with all other stored values, by those of the file.

    Raises:
        PackError: The graph has an operator that is not supported.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        super().__init__()
        self.nodes = _read_nodes(model)
        self.input, self.output = graph_inputs(model)[0].name, model.graph.output[0].name
        trained = _trained_names(model, self.nodes, self.input)
        self.weights = nn.ParameterDict()
        self.weight_names: dict[str, str] = {}
        self.constant_names: dict[str, str] = {}
        for number, (name, values) in enumerate(_stored_values(model)):
            tensor = torch.from_numpy(np.array(values))
            if name in trained:
                self.weight_names[name] = f"w{number:04d}"
                self.weights[f"w{number:04d}"] = nn.Parameter(tensor.float())
            else:
                self.constant_names[name] = f"c{number:04d}"
                self.register_buffer(f"c{number:04d}", tensor, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Compute the graph's output from its input."""
        return self.run(images, self.input, self.output)

    def run(self, values: Tensor, start: str, end: str) -> Tensor:
        """Run the part of the graph from one of its values to another.

        Args:
            values: The tensor for the value `start`.
            start: Name of a value.
            end: Name of a value that depends only on `start` and on stored values.

        Returns:
            The tensor for the value `end`.
        """
        live = {start: values}
        for _ in self.trace(live, end):
            continue
        return live[end]

    def trace(
        self, live: dict[str, Tensor], end: str | None = None
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield each value from a given one to another, in order, with its name.

        Args:
            live: The given value, by name; computed values are added, and each is removed once no
                later step needs it.
            end: Name of the last value; None: the output.
        """
        (start,) = live
        end = end or self.output
        yield start, live[start]
        for node, done in self.steps(start, end):
            inputs = [self._value(name, live) for name in node.inputs]
            found = OPERATORS[node.op](inputs, node.attributes)
            outputs = found if isinstance(found, tuple) else (found,)
            live.update(zip(node.outputs, outputs, strict=False))
            yield from zip(node.outputs, outputs, strict=False)
            for name in done:
                live.pop(name, None)

    def steps(self, start: str, end: str) -> list[tuple[Node, tuple[str, ...]]]:
        """List the steps between two values, each with the values that no later step needs."""
        wanted, chosen = {end}, []
        for node in reversed(self.nodes):
            if wanted.isdisjoint(node.outputs) or start in node.outputs:
                continue
            fresh = {name for name in node.inputs if name not in wanted}
            wanted |= fresh
            chosen.append((node, tuple(fresh - {end})))
        return chosen[::-1]

    @torch.no_grad()
    def fold_batch_norms(self) -> None:
        """Make every batch norm that alone reads a convolution part of it; outputs stay the same.

        The graph can still run, faster, but is no longer the one of the file: fold a copy.
        """
        uses = Counter(name for node in self.nodes for name in node.inputs)
        maker = {node.outputs[0]: node for node in self.nodes if node.op == "Conv"}
        nodes: list[Node] = []
        for node in self.nodes:
            conv = maker.get(node.inputs[0]) if node.op == "BatchNormalization" else None
            if conv is None or uses[node.inputs[0]] > 1 or uses[conv.inputs[1]] > 1:
                nodes.append(node)
                continue
            weight = self._stored(conv.inputs[1])
            bias = self._stored(conv.inputs[2]) if len(conv.inputs) > 2 else torch.zeros(())
            scale, shift, mean, variance = (self._stored(name) for name in node.inputs[1:])
            factor = scale / torch.sqrt(variance + node.attributes.get("epsilon", 1e-5))
            inputs = [conv.inputs[0]]
            for name, value in (
                ("weight", weight * factor.reshape(-1, 1, 1, 1)),
                ("bias", shift + (bias - mean) * factor),
            ):
                inputs.append(f"{node.outputs[0]} folded {name}")
                key = f"f{len(self.weight_names):04d}"
                self.weight_names[inputs[-1]] = key
                self.weights[key] = nn.Parameter(value.contiguous())
            nodes[nodes.index(conv)] = Node("Conv", tuple(inputs), node.outputs, conv.attributes)
        self.nodes = nodes

    def parameters_between(self, start: str, end: str) -> list[nn.Parameter]:
        """List the trained parameters between two values, each once."""
        names = dict.fromkeys(n for node, _ in self.steps(start, end) for n in node.inputs)
        return [self.weights[self.weight_names[n]] for n in names if n in self.weight_names]

    def _value(self, name: str, live: dict[str, Tensor]) -> Tensor | None:
        if not name:
            return None
        return live[name] if name in live else self._stored(name)

    def _stored(self, name: str) -> Tensor:
        if name in self.weight_names:
            weight: Tensor = self.weights[self.weight_names[name]]
            return weight
        return self.get_buffer(self.constant_names[name])


def write_graph(graph: OnnxGraph, model: onnx.ModelProto) -> onnx.ModelProto:
    """Copy the file that a graph was read from, with the graph's present weights."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for tensor in copy.graph.initializer:
        ours = graph.weight_names.get(tensor.name)
        if ours is not None:
            values = graph.weights[ours].detach().cpu().numpy()
            values = values.astype(numpy_helper.to_array(tensor).dtype)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return copy


def _read_nodes(model: onnx.ModelProto) -> list[Node]:
    nodes = []
    for node in model.graph.node:
        if node.op_type == "Constant":
            continue
        if node.op_type not in OPERATORS or node.domain not in DOMAINS:
            raise PackError(
                f"the ONNX operator {node.op_type} of {node.name or node.output[0]} is not "
                "supported, so this graph cannot be trained"
            )
        attributes: Attributes = {"outputs": len(node.output)}
        for attribute in node.attribute:
            value = onnx.helper.get_attribute_value(attribute)
            attributes[attribute.name] = value.decode() if isinstance(value, bytes) else value
        nodes.append(Node(node.op_type, tuple(node.input), tuple(node.output), attributes))
    return nodes


def _stored_values(model: onnx.ModelProto) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    for tensor in model.graph.initializer:
        yield tensor.name, numpy_helper.to_array(tensor)
    for node in model.graph.node:
        if node.op_type == "Constant":
            (value,) = (onnx.helper.get_attribute_value(a) for a in node.attribute)
            is_tensor = isinstance(value, onnx.TensorProto)
            yield node.output[0], numpy_helper.to_array(value) if is_tensor else np.array(value)


def _trained_names(model: onnx.ModelProto, nodes: Sequence[Node], start: str) -> set[str]:
    """Names of the stored floats that steps read, from the first filter on.

    A single number is a limit, a root or the like, except for a slope that a whole PReLU shares.
    """
    floats = {
        tensor.name: math.prod(tensor.dims)
        for tensor in model.graph.initializer
        if np.issubdtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type), np.floating)
    }
    raw = {start}  # values that depend on the input and its normalisation only
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
