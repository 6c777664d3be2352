"""Describes pack folders that have no `pack.toml`, by the files in them; it runs no network.

There are two kinds. Since its release 2, InsightFace describes its packs in a `manifest.json`, and
its library reads and checks that. Any other folder needs one detector and one encoder as ONNX: a
detector is recognised by its outputs, an encoder by one square picture in and one row out.
InsightFace's older packs also hold graphs for landmarks and age, which take other picture sizes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vcn_ray.errors import PackError
from vcn_ray.models.detector_outputs import CENTERFACE_CHANNELS, SCRFD_STRIDES, YUNET_OUTPUTS
from vcn_ray.models.onnx_graph import RESTORED, graph_inputs, input_shape, load_model
from vcn_ray.packs.describe import (
    PACK_TOML,
    WEIGHTS_PIXELS,
    AlignerTable,
    DetectorTable,
    EncoderTable,
    PackFile,
    file_sha256,
    read_pack_file,
    refusing,
)
from vcn_ray.packs.embedded import CENTERFACE_PIXELS, CENTERFACE_SCORE
from vcn_ray.packs.weight_files import WeightFile

RESEARCH_ONLY = "InsightFace's models: non-commercial research only"
UNKNOWN_LICENCE = "unknown: ask the authors of these models, and write it here"
INSIGHTFACE_SOURCE = "deepinsight/insightface"

INSIGHTFACE_FILES = {
    "antelopev2": ("scrfd_10g_bnkps.onnx", "glintr100.onnx"),
    "buffalo_l": ("det_10g.onnx", "w600k_r50.onnx"),
    "buffalo_m": ("det_2.5g.onnx", "w600k_r50.onnx"),
    "buffalo_s": ("det_500m.onnx", "w600k_mbf.onnx"),
    "buffalo_sc": ("det_500m.onnx", "w600k_mbf.onnx"),
}
"""Detector and encoder of InsightFace's packs that hold only graphs."""

INSIGHTFACE_NAMES = (*INSIGHTFACE_FILES, "cheetah_l", "cheetah_s", "raccoon_l", "raccoon_s")
"""All face packs of InsightFace; the later ones come with a manifest."""

KNOWN_SHA256 = {
    "det_500m.onnx": "5e4447f50245bbd7966bd6c0fa52938c61474a04ec7def48753668a9d8b4ea3a",
    "det_2.5g.onnx": "041f73f47371333d1d17a6fee6c8ab4e6aecabefe398ff32cca4e2d5eaee0af9",
}
"""Known checksums of InsightFace's files."""

MANIFEST = "manifest.json"
MANIFEST_VERSION = 2
SCRFD_SCALE = {"mean": 127.5, "std": 128.0}

MIN_SCORE = 0.5  # of a detector whose folder says nothing
ENCODER_PIXELS = range(100, 161)
"""Sides of the pictures that face-ID nets take; landmark nets take 192, age nets 96."""
USUAL_SCALE = 127.5  # mean and std of most face-ID nets
SUBTRACT_NAMES, MULTIPLY_NAMES = ("Sub", "_minus"), ("Mul", "_mul")
"""How the names of the first nodes begin in graphs that scale grey levels themselves; InsightFace's
own loader uses the same test."""
FIRST_NODES = 8


@dataclass(frozen=True)
class Graph:
    """What the header of an ONNX file says."""

    path: Path
    side: int | None  # of the square picture it takes; None: it takes other inputs
    outputs: tuple[tuple[str, int], ...]  # names and ranks
    channels: tuple[int, ...]  # second axis of each output; 0 where it is open or absent
    scales_itself: bool  # its input is grey levels as they are


def read_pack(folder: Path) -> PackFile:
    """Describe a folder by its pack.toml, else by InsightFace's manifest, else by its ONNX graphs.

    Raises:
        PackError: The description is wrong, or there is none.
    """
    with refusing(f"{folder} cannot be described", "give another pack, or write a pack.toml"):
        if (folder / PACK_TOML).is_file():
            return read_pack_file(folder)
        if _has_manifest(folder):
            return _read_manifest(folder)
        return inspect_folder(folder) if any(folder.glob("*.onnx")) else read_pack_file(folder)


def inspect_folder(folder: Path) -> PackFile:
    """Describe a folder by the ONNX graphs in it; the pack has the folder's name.

    Raises:
        PackError: The folder does not hold exactly one detector and one encoder, or a file has the
            name of a known one and another checksum.
    """
    name = folder.resolve().name
    detector, encoder = find_nets(folder, name)
    return describe_nets(name, detector, encoder)


