"""Networks of ONNX files through onnxruntime, for batches; it knows nothing of faces.

Most detector graphs declare a batch of one. Their batch axis is freed in memory (`onnx_batch`), and
whether that gave the same network is tried at once on two pictures; where it did not, pictures go
through the graph as it is in the file, one by one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

from vcn_ray.errors import PackError
from vcn_ray.models.onnx_batch import check_input, free_axes
from vcn_ray.records import F32

CPU_PROVIDER = "CPUExecutionProvider"

PROVIDERS: dict[str, tuple[str, dict[str, str]]] = {
    "cpu": (CPU_PROVIDER, {}),
    # Pictures come in several sizes and counts, each of which an exhaustive search would try all
    # kernels for; and rounding to 10 bits would move boxes against the CPU's.
    "cuda": ("CUDAExecutionProvider", {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"}),
    "tensorrt": ("TensorrtExecutionProvider", {}),
}
"""What onnxruntime calls each device, and its options there."""

PICTURES_AT_ONCE = {"cpu": 1, "cuda": 16, "tensorrt": 16}
"""A CPU works through a batch picture by picture, and keeps less in its caches (see
benchmarks/results/detectors.md); a GPU is idle without one. The outputs are the same."""

ERRORS_ONLY = 3
"""Severity of onnxruntime's messages from which on they are shown."""

ORT_ERRORS = (
    ort_state.Fail,
    ort_state.InvalidArgument,
    ort_state.InvalidGraph,
    ort_state.NotImplemented,
    ort_state.RuntimeException,
)
"""What onnxruntime raises for a graph that it cannot run; they share no base class."""

PROBE_PIXELS = 128
"""Sides of the pictures that a freed batch axis is tried on: a multiple of every stride."""

PROBE_TOLERANCE = 1e-3


class BatchSession:
    """A network of one picture input that takes batches.

    Args:
        path: The ONNX file: one float32 input (batch, 3, height, width), outputs of rows.
        threads: Threads of one operator.
        device: cpu, cuda or tensorrt, the latter two with a number as in "cuda:1" where there are
            several.
        any_size: Height and width are freed too, where the file fixes them.

    Attributes:
        output_names: As in the file.
        input_size: Height and width, where they are fixed.
        batched: Whether several pictures may go through at once.
        at_once: How many do at most.

    Raises:
        PackError: There is no such device, or the input is another one.
    """

    def __init__(
        self, path: Path, threads: int = 1, device: str = "cpu", any_size: bool = False
    ) -> None:
        self._providers = providers_for(device)
        self._threads = threads
        self.at_once = PICTURES_AT_ONCE[device.partition(":")[0]]
        model = onnx.load(path)
        check_input(model, path.name)
        self._session, self.batched = self._open_best(model, any_size)
        (given,) = self._session.get_inputs()
        self._input_name = given.name
        self.input_size = fixed_size(given.shape)
        self.output_names = tuple(output.name for output in self._session.get_outputs())

    def run(self, pictures: F32) -> list[F32]:
        """Outputs of a batch.

        Args:
            pictures: (b, 3, h, w), b at least 1.

        Returns:
            For each output (b, rows, k).
        """
        step = self.at_once if self.batched else 1
        parts = [self._run(pictures[n : n + step]) for n in range(0, len(pictures), step)]
        return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]

    def _run(self, pictures: F32) -> list[F32]:
        found = self._session.run(None, {self._input_name: pictures})
        return [output.reshape(len(pictures), -1, output.shape[-1]) for output in found]

    def _open(self, model: onnx.ModelProto) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        # Files declare the outputs of one size, and onnxruntime would warn at each other one.
        options.log_severity_level = ERRORS_ONLY
        name, _ = self._providers[0]
        try:
            session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=self._providers, enable_fallback=0
            )
        except (RuntimeError, *ORT_ERRORS) as error:
            if name == CPU_PROVIDER:
                raise
            raise PackError(no_device(name, " ".join(str(error).split())[:200])) from error
        check_provider(name, session.get_providers())
        return session

    def _open_best(
        self, model: onnx.ModelProto, any_size: bool
    ) -> tuple[onnxruntime.InferenceSession, bool]:
        """The graph with its axes freed where that works, and whether the batch is among them."""
        plain = self._open(model)
        for sizes_too in (True, False) if any_size else (False,):
            freed = onnx.ModelProto()
            freed.CopyFrom(model)
            free_axes(freed, sizes_too)
            try:
                session = self._open(freed)
                if same_outputs(plain, session) and (not sizes_too or takes_sizes(plain, session)):
                    return session, True
            except (PackError, *ORT_ERRORS):
                continue
        return plain, False


