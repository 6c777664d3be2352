"""Reads the packs that InsightFace describes by a `manifest.json` of its own, since its release 2.

The library reads and checks the manifest; this module says what of it is a pack here. Other tasks
of such a package (bodies, verification) are left alone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vcn_ray.errors import PackError
from vcn_ray.packs.describe import AlignerTable, DetectorTable, EncoderTable, PackFile
from vcn_ray.packs.inspect import RESEARCH_ONLY, checksum, read_header

MANIFEST = "manifest.json"
VERSION = 2
DETECTOR_SCALE = {"mean": 127.5, "std": 128.0}  # of every SCRFD


def has_manifest(folder: Path) -> bool:
    """True where a folder has a manifest of the version that is known here."""
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("manifest_version") == VERSION


def read_manifest(folder: Path) -> PackFile:
    """The description of a folder that has such a manifest.

    Raises:
        PackError: The manifest is wrong, or tells of no detector or no encoder that can be used.
    """
    detection, recognition = _tasks(folder)
    detector, encoder = folder / detection["file"], folder / recognition["file"]
    if detection["preprocessing"] != DETECTOR_SCALE:
        raise PackError(f"{folder / MANIFEST}: its detector is no SCRFD: bring another pack")
    side = read_header(encoder).side
    if side is None:
        raise PackError(f"{encoder} takes no square pictures of one size: bring another encoder")
    mean, std = _scale(recognition["preprocessing"])
    return PackFile(
        name=folder.resolve().name,
        licence=RESEARCH_ONLY,
        commercial_use=False,
        source="deepinsight/insightface",
        detector=DetectorTable(
            kind="scrfd",
            file=detection["file"],
            sha256=detection.get("sha256") or checksum(detector),
            min_score=0.5,
        ),
        aligner=AlignerTable(kind="arcface"),
        encoder=EncoderTable(
            kind="onnx",
            file=recognition["file"],
            sha256=recognition.get("sha256") or checksum(encoder),
            input_pixels=side,
            mean=[mean] * 3,
            std=[std] * 3,
            channels="rgb",
        ),
    )


def _tasks(folder: Path) -> list[dict[str, Any]]:
    """What the manifest says of detection and of recognition."""
    try:
        # Importing insightface takes a moment, which other packs need not pay.
        from insightface.model_zoo.package_manifest import load_model_package

        package = load_model_package(folder)
        tasks = [package.task(name).as_config() for name in ("detection", "recognition")]
        missing = [task["file"] for task in tasks if not Path(task["path"]).is_file()]
        if missing:
            raise FileNotFoundError(f"{' and '.join(missing)} missing")
        return tasks
    except Exception as error:  # whatever the library finds wrong
        raise PackError(
            f"{folder / MANIFEST} cannot be used ({error}): fetch the pack again"
        ) from error


def _scale(preprocessing: Any) -> tuple[float, float]:
    """Mean and deviation in grey levels; a graph that scales by itself takes them as they are."""
    if preprocessing == "embedded":
        return 0.0, 1.0
    return float(preprocessing["mean"]), float(preprocessing["std"])