def describe_nets(name: str, detector: Graph, encoder: Graph | WeightFile) -> PackFile:
    """Describe a pack of a detector and an encoder.

    Args:
        name: Name of the pack; licence and source of InsightFace's packs are known.
        detector: A graph that `find_nets` returned.
        encoder: A graph that `find_nets` returned, or weights in a safetensors file.

    Raises:
        PackError: A file has the name of a known one and another checksum.
    """
    known = name in INSIGHTFACE_FILES
    return PackFile(
        name=name,
        licence=RESEARCH_ONLY if known else UNKNOWN_LICENCE,
        commercial_use=False,
        source=INSIGHTFACE_SOURCE if known else "unknown",
        detector=_detector_table(detector),
        aligner=AlignerTable(kind="arcface"),
        encoder=_encoder_table(encoder),
    )


def _detector_table(graph: Graph) -> DetectorTable:
    file, sha256 = graph.path.name, _known_checksum(graph.path)
    if _is_centerface(graph):
        return DetectorTable(
            kind="centerface",
            file=file,
            sha256=sha256,
            min_score=CENTERFACE_SCORE,
            input_pixels=CENTERFACE_PIXELS,
        )
    kind: Literal["yunet", "scrfd"] = "yunet" if _is_yunet(graph) else "scrfd"
    return DetectorTable(kind=kind, file=file, sha256=sha256, min_score=MIN_SCORE)


def _encoder_table(net: Graph | WeightFile) -> EncoderTable:
    file, sha256 = net.path.name, _known_checksum(net.path)
    if isinstance(net, WeightFile):
        return EncoderTable(kind=net.kind, file=file, sha256=sha256, input_pixels=WEIGHTS_PIXELS)
    mean, std = (0.0, 1.0) if net.scales_itself else (USUAL_SCALE, USUAL_SCALE)
    return _onnx_table(net, file, sha256, mean, std)


def _onnx_table(net: Graph, file: str, sha256: str, mean: float, std: float) -> EncoderTable:
    if net.side is None:
        raise PackError(f"{net.path} takes no square pictures of one size: give another encoder")
    return EncoderTable(
        kind="onnx",
        file=file,
        sha256=sha256,
        input_pixels=net.side,
        mean=[mean] * 3,
        std=[std] * 3,
        channels="rgb",
    )


def _known_checksum(path: Path) -> str:
    """Compute a checksum; raise PackError if a known file has that name and another checksum."""
    found = file_sha256(path)
    wanted = KNOWN_SHA256.get(path.name)
    if wanted and found != wanted:
        raise PackError(
            f"{path} has sha256 {found}, and InsightFace's {path.name} has {wanted}: fetch it "
            "again, or rename it"
        )
    return found


def read_header(path: Path) -> Graph:
    """Read the inputs and outputs of an ONNX file.

    Raises:
        PackError: The file is no ONNX graph, or has no input.
    """
    model = load_model(path)
    inputs = graph_inputs(model)
    if not inputs:
        raise PackError(f"{path} is an ONNX graph without an input: remove it from the folder")
    shape = input_shape(inputs[0])
    is_square = len(shape) == 4 and shape[2] == shape[3] > 0
    # Steps that turn stored small integers into weights do nothing to the picture.
    first = [node.name for node in model.graph.node if node.op_type not in RESTORED][:FIRST_NODES]
    scales = [any(n.startswith(names) for n in first) for names in (SUBTRACT_NAMES, MULTIPLY_NAMES)]
    return Graph(
        path,
        shape[2] if is_square else None,
        tuple((v.name, len(v.type.tensor_type.shape.dim)) for v in model.graph.output),
        tuple(sum(input_shape(v)[1:2]) for v in model.graph.output),
        all(scales),
    )


