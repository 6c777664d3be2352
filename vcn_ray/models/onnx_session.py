"""ONNX networks through onnxruntime, in batches; it knows nothing of faces.

Most detector graphs declare a batch of one. `free_axes` lets such a graph take batches, in memory,
and two random pictures show at once whether the changed graph still gives the same outputs. If it
does not, pictures go through the graph of the file one by one.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

from vcn_ray.errors import DeviceError, PackError
from vcn_ray.models.onnx_graph import graph_inputs, input_shape, load_whole_model
from vcn_ray.records import F32
from vcn_ray.redact import one_line

Providers = list[tuple[str, dict[str, str]]]  # names and settings, the best first

CPU_PROVIDER = "CPUExecutionProvider"
CUDA_PROVIDER = "CUDAExecutionProvider"
DEVICES = ("cpu", "cuda")

CUDA_SETTINGS = {
    "cudnn_conv_algo_search": "HEURISTIC",
    "use_tf32": "0",
    "arena_extend_strategy": "kSameAsRequested",
}
"""Pictures come in many sizes and counts, and an exhaustive search would try all kernels for each;
TF32 rounds to 10 bits, which would move boxes away from the CPU's; memory that grows by powers of
two would keep other workers from the GPU that they share."""

MAX_BATCH = {"cpu": 1, "cuda": 16}
"""Pictures per call. A CPU works through a batch one by one, and its caches hold less of it (see
benchmarks/system/detectors.py); a GPU idles without one. The outputs are the same."""

SILENT = 4
"""onnxruntime's log level without warnings and errors. It would write names of a file's steps,
which may hold codes of a terminal, to standard error; errors are raised besides."""
onnxruntime.set_default_logger_severity(SILENT)

ORT_ERRORS = (
    ort_state.Fail,
    ort_state.InvalidArgument,
    ort_state.InvalidGraph,
    ort_state.NotImplemented,
    ort_state.RuntimeException,
)
"""Errors of onnxruntime for a graph that it cannot run; they share no base class."""

PROBE_PIXELS = 128  # sides of the random pictures, a multiple of every stride
PROBE_TOLERANCE = 1e-3

MAX_INPUT_VALUES = 3 << 26  # of an input that the file fixes: pictures of 8192 x 8192 pixels

INNER_GRAPHS = ("If", "Loop", "Scan", "SequenceMap")
"""Operators that run graphs of their own."""

BATCH_LAST = [2, 3, 0, 1]
"""Axes in the order rows, columns, batch, channels: exporters for one picture reorder a map so
before they flatten it."""


class BatchSession:
    """A network with one picture input that takes batches.

    Args:
        path: The ONNX file: one float32 input (batch, 3, height, width), outputs of rows.
        threads: Threads of one operator.
        device: `cpu` or `cuda`, with a number as in `cuda:1` if there are several GPUs.
        any_size: Also free height and width if the file fixes them.

    Attributes:
        output_names: Names of the outputs, as in the file.
        input_size: Height and width, if they are fixed.
        batched: Whether one call may take several pictures.
        max_batch: Pictures of one call at most.

    Raises:
        DeviceError: The device is missing.
        PackError: The file keeps weights in other files, or the graph has another input.
    """

    def __init__(
        self, path: Path, threads: int = 1, device: str = "cpu", any_size: bool = False
    ) -> None:
        self._providers = providers_for(device)
        self._threads = threads
        self.max_batch = MAX_BATCH[device.partition(":")[0]]
        model = load_whole_model(path)
        check_input(model, path.name)
        check_operators(model, path.name)
        hide_weights(model)
        self._session, self.batched = self._open_best(model, any_size)
        (session_input,) = self._session.get_inputs()
        self._input_name = session_input.name
        self.input_size = fixed_size(session_input.shape)
        self.output_names = tuple(output.name for output in self._session.get_outputs())

    def run(self, pictures: F32) -> list[F32]:
        """Compute the outputs of a batch.

        Args:
            pictures: (b, 3, h, w) float32, b at least 1.

        Returns:
            One array (b, rows, k) float32 per output.
        """
        step = self.max_batch if self.batched else 1
        parts = [self._run(pictures[n : n + step]) for n in range(0, len(pictures), step)]
        return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]

    def _run(self, pictures: F32) -> list[F32]:
        found = self._session.run(None, {self._input_name: pictures})
        return [output.reshape(len(pictures), -1, output.shape[-1]) for output in found]

    def _open(self, model: onnx.ModelProto) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = SILENT
        provider, _ = self._providers[0]
        try:
            session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=self._providers, enable_fallback=0
            )
        except (RuntimeError, *ORT_ERRORS) as error:
            if provider == CPU_PROVIDER:
                raise
            raise DeviceError(_missing_device(provider, one_line(error, 200))) from error
        check_provider(provider, session.get_providers())
        return session

    def _open_best(
        self, model: onnx.ModelProto, any_size: bool
    ) -> tuple[onnxruntime.InferenceSession, bool]:
        """Open the graph with as many freed axes as work; also say whether it takes batches."""
        plain = self._open(model)
        for free_size in (True, False) if any_size else (False,):
            freed = onnx.ModelProto()
            freed.CopyFrom(model)
            free_axes(freed, free_size)
            try:
                session = self._open(freed)
                if same_outputs(plain, session) and (not free_size or takes_sizes(plain, session)):
                    return session, True
            except (PackError, *ORT_ERRORS):
                continue
        return plain, False


def providers_for(device: str) -> Providers:
    """List onnxruntime's providers for a device.

    Raises:
        PackError: The device is unknown.
        DeviceError: This onnxruntime was built without it.
    """
    kind, _, number = device.partition(":")
    if kind not in DEVICES or (number and not number.isdigit()):
        raise PackError(f"device {device!r} is unknown: known are {', '.join(DEVICES)}")
    if kind == "cpu":
        return [(CPU_PROVIDER, {})]
    check_provider(CUDA_PROVIDER, onnxruntime.get_available_providers())
    import torch  # noqa: F401 - loads CUDA's libraries, which onnxruntime then finds

    return [(CUDA_PROVIDER, {**CUDA_SETTINGS, "device_id": number or "0"}), (CPU_PROVIDER, {})]


def check_provider(wanted: str, available: list[str]) -> None:
    """Raise DeviceError if a provider is missing, where onnxruntime silently uses the CPU.

    Args:
        wanted: Name of a provider.
        available: Providers of this build of onnxruntime, or of a session.
    """
    if wanted not in available:
        raise DeviceError(_missing_device(wanted, f"onnxruntime has {', '.join(available)}"))


def _missing_device(provider: str, reason: str) -> str:
    return (
        f"the detector cannot use {provider} ({reason}): install onnxruntime-gpu instead of "
        "onnxruntime and check the GPU's driver and CUDA, or run the detector on the CPU"
    )


def fixed_size(shape: list[int | str | None]) -> tuple[int, int] | None:
    """Height and width of a session's input shape; None unless it fixes both."""
    height, width = shape[2:]
    if isinstance(height, int) and isinstance(width, int):
        return height, width
    return None


