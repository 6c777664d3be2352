"""Small detector graphs with random filters, in the shapes that exporters give them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 13


def write_distance_graph(
    path: Path,
    strides: tuple[int, ...] = (8, 16, 32),
    anchors: int = 2,
    by_picture: bool = False,
    size: tuple[int, int] | None = None,
    one_picture_only: bool = False,
) -> Path:
    """Heads of SCRFD on averages of a cell's pixels.

    Args:
        path: What to write.
        strides: Of the levels.
        anchors: Faces that a cell may report.
        by_picture: Rows come as (1, rows, k), else as (rows, k).
        size: Height and width that the input fixes.
        one_picture_only: A step in the middle allows one picture, whatever the input says.
    """
    rng = np.random.default_rng(3)
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []
    outputs: dict[str, list[str]] = {"score": [], "box": [], "points": []}
    source = "picture"
    if one_picture_only:
        height, width = size or (64, 64)
        weights.append(numpy_helper.from_array(np.array([1, 3, height, width]), "one"))
        nodes.append(helper.make_node("Reshape", ["picture", "one"], ["alone"]))
        source = "alone"
    order = [0, 2, 3, 1] if by_picture else [2, 3, 0, 1]
    for stride in strides:
        cells = f"cells_{stride}"
        sides: dict[str, Any] = {"kernel_shape": [stride, stride], "strides": [stride, stride]}
        nodes.append(helper.make_node("AveragePool", [source], [cells], **sides))
        for head, columns in (("score", 1), ("box", 4), ("points", 10)):
            name = f"{head}_{stride}"
            filters = rng.normal(0, 3, (anchors * columns, 3, 1, 1)).astype(np.float32)
            bias = np.zeros(anchors * columns, np.float32)
            shape = np.array([1, -1, columns] if by_picture else [-1, columns])
            weights += [
                numpy_helper.from_array(filters, f"{name}_w"),
                numpy_helper.from_array(bias, f"{name}_b"),
                numpy_helper.from_array(shape, f"{name}_shape"),
            ]
            given = [cells, f"{name}_w", f"{name}_b"]
            nodes.append(helper.make_node("Conv", given, [f"{name}_conv"]))
            positive = "Softplus" if head == "box" else "Identity"
            nodes.append(helper.make_node(positive, [f"{name}_conv"], [f"{name}_map"]))
            nodes.append(helper.make_node("Transpose", [f"{name}_map"], [f"{name}_t"], perm=order))
            rows = name if head != "score" else f"{name}_rows"
            nodes.append(helper.make_node("Reshape", [f"{name}_t", f"{name}_shape"], [rows]))
            if head == "score":
                nodes.append(helper.make_node("Sigmoid", [rows], [name]))
            outputs[head].append(name)
    height_width = list(size) if size else ["h", "w"]
    rank = 3 if by_picture else 2
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 3, *height_width])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * rank)
            for head in outputs.values()
            for name in head
        ],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def fix_size(source: Path, path: Path, height: int, width: int) -> Path:
    """A copy of a graph whose input is one picture of one size, as many published files have it."""
    model = onnx.load(source)
    for axis, side in {0: 1, 2: height, 3: width}.items():
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = side
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    onnx.save(model, path)
    return path


def write_map_graph(
    path: Path,
    channels: tuple[int, ...] = (1, 2, 2, 10),
    batch: int = 10,
    size: tuple[int, int] = (32, 32),
    stride: int = 4,
) -> Path:
    """Maps of CenterFace on averages of a cell's pixels, declared as its published file has them.

    The input fixes a batch and a size, and the weights are listed among the inputs.

    Args:
        path: What to write.
        channels: Of each map.
        batch: Pictures that the input fixes.
        size: Height and width that the input fixes.
        stride: Pixels from cell to cell.
    """
    rng = np.random.default_rng(5)
    sides: dict[str, Any] = {"kernel_shape": [stride, stride], "strides": [stride, stride]}
    nodes = [helper.make_node("AveragePool", ["picture"], ["cells"], **sides)]
    weights, outputs = [], []
    for number, depth in enumerate(channels):
        filters = rng.normal(0, 0.01, (depth, 3, 1, 1)).astype(np.float32)
        weights.append(numpy_helper.from_array(filters, f"w{number}"))
        conv = f"conv{number}" if number == 0 else f"map{number}"
        nodes.append(helper.make_node("Conv", ["cells", f"w{number}"], [conv]))
        if number == 0:
            nodes.append(helper.make_node("Sigmoid", [conv], ["map0"]))
        shape = [batch, depth, size[0] // stride, size[1] // stride]
        outputs.append(helper.make_tensor_value_info(f"map{number}", TensorProto.FLOAT, shape))
    inputs = [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [batch, 3, *size])]
    inputs += [
        helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, list(tensor.dims))
        for tensor in weights
    ]
    graph = helper.make_graph(nodes, "maps", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path
