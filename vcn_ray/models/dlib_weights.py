"""Reads the weights of dlib's face networks from the files of the package face_recognition_models.

It knows the format of these files and nothing of how the layers are connected or what they are for.

The format (dlib's serialize.h): an integer is a byte whose low half counts the bytes that follow,
little-endian, and whose high bit is the sign; a string is its length and its bytes; a scalar is an
integer mantissa and a binary exponent; a tensor is version 2, four sizes, and raw little-endian
float32. Layers are in the order of computation, each behind its tag.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vcn_ray.errors import PackError
from vcn_ray.models.shipped import ShippedFile, find_shipped
from vcn_ray.records import F32

PACKAGE = "face_recognition_models"
MMOD_FILE = "mmod_human_face_detector.dat"
LANDMARK_FILE = "shape_predictor_5_face_landmarks.dat"
RESNET_FILE = "dlib_face_recognition_resnet_model_v1.dat"

SHA256 = {
    MMOD_FILE: "4cb19393e2fbaf2b1609a9319ad5386618c886a6234ec1b971f3e87c85d87fe6",
    LANDMARK_FILE: "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888",
    RESNET_FILE: "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
}

_LAYERS = re.compile(rb"\x01\x05con_4|\x01\x07affine_|\x01\x07bn_con2|\x01\x04fc_2")
_INPUT = re.compile(rb"\x01\x17input_rgb_image_pyramid|\x01\x15input_rgb_image_sized")


@dataclass(frozen=True, slots=True, eq=False)
class Conv:
    """A convolution (cross-correlation, as torch's)."""

    weight: F32  # (out, in, kernel height, kernel width)
    bias: F32  # (out,)
    stride: int  # the same down and across
    padding: int


@dataclass(frozen=True, slots=True, eq=False)
class Affine:
    """A scale and a shift for each channel: a batch norm with its statistics folded in."""

    scale: F32  # (channels,)
    shift: F32  # (channels,)


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """A fully connected layer without bias."""

    weight: F32  # (out, in)


Layer = Conv | Affine | Linear


@dataclass(frozen=True, slots=True)
class MmodOptions:
    """What the detector's file says besides its layers."""

    window: tuple[int, int]  # width and height of the sliding window, pixels of a pyramid level
    overlap: float  # intersection over common hull above which the weaker box is dropped
    covered: float  # intersection over either box above which it is dropped too; 1: never


def model_file(name: str) -> Path:
    """Find one of the files named in SHA256 and verify its checksum.

    Raises:
        PackError: The package is not installed, lacks the file, or the file has other content.
    """
    return find_shipped(ShippedFile(PACKAGE, f"models/{name}", SHA256[name]))


def read_layers(data: bytes) -> list[Layer]:
    """Read the layers that hold weights, in the order of computation.

    Args:
        data: Content of a network's file.

    Raises:
        PackError: The bytes are no such file, or end early.
    """
    reader = _Reader(data)
    layers: list[Layer] = []
    while (tag := reader.seek(_LAYERS)) is not None:
        if tag.endswith(b"con_4"):
            layers.append(_conv(reader))
        elif tag.endswith(b"fc_2"):
            layers.append(_linear(reader))
        elif tag.endswith(b"bn_con2"):
            layers.append(_batch_norm(reader))
        else:
            scale, shift = reader.tensor().reshape(2, -1)
            layers.append(Affine(scale, shift))
    if not layers:
        raise PackError("no network layers found: not a dlib network file")
    return layers


def read_means(data: bytes) -> F32:
    """Read the mean red, green and blue (3,), 0 to 255, that the network's input subtracts."""
    reader = _Reader(data)
    if reader.seek(_INPUT) is None:
        raise PackError("no input layer found: not a dlib network file")
    return np.array([reader.real() for _ in range(3)], np.float32)


def read_mmod_options(data: bytes) -> MmodOptions:
    """Read the options in the loss layer of a max-margin detector, version 1 of their format."""
    reader = _Reader(data)
    if reader.seek(re.compile(rb"\x01\x0aloss_mmod_")) is None or reader.integer() != 1:
        raise PackError("no max-margin options of version 1 found: not dlib's face detector")
    window = (reader.integer(), reader.integer())
    for _ in range(3):  # losses of a false alarm and a miss, overlap of a hit: for training
        reader.real()
    return MmodOptions(window=window, overlap=reader.real(), covered=reader.real())


class _Reader:
    """Walks through dlib's serialised values."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def seek(self, tag: re.Pattern[bytes]) -> bytes | None:
        """Move behind the next tag and return it; None if there is no further tag."""
        match = tag.search(self._data, self._at)
        if match is None:
            return None
        self._at = match.end()
        return match.group()

    def integer(self) -> int:
        control = self._take(1)[0]
        value = int.from_bytes(self._take(control & 0x0F), "little")
        return -value if control & 0x80 else value

    def real(self) -> float:
        mantissa = self.integer()
        return float(mantissa * 2.0 ** self.integer())

    def sizes(self) -> tuple[int, int, int, int]:
        version = self.integer()
        if version not in (1, 2):
            raise PackError(f"tensor of version {version} where 1 or 2 was wanted")
        return self.integer(), self.integer(), self.integer(), self.integer()

    def tensor(self) -> F32:
        shape = self.sizes()
        raw = self._take(4 * int(np.prod(shape)))
        return np.frombuffer(raw, "<f4").astype(np.float32).reshape(shape)

    def _take(self, count: int) -> bytes:
        piece = self._data[self._at : self._at + count]
        if len(piece) < count:
            raise PackError(f"file ends after {len(self._data)} bytes, within a value")
        self._at += count
        return piece


def _conv(reader: _Reader) -> Conv:
    values = reader.tensor().ravel()  # filters, then biases
    out, height, width = reader.integer(), reader.integer(), reader.integer()
    stride, _, padding, _ = (reader.integer() for _ in range(4))  # down, across, down, across
    weight = values[:-out].reshape(out, -1, height, width)
    return Conv(weight.copy(), values[-out:].copy(), stride, padding)


def _linear(reader: _Reader) -> Linear:
    out, inputs = reader.integer(), reader.integer()
    return Linear(np.ascontiguousarray(reader.tensor().reshape(inputs, out).T))


def _batch_norm(reader: _Reader) -> Affine:
    """Fold the running statistics into scale and shift, as dlib's own affine layer does."""
    gamma, beta = reader.tensor().reshape(2, -1).astype(np.float64)
    for _ in range(2):
        reader.sizes()  # the places of gamma and beta in the tensor above
    reader.tensor()  # means and inverse deviations of the last training batch
    reader.tensor()
    mean, variance = reader.tensor().ravel(), reader.tensor().ravel()
    for _ in range(2):  # updates seen, window of the running mean
        reader.integer()
    for _ in range(4):  # learning rates and weight decays
        reader.real()
    scale = gamma / np.sqrt(variance + reader.real())
    return Affine(scale.astype(np.float32), (beta - scale * mean).astype(np.float32))