def same_outputs(plain: onnxruntime.InferenceSession, batch: onnxruntime.InferenceSession) -> bool:
    """Whether pictures in one batch give what they give to the graph of the file.

    That graph takes one picture, or a fixed number of them.
    """
    (session_input,) = plain.get_inputs()
    name = session_input.name
    size = fixed_size(session_input.shape) or (PROBE_PIXELS, PROBE_PIXELS)
    few = session_input.shape[0] if isinstance(session_input.shape[0], int) else 1
    pictures = np.random.default_rng(0).normal(0, 50, (2 * few, 3, *size)).astype(np.float32)
    together = batch.run(None, {name: pictures})
    for start in (0, few):
        apart = plain.run(None, {name: pictures[start : start + few]})
        for output, expected in zip(together, apart, strict=True):
            part = output[start : start + few]
            if len(output) != 2 * few or part.size != expected.size:
                return False
            found = part.reshape(expected.shape)
            if not np.allclose(found, expected, rtol=PROBE_TOLERANCE, atol=PROBE_TOLERANCE):
                return False
    return True


def takes_sizes(plain: onnxruntime.InferenceSession, freed: onnxruntime.InferenceSession) -> bool:
    """Whether the outputs of a picture of another size grow in proportion to its pixels."""
    (session_input,) = plain.get_inputs()
    size = fixed_size(session_input.shape) or (PROBE_PIXELS, PROBE_PIXELS)
    density = []
    for height, width in (size, (PROBE_PIXELS, 2 * PROBE_PIXELS)):
        picture = np.zeros((1, 3, height, width), np.float32)
        found = freed.run(None, {session_input.name: picture})
        density.append([output.size / (height * width) for output in found])
    return np.allclose(density[0], density[1])


