"""The parts of a pack as the rest uses them, and how its tables become networks."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from safetensors import SafetensorError

from vcn_ray.errors import PackError
from vcn_ray.models.backbones import Backbone
from vcn_ray.models.iresnet import IResNet
from vcn_ray.models.mobilefacenet import MobileFaceNet
from vcn_ray.models.onnx_encoder import InputScale, OnnxEncoder
from vcn_ray.models.pack_files import (
    PACK_TOML,
    DetectorTable,
    EncoderTable,
    checked_file,
    one_line,
)
from vcn_ray.records import U8, Detections


class Detector(Protocol):
    """Finds faces in frames."""

    def detect(self, frames: U8) -> list[Detections]:
        """Faces of each frame, best score first.

        Args:
            frames: (b, h, w, 3) uint8 RGB, contiguous.

        Returns:
            One Detections a frame, float32, boxes and landmarks in pixels of that frame.
        """
        ...


class Aligner(Protocol):
    """Turns detected faces into the upright square crops that an encoder takes.

    Attributes:
        input_pixels: Side p of the crops.
    """

    input_pixels: int

    def align(self, frame: U8, detections: Detections) -> U8:
        """Crops of one frame.

        Args:
            frame: (h, w, 3) uint8 RGB.
            detections: n faces of that frame, from the pack's own detector.

        Returns:
            (n, p, p, 3) uint8 RGB, in the order of the detections.
        """
        ...


def open_detector(
    folder: Path, table: DetectorTable, threads: int, device: str = "cpu"
) -> Detector:
    """The detector that [detector] names.

    Raises:
        PackError: The file is absent, wrong, or no graph of that kind, or there is no such device.
    """
    # Importing onnxruntime takes a moment, which the pack dlib need not pay.
    from vcn_ray.models.detectors import ScrfdDetector, YuNetDetector

    kind = YuNetDetector if table.kind == "yunet" else ScrfdDetector
    path = checked_file(folder, table)
    try:
        return kind(
            path, table.min_score, table.input_pixels, threads, device, tiles=table.tiles or 1
        )
    except PackError:
        raise
    except Exception as error:  # OpenCV's and onnxruntime's errors share no base class
        raise PackError(
            f"{path} cannot be opened as {table.kind} ({one_line(error)}): give such a graph"
        ) from error


def open_encoder(path: Path, table: EncoderTable) -> Backbone:
    """The encoder that [encoder] names, with the weights of its file.

    Raises:
        PackError: The file holds other weights, or a graph that is no such encoder.
    """
    if table.kind == "onnx":
        return _open_graph(path, table)
    net = MobileFaceNet if table.kind == "mobilefacenet" else IResNet
    try:
        return net.from_file(path)
    except (SafetensorError, RuntimeError) as error:
        raise PackError(
            f"{path} does not hold the weights of {table.kind} ({one_line(error)}): "
            "convert them to safetensors with the published names, as vcn packs add does"
        ) from error


def _open_graph(path: Path, table: EncoderTable) -> OnnxEncoder:
    usual = InputScale()
    mean = usual.mean if table.mean is None else (table.mean[0], table.mean[1], table.mean[2])
    std = usual.std if table.std is None else (table.std[0], table.std[1], table.std[2])
    scale = InputScale(mean, std, bgr=table.channels == "bgr")
    encoder = OnnxEncoder.from_file(path, scale)
    if encoder.input_pixels != table.input_pixels:
        raise PackError(
            f"{path} takes pictures of {encoder.input_pixels} pixels, but {PACK_TOML} says "
            f"encoder.input_pixels = {table.input_pixels}: correct it"
        )
    return encoder
