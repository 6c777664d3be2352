"""Packs: a detector, an aligner and a face-ID encoder that belong together.

A pack is a built-in name (`dlib`), a folder with `pack.toml` (see `pack_files`), or a folder of
ONNX graphs without one, as InsightFace's are (see `pack_inspect`). A name is looked for in the
folders of VCN_PACKS and in `~/.insightface/models`; nothing is ever downloaded here. This module
knows how a pack is found, checked and put together; it does not know where frames come from, nor
how the encoder is trained.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from safetensors import SafetensorError

from vcn_ray.errors import PackError
from vcn_ray.models.align import ArcFaceAligner
from vcn_ray.models.backbones import Backbone
from vcn_ray.models.mobilefacenet import MobileFaceNet
from vcn_ray.models.onnx_encoder import InputScale, OnnxEncoder
from vcn_ray.models.pack_files import (
    PACK_TOML,
    DetectorTable,
    EncoderTable,
    PackFile,
    checked_file,
    read_pack_file,
    suggest,
)
from vcn_ray.models.pack_inspect import INSIGHTFACE_FILES, inspect_folder
from vcn_ray.records import U8, Detections

DLIB = "dlib"
BUILT_IN = "built in"
PLACES = "VCN_PACKS"
"""Environment variable with folders that hold packs, apart by the system's separator of paths."""


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


@dataclass(frozen=True)
class FacePack:
    """A loaded pack: detector and aligner are ready, the encoder is made anew on each request."""

    name: str
    licence: str
    commercial_use: bool
    source: str
    detector: Detector
    aligner: Aligner
    encoder: str  # kind
    detector_hash: str  # hex; of the files, kinds and settings that boxes and crops depend on
    encoder_hash: str  # hex; of the files, kind and settings that embeddings depend on
    make_encoder: Callable[[], Backbone]

    def load_encoder(self) -> Backbone:
        """A fresh trainable encoder on the CPU, in eval mode; training it changes no other."""
        return self.make_encoder().cpu().eval()


@dataclass(frozen=True)
class PackInfo:
    """What is known of a pack before any network is loaded."""

    name: str
    licence: str
    commercial_use: bool
    source: str
    detector: str  # kind
    encoder: str  # kind
    place: str  # the folder, or BUILT_IN
    detector_bytes: int = 0  # of its files; 0: unknown
    encoder_bytes: int = 0  # likewise
    problem: str = ""  # why it cannot be used as it is; empty where it can


def load_pack(name_or_folder: str, threads: int = 1, device: str = "cpu") -> FacePack:
    """Load a pack's detector and aligner; its encoder is loaded on request.

    Args:
        name_or_folder: A built-in or InsightFace name, or else a folder with pack.toml.
        threads: CPU threads of the detector.
        device: Where the detector runs; the encoder is always made on the CPU.

    Raises:
        PackError: The pack is unknown or incomplete, a file differs from its checksum, or the
            detector cannot run on that device.
    """
    if name_or_folder == DLIB:
        from vcn_ray.models.dlib_pack import load_dlib_pack

        return load_dlib_pack(threads, device)
    folder = find_folder(name_or_folder)
    spec = read_pack(folder)
    weights = checked_file(folder, spec.encoder)
    return FacePack(
        name=spec.name,
        licence=spec.licence,
        commercial_use=spec.commercial_use,
        source=spec.source,
        detector=open_detector(folder, spec.detector, threads, device),
        aligner=ArcFaceAligner(spec.encoder.input_pixels),
        encoder=spec.encoder.kind,
        detector_hash=spec.detector_hash(),
        encoder_hash=spec.encoder_hash(),
        make_encoder=partial(open_encoder, weights, spec.encoder),
    )


def describe_pack(name_or_folder: str) -> PackInfo:
    """What a pack is made of and under which licence; checks its files but loads no network.

    Raises:
        PackError: As `load_pack`.
    """
    if name_or_folder == DLIB:
        return dlib_info()
    folder = find_folder(name_or_folder)
    spec = read_pack(folder)
    detector, encoder = (
        checked_file(folder, table).stat().st_size for table in (spec.detector, spec.encoder)
    )
    return replace(folder_info(folder, spec), detector_bytes=detector, encoder_bytes=encoder)