def find_nets(
    folder: Path, name: str, weights: Sequence[WeightFile] = ()
) -> tuple[Graph, Graph | WeightFile]:
    """Find the detector and the encoder of a folder.

    Args:
        folder: The folder.
        name: Name of the pack; for InsightFace's packs it says which files count.
        weights: Encoders in the folder that are no graphs.

    Raises:
        PackError: The folder does not hold exactly one of each.
    """
    wanted = None if weights else INSIGHTFACE_FILES.get(name)
    if wanted:
        missing = [file for file in wanted if not (folder / file).is_file()]
        if missing:
            raise PackError(
                f"pack {name} needs {' and '.join(missing)} in {folder}: put the files there, or "
                f"fetch them with vcn packs pull {name}"
            )
        detector, encoder = (read_header(folder / file) for file in wanted)
        return detector, encoder
    graphs = [read_header(path) for path in sorted(folder.glob("*.onnx"))]
    detectors = [graph for graph in graphs if _is_detector(graph)]
    encoders: list[Graph | WeightFile] = [graph for graph in graphs if _is_encoder(graph)]
    encoders += weights
    _check_one("detector", folder, detectors, len(graphs))
    _check_one("face-ID encoder", folder, encoders, len(graphs))
    return detectors[0], encoders[0]


def _check_one(what: str, folder: Path, found: Sequence[Graph | WeightFile], graphs: int) -> None:
    """Raise PackError unless one net was found among a number of graphs."""
    if not found:
        raise PackError(
            f"{folder} needs one {what} (none of {graphs} ONNX files is one): put one there; "
            "vcn packs add also takes weights that torch saved"
        )
    if len(found) > 1:
        names = ", ".join(net.path.name for net in found)
        raise PackError(f"{folder} needs one {what} ({names}): leave one in the folder")


def _is_yunet(graph: Graph) -> bool:
    return {name for name, _ in graph.outputs} == set(YUNET_OUTPUTS)


def _is_centerface(graph: Graph) -> bool:
    return graph.channels == CENTERFACE_CHANNELS


def _is_detector(graph: Graph) -> bool:
    return _is_yunet(graph) or _is_centerface(graph) or len(graph.outputs) in SCRFD_STRIDES


def _is_encoder(graph: Graph) -> bool:
    ranks = [rank for _, rank in graph.outputs]
    return ranks == [2] and graph.side is not None and graph.side in ENCODER_PIXELS


def _has_manifest(folder: Path) -> bool:
    """True if a folder has a manifest of the known version."""
    path = folder / MANIFEST
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and content.get("manifest_version") == MANIFEST_VERSION


def _read_manifest(folder: Path) -> PackFile:
    """Describe a folder that has such a manifest; tasks other than the two of a pack are ignored.

    Raises:
        PackError: The manifest is wrong, or names no usable detector or no usable encoder.
    """
    detection, recognition = _manifest_tasks(folder)
    if detection["preprocessing"] != SCRFD_SCALE:
        raise PackError(f"{folder / MANIFEST}: its detector is no SCRFD: give another pack")
    detector, encoder = folder / detection["file"], folder / recognition["file"]
    return PackFile(
        name=folder.resolve().name,
        licence=RESEARCH_ONLY,
        commercial_use=False,
        source=INSIGHTFACE_SOURCE,
        detector=DetectorTable(
            kind="scrfd",
            file=detection["file"],
            sha256=detection.get("sha256") or _known_checksum(detector),
            min_score=MIN_SCORE,
        ),
        aligner=AlignerTable(kind="arcface"),
        encoder=_onnx_table(
            read_header(encoder),
            recognition["file"],
            recognition.get("sha256") or _known_checksum(encoder),
            *_manifest_scale(recognition["preprocessing"]),
        ),
    )


def _manifest_tasks(folder: Path) -> list[dict[str, Any]]:
    """The manifest's entries on detection and recognition."""
    try:
        # Importing insightface takes a moment, which other packs need not pay.
        from insightface.model_zoo.package_manifest import load_model_package

        package = load_model_package(folder)
        tasks = [package.task(name).as_config() for name in ("detection", "recognition")]
        missing = [task["file"] for task in tasks if not Path(task["path"]).is_file()]
        if missing:
            raise FileNotFoundError(f"{' and '.join(missing)} missing")
        return tasks
    except Exception as error:  # the library's errors share no base class
        raise PackError(
            f"{folder / MANIFEST} cannot be used ({error}): fetch the pack again"
        ) from error


def _manifest_scale(preprocessing: str | dict[str, float]) -> tuple[float, float]:
    """Mean and std in grey levels; a graph that scales its input takes grey levels as they are."""
    if preprocessing == "embedded":
        return 0.0, 1.0
    if isinstance(preprocessing, str):
        raise PackError(f"{MANIFEST} names preprocessing {preprocessing!r}, which is not known")
    return float(preprocessing["mean"]), float(preprocessing["std"])