def check_input(model: onnx.ModelProto, file: str) -> None:
    """Raise PackError unless a graph has one input: float32 pictures of three channels.

    Args:
        model: The graph.
        file: Name of its file, for the error.
    """
    inputs = graph_inputs(model)
    if len(inputs) == 1:
        shape = input_shape(inputs[0])
        is_float = inputs[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        values = math.prod(side or 1 for side in shape)
        if is_float and len(shape) == 4 and shape[1] == 3 and 0 <= values <= MAX_INPUT_VALUES:
            return
    raise PackError(
        f"{file} does not take one input of float32 pictures (batch, 3, height, width) of a usual "
        "size: choose a detector"
    )


def check_operators(model: onnx.ModelProto, file: str) -> None:
    """Raise PackError if a graph has loops, which no detector needs and which may never end.

    Args:
        model: The graph.
        file: Name of its file, for the error.
    """
    nodes = [*model.graph.node, *(node for each in model.functions for node in each.node)]
    loop = next((node.op_type for node in nodes if node.op_type in INNER_GRAPHS), None)
    if loop:
        raise PackError(f"{file} has the ONNX operator {loop}: choose a detector without loops")


def hide_weights(model: onnx.ModelProto) -> None:
    """Take a graph's weights off the list of its inputs, where onnxruntime cannot fold them.

    Args:
        model: The graph; it is changed.
    """
    inputs = graph_inputs(model)
    del model.graph.input[:]
    model.graph.input.extend(inputs)


def free_axes(model: onnx.ModelProto, any_size: bool) -> None:
    """Let a graph take batches: name its batch axis, and flatten maps picture by picture.

    Args:
        model: The graph; it is changed.
        any_size: Free height and width too.
    """
    axes = {0: "batch"} | ({2: "height", 3: "width"} if any_size else {})
    for value in graph_inputs(model):
        for axis, name in axes.items():
            value.type.tensor_type.shape.dim[axis].dim_param = name
    made_by = {name: node for node in model.graph.node for name in node.output}
    for number, output in enumerate(model.graph.output):
        output.type.tensor_type.ClearField("shape")
        _free_flattening(model.graph, made_by, output.name, f"freed_shape_{number}")
    del model.graph.value_info[:]  # shapes for one picture


def _free_flattening(
    graph: onnx.GraphProto, made_by: dict[str, onnx.NodeProto], output: str, constant: str
) -> None:
    """Make the step that flattens an output's map into rows keep pictures apart.

    Exporters for one picture write (1, c, h, w) -> (h, w, 1, c) -> (rows, k) or (1, rows, k), with
    a constant 1. The changed step gives the same rows for one picture. An output that is made in
    another way is left as it is.

    Args:
        graph: The graph; it is changed.
        made_by: The node that makes each value.
        output: Name of the output.
        constant: Name for the new constant.
    """
    node = made_by.get(output)
    while node is not None and node.op_type in ("Sigmoid", "Identity"):
        node = made_by.get(node.input[0])
    if node is None or node.op_type != "Reshape":
        return
    shape = _find_constant(graph, made_by, node.input[1])
    if shape is None or shape[:-1] not in ([-1], [1, -1]):
        return
    before = made_by.get(node.input[0])
    if before is not None and before.op_type == "Transpose":
        (order,) = (attribute for attribute in before.attribute if attribute.name == "perm")
        if list(order.ints) == BATCH_LAST:
            order.ints[:] = [0, 2, 3, 1]
    rows = np.array([0, -1, shape[-1]], np.int64)  # 0: as many pictures as the input has
    graph.initializer.append(numpy_helper.from_array(rows, constant))
    node.input[1] = constant


def _find_constant(
    graph: onnx.GraphProto, made_by: dict[str, onnx.NodeProto], name: str
) -> list[int] | None:
    """The numbers of a value that the graph stores; None if it computes the value."""
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