def list_packs() -> list[PackInfo]:
    """The built-in pack and every folder in the places of packs, usable or not."""
    folders = [path for place in pack_places() for path in sorted(place.glob("*")) if path.is_dir()]
    found = []
    for name in (DLIB, *map(str, folders)):
        try:
            found.append(describe_pack(name))
        except PackError as error:
            found.append(unusable_info(name, str(error)))
    return found


def find_folder(name_or_folder: str) -> Path:
    """The folder of a pack that is not built in.

    Raises:
        PackError: There is none.
    """
    given = Path(name_or_folder).expanduser()
    places = [given, *(place / name_or_folder for place in pack_places())]
    found = next((place for place in places if place.is_dir()), None)
    if found:
        return found
    if given.exists():
        raise PackError(f"{given} is a file: give the folder that holds {PACK_TOML}")
    files = INSIGHTFACE_FILES.get(name_or_folder)
    if files:
        raise PackError(
            f"pack {name_or_folder} is not there, and nothing is downloaded by itself: put "
            f"{' and '.join(files)} into {insightface_home() / name_or_folder}, or have them "
            f"fetched by vcn packs pull {name_or_folder}"
        )
    hint = suggest(name_or_folder, [DLIB, *INSIGHTFACE_FILES])
    raise PackError(f"no pack is called {name_or_folder!r} and no such folder exists: {hint}")


def read_pack(folder: Path) -> PackFile:
    """What a folder's pack.toml says, or what its ONNX graphs say where it has none.

    Raises:
        PackError: It says something wrong, or nothing.
    """
    if not (folder / PACK_TOML).is_file() and any(folder.glob("*.onnx")):
        return inspect_folder(folder)
    return read_pack_file(folder)


def pack_places() -> list[Path]:
    """Folders whose folders are packs, in the order in which a name is looked for."""
    named = [place for place in os.environ.get(PLACES, "").split(os.pathsep) if place]
    return [*(Path(place).expanduser() for place in named), insightface_home()]


def insightface_home() -> Path:
    """Where InsightFace keeps its packs."""
    return Path.home() / ".insightface" / "models"


def dlib_info() -> PackInfo:
    """What the embedded pack is made of; checks its files.

    Raises:
        PackError: The package with its weights is missing or another one.
    """
    from vcn_ray.models import dlib_pack, dlib_weights

    size = {file: dlib_weights.model_file(file).stat().st_size for file in dlib_weights.SHA256}
    return PackInfo(
        name=DLIB,
        licence=dlib_pack.LICENCE,
        commercial_use=True,
        source=dlib_pack.SOURCE,
        detector="dlib-mmod",
        encoder="dlib-resnet",
        place=BUILT_IN,
        detector_bytes=size[dlib_weights.MMOD_FILE] + size[dlib_weights.LANDMARK_FILE],
        encoder_bytes=size[dlib_weights.RESNET_FILE],
    )


def folder_info(folder: Path, spec: PackFile) -> PackInfo:
    """What pack.toml says, for people."""
    return PackInfo(
        name=spec.name,
        licence=spec.licence,
        commercial_use=spec.commercial_use,
        source=spec.source,
        detector=spec.detector.kind,
        encoder=spec.encoder.kind,
        place=str(folder),
    )


def unusable_info(place: str, problem: str) -> PackInfo:
    """Something that is there but is no pack that can be used."""
    return PackInfo(
        name=Path(place).name,
        licence="unknown; InsightFace's own models are for non-commercial research only",
        commercial_use=False,
        source="unknown",
        detector="unknown",
        encoder="unknown",
        place=place,
        problem=problem,
    )


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
    try:
        return MobileFaceNet.from_file(path)
    except (SafetensorError, RuntimeError) as error:
        raise PackError(
            f"{path} does not hold the weights of mobilefacenet ({one_line(error)}): "
            "convert them to safetensors with the published names"
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


def one_line(error: Exception) -> str:
    """An error's message without line breaks, cut where it gets long."""
    words = " ".join(str(error).split())
    return words if len(words) <= 200 else words[:200] + "..."
