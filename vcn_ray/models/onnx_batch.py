"""Lets ONNX graphs that were exported for one picture take batches; it runs no graph.

Whether the changed graph still gives the same is for the caller to try.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from vcn_ray.errors import PackError

BATCH_LAST = [2, 3, 0, 1]
"""Order of axes that exporters for one picture use before they flatten a map: rows, columns, batch,
channels."""


def check_input(model: onnx.ModelProto, name: str) -> None:
    """Raise PackError unless a graph has one input: float32 pictures of three channels.

    Args:
        model: The graph.
        name: Of the file.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) == 1:
        kind = inputs[0].type.tensor_type
        dims = kind.shape.dim
        if kind.elem_type == onnx.TensorProto.FLOAT and len(dims) == 4 and dims[1].dim_value == 3:
            return
    raise PackError(
        f"{name} does not take float32 pictures (batch, 3, height, width) alone: choose a detector"
    )


def free_axes(model: onnx.ModelProto, any_size: bool) -> None:
    """Let a graph take batches: free its axes, and flatten maps by picture.

    Args:
        model: Changed in place.
        any_size: Free height and width too.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        if value.name not in weights:
            free_input(value, any_size)
    made_by = {name: node for node in model.graph.node for name in node.output}
    for number, output in enumerate(model.graph.output):
        output.type.tensor_type.ClearField("shape")
        free_flattening(model.graph, made_by, output.name, f"freed_shape_{number}")
    del model.graph.value_info[:]  # shapes of one picture


def free_input(value: onnx.ValueInfoProto, any_size: bool) -> None:
    """Replace numbers among an input's axes by names."""
    axes = {0: "batch"} | ({2: "height", 3: "width"} if any_size else {})
    for axis, name in axes.items():
        value.type.tensor_type.shape.dim[axis].dim_param = name


def free_flattening(
    graph: onnx.GraphProto, made_by: dict[str, onnx.NodeProto], output: str, name: str
) -> None:
    """Make the step that turns an output's map into rows keep pictures apart.

    Exporters for one picture write (1, c, h, w) -> (h, w, 1, c) -> (rows, k) or -> (1, rows, k),
    with 1 as a constant. For one picture the new step gives the same rows.

    Args:
        graph: Changed in place; an output made in another way is left as it is.
        made_by: The node that makes each value.
        output: Name of the output.
        name: For the new constant.
    """
    node = made_by.get(output)
    while node is not None and node.op_type in ("Sigmoid", "Identity"):
        node = made_by.get(node.input[0])
    if node is None or node.op_type != "Reshape":
        return
    shape = constant(graph, made_by, node.input[1])
    if shape is None or shape[:-1] not in ([-1], [1, -1]):
        return
    before = made_by.get(node.input[0])
    if before is not None and before.op_type == "Transpose":
        (order,) = (attribute for attribute in before.attribute if attribute.name == "perm")
        if list(order.ints) == BATCH_LAST:
            order.ints[:] = [0, 2, 3, 1]
    rows = np.array([0, -1, shape[-1]], np.int64)  # 0: as many pictures as came
    graph.initializer.append(numpy_helper.from_array(rows, name))
    node.input[1] = name


def constant(
    graph: onnx.GraphProto, made_by: dict[str, onnx.NodeProto], name: str
) -> list[int] | None:
    """The numbers of a value that a graph holds as a constant."""
    for tensor in graph.initializer:
        if tensor.name == name:
            return [int(number) for number in numpy_helper.to_array(tensor)]
    node = made_by.get(name)
    if node is None or node.op_type != "Constant":
        return None
    for attribute in node.attribute:
        if attribute.name == "value":
            return [int(number) for number in numpy_helper.to_array(attribute.t)]
    return None
