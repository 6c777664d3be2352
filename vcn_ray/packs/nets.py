"""How the tables of a pack.toml become networks."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError

from vcn_ray.errors import PackError
from vcn_ray.models.backbones import Backbone
from vcn_ray.models.iresnet import IResNet
from vcn_ray.models.mobilefacenet import MobileFaceNet
from vcn_ray.models.onnx_encoder import InputScale, OnnxEncoder
from vcn_ray.packs.describe import (
    PACK_TOML,
    DetectorTable,
    EncoderTable,
    checked_file,
)
from vcn_ray.packs.face_pack import Detector
from vcn_ray.redact import one_line


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
            f"{path} cannot be opened as {table.kind} ({one_line(error, 200)}): give such a graph"
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
            f"{path} does not hold the weights of {table.kind} ({one_line(error, 200)}): "
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