def providers_for(device: str) -> list[tuple[str, dict[str, str]]]:
    """What onnxruntime is asked for, best first.

    Raises:
        PackError: No such kind of device, or this onnxruntime was built without it.
    """
    kind, _, number = device.partition(":")
    if kind not in PROVIDERS or (number and not number.isdigit()):
        raise PackError(f"device {device!r} is unknown: known are {', '.join(PROVIDERS)}")
    name, settings = PROVIDERS[kind]
    check_provider(name, onnxruntime.get_available_providers())
    if kind == "cpu":
        return [(name, {})]
    import torch  # noqa: F401 - brings CUDA's libraries into the process, where they are found

    chosen = {"device_id": number or "0"}
    asked = [(name, settings | chosen)]
    if kind == "tensorrt":  # for the steps that TensorRT does not know
        cuda, settings = PROVIDERS["cuda"]
        asked.append((cuda, settings | chosen))
    return [*asked, (CPU_PROVIDER, {})]


def check_provider(wanted: str, there: list[str]) -> None:
    """Raise PackError where onnxruntime goes on without the device asked for, as it does by itself.

    Args:
        wanted: A provider's name.
        there: What onnxruntime was built with, or what a session uses.
    """
    if wanted not in there:
        raise PackError(no_device(wanted, f"onnxruntime has {', '.join(there)}"))


def no_device(wanted: str, reason: str) -> str:
    """What to do where a GPU is asked for that cannot be used, in one line."""
    return (
        f"the detector cannot use {wanted} ({reason}): install onnxruntime-gpu in place of "
        "onnxruntime and check the GPU's driver and CUDA, or run the detector on the CPU"
    )


def fixed_size(shape: list[Any]) -> tuple[int, int] | None:
    """Height and width of an input that fixes both."""
    height, width = shape[2:]
    if isinstance(height, int) and isinstance(width, int):
        return height, width
    return None


def same_outputs(one: onnxruntime.InferenceSession, batch: onnxruntime.InferenceSession) -> bool:
    """Whether two pictures together give what each alone gives to the graph of the file."""
    (given,) = one.get_inputs()
    size = fixed_size(given.shape) or (PROBE_PIXELS, PROBE_PIXELS)
    pictures = np.random.default_rng(0).normal(0, 50, (2, 3, *size)).astype(np.float32)
    together = batch.run(None, {given.name: pictures})
    for number in range(2):
        alone = one.run(None, {given.name: pictures[number : number + 1]})
        for output, expected in zip(together, alone, strict=True):
            if len(output) != 2 or output[number].size != expected.size:
                return False
            found = output[number].reshape(expected.shape)
            if not np.allclose(found, expected, rtol=PROBE_TOLERANCE, atol=PROBE_TOLERANCE):
                return False
    return True


def takes_sizes(one: onnxruntime.InferenceSession, freed: onnxruntime.InferenceSession) -> bool:
    """Whether a picture of another size gives as many more rows as it has more pixels."""
    (given,) = one.get_inputs()
    size = fixed_size(given.shape) or (PROBE_PIXELS, PROBE_PIXELS)
    rows = []
    for height, width in (size, (PROBE_PIXELS, 2 * PROBE_PIXELS)):
        picture = np.zeros((1, 3, height, width), np.float32)
        found = freed.run(None, {given.name: picture})
        rows.append([output.shape[1] / (height * width) for output in found])
    return np.allclose(rows[0], rows[1])
