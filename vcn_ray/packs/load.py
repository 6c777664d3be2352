"""Loads and describes packs of this machine: the built-in ones and folders, by name or path.

A pack is a built-in name (see `embedded`), a folder with `pack.toml` (see `describe`), or a folder
that the files in it describe, such as InsightFace's (see `inspect`). A name is searched in the
folders of VCN_PACKS, then in `~/.insightface/models`. This module downloads nothing; it does not
know S3, where frames come from, or how an encoder is trained.
"""

from __future__ import annotations

import os
import re
from functools import partial
from pathlib import Path

from vcn_ray.errors import PackError
from vcn_ray.models.align import ArcFaceAligner
from vcn_ray.models.backbones import Backbone
from vcn_ray.models.iresnet import IResNet
from vcn_ray.models.mobilefacenet import MobileFaceNet
from vcn_ray.models.onnx_encoder import InputScale, OnnxEncoder
from vcn_ray.models.onnx_export import write_like
from vcn_ray.packs.describe import (
    PACK_TOML,
    DetectorTable,
    EncoderTable,
    PackFile,
    checked_file,
    refusing,
    suggest,
)
from vcn_ray.packs.embedded import BUILT_IN_NAMES, describe_built_in, load_built_in
from vcn_ray.packs.face_pack import Detector, FacePack, PackInfo
from vcn_ray.packs.inspect import INSIGHTFACE_FILES, INSIGHTFACE_NAMES, read_pack

LOCAL = "file://"
PLACES = "VCN_PACKS"
"""Environment variable with folders and S3 prefixes that hold packs, separated as in PATH."""
_SEPARATOR = re.compile(rf"{re.escape(os.pathsep)}(?!//)")  # not the colon of s3://


def load_pack(name_or_folder: str, threads: int = 1, device: str = "cpu") -> FacePack:
    """Load a pack's detector and aligner; `load_encoder` loads its encoder.

    Args:
        name_or_folder: The name of a pack, or its folder.
        threads: CPU threads of the detector.
        device: Where the detector runs, `cpu` or `cuda`; the encoder is loaded on the CPU.

    Raises:
        PackError: The pack is unknown or incomplete, a file has another checksum, or the detector
            cannot run on that device.
    """
    if name_or_folder in BUILT_IN_NAMES:
        return load_built_in(name_or_folder, threads, device)
    folder = find_folder(name_or_folder)
    return load_described(folder, read_pack(folder), threads, device)


def load_described(folder: Path, spec: PackFile, threads: int = 1, device: str = "cpu") -> FacePack:
    """Load the files that a description names; the folder needs no pack.toml.

    Raises:
        PackError: As `load_pack`.
    """
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
        prior=spec.face_prior,
        write_onnx=partial(write_like, weights),
    )


def describe_pack(name_or_folder: str) -> PackInfo:
    """Describe a pack and check its files; this loads no network.

    Raises:
        PackError: The pack is unknown or incomplete, or a file has another checksum.
    """
    if name_or_folder in BUILT_IN_NAMES:
        return describe_built_in(name_or_folder)
    folder = find_folder(name_or_folder)
    return describe_folder(folder, read_pack(folder))


def describe_folder(folder: Path, spec: PackFile) -> PackInfo:
    """Describe the pack of a folder and check its files.

    Raises:
        PackError: A file is missing or has another checksum.
    """
    detector, encoder = (checked_file(folder, table) for table in (spec.detector, spec.encoder))
    return pack_info(str(folder), spec, detector.stat().st_size, encoder.stat().st_size)


def pack_info(
    place: str, spec: PackFile, detector_bytes: int = 0, encoder_bytes: int = 0
) -> PackInfo:
    """Say what a pack.toml says; its place may be an S3 prefix."""
    return PackInfo(
        name=spec.name,
        licence=spec.licence,
        commercial_use=spec.commercial_use,
        source=spec.source,
        detector=spec.detector.kind,
        encoder=spec.encoder.kind,
        place=place,
        detector_hash=spec.detector_hash(),
        encoder_hash=spec.encoder_hash(),
        detector_bytes=detector_bytes,
        encoder_bytes=encoder_bytes,
        prior=spec.face_prior,
    )


