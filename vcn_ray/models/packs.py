"""Packs: a detector, an aligner and a face-ID encoder that belong together.

A pack is a built-in name (`dlib`), or a folder with `pack.toml` (see `pack_files`). The names of
InsightFace's packs are recognised, and looked for in `~/.insightface/models`; nothing is ever
downloaded. This module knows how a pack is found, checked and put together; it does not know where
frames come from, nor how the encoder is trained.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from safetensors import SafetensorError

from vcn_ray.errors import PackError
from vcn_ray.models.align import ArcFaceAligner
from vcn_ray.models.backbones import Backbone
from vcn_ray.models.mobilefacenet import MobileFaceNet
from vcn_ray.models.pack_files import (
    PACK_TOML,
    DetectorTable,
    PackFile,
    checked_file,
    read_pack_file,
    suggest,
)
from vcn_ray.records import U8, Detections

DLIB = "dlib"
INSIGHTFACE_PACKS = ("antelopev2", "buffalo_l", "buffalo_m", "buffalo_s", "buffalo_sc")


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
    place: str  # the folder, or "built in"
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
    spec = read_pack_file(folder)
    if device != "cpu":
        raise PackError(
            f"pack {spec.name}: its detector {spec.detector.kind} runs on the CPU only: set "
            "resources.segment_gpus to 0"
        )
    weights = checked_file(folder, spec.encoder)
    return FacePack(
        name=spec.name,
        licence=spec.licence,
        commercial_use=spec.commercial_use,
        source=spec.source,
        detector=open_detector(folder, spec.detector, threads),
        aligner=ArcFaceAligner(spec.encoder.input_pixels),
        encoder=spec.encoder.kind,
        detector_hash=spec.detector_hash(),
        encoder_hash=spec.encoder_hash(),
        make_encoder=partial(open_encoder, weights),
    )


def describe_pack(name_or_folder: str) -> PackInfo:
    """What a pack is made of and under which licence; checks its files but loads no network.

    Raises:
        PackError: As `load_pack`.
    """
    if name_or_folder == DLIB:
        return dlib_info()
    folder = find_folder(name_or_folder)
    spec = read_pack_file(folder)
    for table in (spec.detector, spec.encoder):
        checked_file(folder, table)
    return folder_info(folder, spec)


def list_packs() -> list[PackInfo]:
    """The built-in pack and every folder in `~/.insightface/models`, usable or not."""
    folders = sorted(path for path in insightface_home().glob("*") if path.is_dir())
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
        PackError: There is none, or it has no pack.toml.
    """
    known = name_or_folder in INSIGHTFACE_PACKS
    folder = insightface_home() / name_or_folder if known else Path(name_or_folder).expanduser()
    if folder.is_dir():
        if not (folder / PACK_TOML).is_file() and any(folder.glob("*.onnx")):
            raise PackError(
                f"{folder} holds ONNX graphs without {PACK_TOML}: an ONNX encoder cannot be "
                "trained here yet, so write a pack folder with a mobilefacenet encoder "
                "(an SCRFD graph can be its detector), or use the pack dlib"
            )
        return folder
    if known:
        raise PackError(
            f"pack {name_or_folder} is not at {folder}, and nothing is downloaded: put a folder "
            f"with {PACK_TOML} there; InsightFace's own ONNX encoders cannot be trained here yet"
        )
    if folder.exists():
        raise PackError(f"{folder} is a file: give the folder that holds {PACK_TOML}")
    hint = suggest(name_or_folder, [DLIB, *INSIGHTFACE_PACKS])
    raise PackError(f"no pack is called {name_or_folder!r} and no such folder exists: {hint}")


def insightface_home() -> Path:
    """Where InsightFace keeps its packs."""
    return Path.home() / ".insightface" / "models"


def dlib_info() -> PackInfo:
    """What the embedded pack is made of; checks its files.

    Raises:
        PackError: The package with its weights is missing or another one.
    """
    from vcn_ray.models import dlib_pack, dlib_weights

    for file in dlib_weights.SHA256:
        dlib_weights.model_file(file)
    return PackInfo(
        name=DLIB,
        licence=dlib_pack.LICENCE,
        commercial_use=True,
        source=dlib_pack.SOURCE,
        detector="dlib-mmod",
        encoder="dlib-resnet",
        place="built in",
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


def open_detector(folder: Path, table: DetectorTable, threads: int) -> Detector:
    """The detector that [detector] names.

    Raises:
        PackError: The file is absent, wrong, or no graph of that kind.
    """
    # Importing insightface and onnxruntime takes a second, which the pack dlib need not pay.
    from vcn_ray.models.detectors import ScrfdDetector, YuNetDetector

    kind = YuNetDetector if table.kind == "yunet" else ScrfdDetector
    path = checked_file(folder, table)
    try:
        return kind(path, table.min_score, table.input_pixels, threads)
    except PackError:
        raise
    except Exception as error:  # OpenCV's and onnxruntime's errors share no base class
        raise PackError(
            f"{path} cannot be opened as {table.kind} ({one_line(error)}): give such a graph"
        ) from error


def open_encoder(path: Path) -> Backbone:
    """MobileFaceNet with the weights of a safetensors file.

    Raises:
        PackError: The file holds other weights.
    """
    try:
        return MobileFaceNet.from_file(path)
    except (SafetensorError, RuntimeError) as error:
        raise PackError(
            f"{path} does not hold the weights of mobilefacenet ({one_line(error)}): "
            "convert them to safetensors with the published names"
        ) from error


def one_line(error: Exception) -> str:
    """An error's message without line breaks, cut where it gets long."""
    words = " ".join(str(error).split())
    return words if len(words) <= 200 else words[:200] + "..."
