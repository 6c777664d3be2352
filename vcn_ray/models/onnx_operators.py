"""The ONNX operators that encoders use, as torch functions; it knows no graph and no weights.

The table OPERATORS has those of IResNet, MobileFaceNet and vision transformers as torch exports
them. A graph with any other operator is refused by name, and so is a known operator with settings
that are not supported, so that no graph gives wrong results.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor
from torch.nn import functional

from vcn_ray.errors import PackError

MAX_PADDING = 256  # pixels; nets pad by half a kernel
MAX_EXPANDED = 1 << 27  # values

Attributes = dict[str, Any]  # settings of one step, by ONNX's names; values are of many types
Inputs = list[Any]  # tensors; None for an optional input that is left out
Operator = Callable[[Inputs, Attributes], Any]  # returns a tensor, or a tuple of tensors


def _pool_padding(attributes: Attributes) -> list[int]:
    pads = list(attributes.get("pads", [0, 0, 0, 0]))
    half = len(pads) // 2
    if any(abs(pad) > MAX_PADDING for pad in pads):
        raise PackError(f"an ONNX operator with padding {pads[:4]} is not supported")
    if pads[:half] != pads[half:]:
        raise PackError(f"an ONNX operator with uneven padding {pads} is not supported")
    return pads[:half]


def _conv(inputs: Inputs, attributes: Attributes) -> Any:
    values, weight, bias = (*inputs, None)[:3]
    if attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise PackError(f"ONNX Conv with auto_pad {attributes['auto_pad']} is not supported")
    if torch.is_grad_enabled():  # see Backbone.prepare; a graph may permute values
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


def _batch_norm(inputs: Inputs, attributes: Attributes) -> Any:
    values, scale, shift, mean, variance = inputs
    epsilon = attributes.get("epsilon", 1e-5)
    return functional.batch_norm(values, mean, variance, scale, shift, False, 0.0, epsilon)


def _gemm(inputs: Inputs, attributes: Attributes) -> Any:
    left, right, add = (*inputs, None)[:3]
    left = left.T if attributes.get("transA") else left
    right = right.T if attributes.get("transB") else right
    product: Tensor = attributes.get("alpha", 1.0) * (left @ right)
    return product if add is None else product + attributes.get("beta", 1.0) * add


def _prelu(inputs: Inputs, _: Attributes) -> Any:
    values, slope = inputs
    shape = [1] * (values.ndim - slope.ndim) + list(slope.shape)  # ONNX aligns the last axes
    if values.ndim > 1 and shape[2:] == [1] * (values.ndim - 2) and shape[0] == 1:
        return functional.prelu(values, slope.reshape(-1))  # five times as fast as `where`
    return torch.where(values >= 0, values, slope * values)


def _clip(inputs: Inputs, _: Attributes) -> Any:
    values, low, high = (*inputs, None, None)[:3]
    return torch.clamp(values, low, high)


def _flatten(inputs: Inputs, attributes: Attributes) -> Any:
    (values,) = inputs
    axis = attributes.get("axis", 1) % max(values.ndim, 1)
    return values.reshape(int(np.prod(values.shape[:axis], dtype=int)), -1)


def _reshape(inputs: Inputs, _: Attributes) -> Any:
    values, shape = inputs
    wanted = [int(side) for side in shape]
    return values.reshape([values.shape[n] if side == 0 else side for n, side in enumerate(wanted)])


def _layer_norm(inputs: Inputs, attributes: Attributes) -> Any:
    values, scale, shift = (*inputs, None)[:3]
    shape = values.shape[attributes.get("axis", -1) % values.ndim :]
    return functional.layer_norm(values, shape, scale, shift, attributes.get("epsilon", 1e-5))


def _softmax(inputs: Inputs, attributes: Attributes) -> Any:
    (values,) = inputs
    return torch.softmax(values, attributes.get("axis", -1))


def _reduce_mean(inputs: Inputs, attributes: Attributes) -> Any:
    values, axes = (*inputs, None)[:2]
    dims = attributes.get("axes") if axes is None else [int(axis) for axis in axes]
    return values.mean(dims, keepdim=bool(attributes.get("keepdims", 1)))


def _average_pool(inputs: Inputs, attributes: Attributes) -> Any:
    (values,) = inputs
    return functional.avg_pool2d(
        values,
        attributes["kernel_shape"],
        attributes.get("strides", [1, 1]),
        _pool_padding(attributes),
        bool(attributes.get("ceil_mode", 0)),
        bool(attributes.get("count_include_pad", 0)),
    )


def _max_pool(inputs: Inputs, attributes: Attributes) -> Any:
    (values,) = inputs
    return functional.max_pool2d(
        values,
        attributes["kernel_shape"],
        attributes.get("strides", [1, 1]),
        _pool_padding(attributes),
        attributes.get("dilations", [1, 1]),
        bool(attributes.get("ceil_mode", 0)),
    )


def _slice(inputs: Inputs, _: Attributes) -> Any:
    values, starts, ends, axes, steps = (*inputs, None, None)[:5]
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


def _split(inputs: Inputs, attributes: Attributes) -> Any:
    values, sizes = (*inputs, None)[:2]
    axis = attributes.get("axis", 0)
    parts = attributes.get("split") if sizes is None else sizes.tolist()
    if parts is None:
        return torch.tensor_split(values, attributes["outputs"], axis)
    return tuple(torch.split(values, list(parts), axis))


def _gather(inputs: Inputs, attributes: Attributes) -> Any:
    values, index = inputs
    axis = attributes.get("axis", 0) % values.ndim
    index = torch.where(index < 0, index + values.shape[axis], index)
    found = torch.index_select(values, axis, index.reshape(-1))
    return found.reshape((*values.shape[:axis], *index.shape, *values.shape[axis + 1 :]))


def _unsqueeze(inputs: Inputs, attributes: Attributes) -> Any:
    values, axes = (*inputs, None)[:2]
    dims = attributes["axes"] if axes is None else axes.tolist()
    for axis in sorted(axis % (values.ndim + len(dims)) for axis in dims):
        values = values.unsqueeze(axis)
    return values


def _squeeze(inputs: Inputs, attributes: Attributes) -> Any:
    values, axes = (*inputs, None)[:2]
    dims = attributes.get("axes") if axes is None else axes.tolist()
    return values.squeeze() if dims is None else values.squeeze(tuple(dims))


def _expand(inputs: Inputs, _: Attributes) -> Any:
    values, shape = inputs
    if np.prod([float(side) for side in shape]) > MAX_EXPANDED:
        raise PackError(f"ONNX Expand to {shape.tolist()[:8]} is not supported: it is too large")
    return values * torch.ones(shape.tolist(), dtype=values.dtype, device=values.device)


def _cast(inputs: Inputs, attributes: Attributes) -> Any:
    (values,) = inputs
    kind = onnx.helper.tensor_dtype_to_np_dtype(attributes["to"])
    return values.to(torch.from_numpy(np.empty(0, kind)).dtype)


def _plain(call: Callable[..., Tensor]) -> Operator:
    """Make an operator of a function that takes all inputs and no attributes."""
    return lambda inputs, _: call(*inputs)


OPERATORS: dict[str, Operator] = {
    "Add": _plain(torch.add),
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": lambda inputs, attributes: torch.cat(
        [value for value in inputs if value is not None], attributes["axis"]
    ),
    "Conv": _conv,
    "Div": _plain(
        lambda a, b: torch.div(a, b, rounding_mode=None if a.is_floating_point() else "floor")
    ),
    "Dropout": lambda inputs, _: inputs[0],  # encoders always run in eval mode
    "Erf": _plain(torch.erf),
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Gelu": lambda inputs, attributes: functional.gelu(
        inputs[0], approximate=attributes.get("approximate", "none")
    ),
    "Gemm": _gemm,
    "GlobalAveragePool": _plain(lambda x: x.mean((2, 3), keepdim=True)),
    "HardSigmoid": lambda inputs, attributes: torch.clamp(
        attributes.get("alpha", 0.2) * inputs[0] + attributes.get("beta", 0.5), 0.0, 1.0
    ),
    "HardSwish": _plain(functional.hardswish),
    "Identity": _plain(lambda x: x),
    "LayerNormalization": _layer_norm,
    "LeakyRelu": lambda inputs, attributes: functional.leaky_relu(
        inputs[0], attributes.get("alpha", 0.01)
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
    "Transpose": lambda inputs, attributes: inputs[0].permute(attributes["perm"]),
    "Unsqueeze": _unsqueeze,
}