def find_folder(name_or_folder: str) -> Path:
    """Find the folder of a pack that is not built in.

    Raises:
        PackError: There is no such folder; the message says what to do.
    """
    given = local_folder(name_or_folder)
    candidates = [given, *(place / name_or_folder for place in local_places())]
    found = next((folder for folder in candidates if folder.is_dir()), None)
    if found:
        return found
    if given.exists():
        raise PackError(f"{given} is a file: give the folder that holds {PACK_TOML}")
    if name_or_folder in INSIGHTFACE_NAMES:
        files = " and ".join(INSIGHTFACE_FILES.get(name_or_folder, ("the files of its archive",)))
        raise PackError(
            f"pack {name_or_folder} is not on this machine, and nothing is downloaded by itself: "
            f"put {files} into {insightface_home() / name_or_folder}, or fetch them with "
            f"vcn packs pull {name_or_folder}"
        )
    hint = suggest(name_or_folder, [*BUILT_IN_NAMES, *INSIGHTFACE_NAMES])
    raise PackError(f"no pack is called {name_or_folder!r} and no such folder exists: {hint}")


def pack_places() -> list[str]:
    """List the folders and S3 prefixes in which a name is searched, in that order."""
    named = [place for place in _SEPARATOR.split(os.environ.get(PLACES, "")) if place]
    return [*named, str(insightface_home())]


def local_places() -> list[Path]:
    """List those of `pack_places` that are folders of this machine."""
    return [local_folder(p) for p in pack_places() if "://" not in p.removeprefix(LOCAL)]


def local_folder(place: str) -> Path:
    """Turn a path or a `file://` address into a path.

    Raises:
        PackError: The path is below the home folder of an unknown user.
    """
    try:
        return Path(place.removeprefix(LOCAL)).expanduser()
    except RuntimeError as error:
        raise PackError(f"{place}: {error}: give the full path of the folder") from error


def insightface_home() -> Path:
    """The folder in which InsightFace keeps its packs."""
    return Path.home() / ".insightface" / "models"


def open_detector(
    folder: Path, table: DetectorTable, threads: int = 1, device: str = "cpu"
) -> Detector:
    """Open the detector of a table [detector].

    Raises:
        PackError: The file is missing, has another checksum, or is no graph of that kind, or the
            device is missing.
    """
    # Importing onnxruntime takes a moment, which the pack dlib need not pay.
    from vcn_ray.models.detectors import (
        CenterFaceDetector,
        OnnxDetector,
        ScrfdDetector,
        YuNetDetector,
    )

    kinds: dict[str, type[OnnxDetector]] = {
        "centerface": CenterFaceDetector,
        "scrfd": ScrfdDetector,
        "yunet": YuNetDetector,
    }
    path = checked_file(folder, table)
    with refusing(f"{path} cannot be opened as {table.kind}", "give such a graph"):
        return kinds[table.kind](
            path, table.min_score, table.input_pixels, threads, device, tiles=table.tiles or 1
        )


def open_encoder(path: Path, table: EncoderTable) -> Backbone:
    """Open the encoder of a table [encoder].

    Args:
        path: The checked file of that table.
        table: Its kind and settings.

    Raises:
        PackError: The file holds other weights, or a graph that is no such encoder.
    """
    if table.kind == "onnx":
        with refusing(f"{path} is no encoder that runs", "give another graph"):
            return _open_graph(path, table)
    with refusing(
        f"{path} does not hold the weights of {table.kind}",
        "convert them to safetensors with the published names, as vcn packs add does",
    ):
        return (MobileFaceNet if table.kind == "mobilefacenet" else IResNet).from_file(path)


def _open_graph(path: Path, table: EncoderTable) -> OnnxEncoder:
    usual = InputScale()
    mean = usual.mean if table.mean is None else (table.mean[0], table.mean[1], table.mean[2])
    std = usual.std if table.std is None else (table.std[0], table.std[1], table.std[2])
    encoder = OnnxEncoder.from_file(path, InputScale(mean, std, bgr=table.channels == "bgr"))
    if encoder.input_pixels != table.input_pixels:
        raise PackError(
            f"{path} takes pictures of {encoder.input_pixels} pixels, but {PACK_TOML} says "
            f"encoder.input_pixels = {table.input_pixels}: correct it"
        )
    return encoder
