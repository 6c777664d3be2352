"""Packs: a detector, an aligner and a face-ID encoder that belong together.

A pack is a built-in name (`dlib`), a folder with `pack.toml` (see `pack_files`), or a folder of
ONNX graphs without one, as InsightFace's are (see `pack_inspect`). A name is looked for in the
places of VCN_PACKS and in `~/.insightface/models`; nothing is ever downloaded here. This module
knows how a pack is found, checked and put together; it does not know where frames come from, nor
how the encoder is trained.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from functools import partial
from pathlib import Path

from vcn_ray.errors import PackError
from vcn_ray.models.align import ArcFaceAligner
from vcn_ray.models.onnx_export import write_like
from vcn_ray.packs.describe import (
    PACK_TOML,
    PackFile,
    checked_file,
    read_pack_file,
    suggest,
)
from vcn_ray.packs.embedded import NAME, dlib_info, load_dlib_pack
from vcn_ray.packs.face_pack import FacePack, PackInfo
from vcn_ray.packs.inspect import INSIGHTFACE_FILES, INSIGHTFACE_NAMES, inspect_folder
from vcn_ray.packs.manifest import has_manifest, read_manifest
from vcn_ray.packs.nets import open_detector, open_encoder

LOCAL = "file://"
PLACES = "VCN_PACKS"
"""Environment variable with folders and S3 prefixes that hold packs, apart like paths in PATH."""
_SEPARATOR = re.compile(rf"{re.escape(os.pathsep)}(?!//)")  # not the colon of s3://


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
    if name_or_folder == NAME:
        return load_dlib_pack(threads, device)
    folder = find_folder(name_or_folder)
    return load_described(folder, read_pack(folder), threads, device)


def load_described(folder: Path, spec: PackFile, threads: int = 1, device: str = "cpu") -> FacePack:
    """Load what a description names; the folder need not have it as a file.

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
        write_onnx=partial(write_like, weights),
    )


def describe_pack(name_or_folder: str) -> PackInfo:
    """What a pack is made of and under which licence; checks its files but loads no network.

    Raises:
        PackError: As `load_pack`.
    """
    if name_or_folder == NAME:
        return dlib_info()
    folder = find_folder(name_or_folder)
    spec = read_pack(folder)
    detector, encoder = (
        checked_file(folder, table).stat().st_size for table in (spec.detector, spec.encoder)
    )
    return replace(folder_info(folder, spec), detector_bytes=detector, encoder_bytes=encoder)


def list_packs() -> list[PackInfo]:
    """The built-in pack and every folder in the places of packs, usable or not."""
    there = [path for place in local_places() for path in sorted(place.glob("[!.]*"))]
    folders = [path for path in there if path.is_dir()]
    found = []
    for name in (NAME, *map(str, folders)):
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
    given = local_folder(name_or_folder)
    places = [given, *(place / name_or_folder for place in local_places())]
    found = next((place for place in places if place.is_dir()), None)
    if found:
        return found
    if given.exists():
        raise PackError(f"{given} is a file: give the folder that holds {PACK_TOML}")
    if name_or_folder in INSIGHTFACE_NAMES:
        files = " and ".join(INSIGHTFACE_FILES.get(name_or_folder, ("what its archive holds",)))
        raise PackError(
            f"pack {name_or_folder} is not there, and nothing is downloaded by itself: put "
            f"{files} into {insightface_home() / name_or_folder}, or have them "
            f"fetched by vcn packs pull {name_or_folder}"
        )
    hint = suggest(name_or_folder, [NAME, *INSIGHTFACE_NAMES])
    raise PackError(f"no pack is called {name_or_folder!r} and no such folder exists: {hint}")


def read_pack(folder: Path) -> PackFile:
    """What a folder's pack.toml says, or else InsightFace's manifest, or else its ONNX graphs.

    Raises:
        PackError: It says something wrong, or nothing.
    """
    if (folder / PACK_TOML).is_file():
        return read_pack_file(folder)
    if has_manifest(folder):
        return read_manifest(folder)
    return inspect_folder(folder) if any(folder.glob("*.onnx")) else read_pack_file(folder)


def pack_places() -> list[str]:
    """Folders and S3 prefixes below which packs are, in the order in which a name is looked for."""
    named = [place for place in _SEPARATOR.split(os.environ.get(PLACES, "")) if place]
    return [*named, str(insightface_home())]


def local_places() -> list[Path]:
    """Those of them that are folders of this machine."""
    return [local_folder(p) for p in pack_places() if "://" not in p.removeprefix(LOCAL)]


def local_folder(place: str) -> Path:
    """The folder that a place names.

    Raises:
        PackError: It is below the home of somebody who has none.
    """
    try:
        return Path(place.removeprefix(LOCAL)).expanduser()
    except RuntimeError as error:
        raise PackError(f"{place}: {error}: name a folder in full") from error


def insightface_home() -> Path:
    """Where InsightFace keeps its packs."""
    return Path.home() / ".insightface" / "models"


def folder_info(folder: Path | str, spec: PackFile) -> PackInfo:
    """What pack.toml says, for people; its folder may be a prefix on S3."""
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
