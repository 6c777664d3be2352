"""Makes the description of a pack folder from the graphs that lie in it; it runs none of them.

A detector is told by its outputs, an encoder by one square picture in and one row out. The packs of
InsightFace hold more graphs than these two (landmarks, age), told by the size of their picture.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from vcn_ray.errors import PackError
from vcn_ray.models.weight_files import WeightFile
from vcn_ray.packs.describe import AlignerTable, DetectorTable, EncoderTable, PackFile

RESEARCH_ONLY = "InsightFace's models: non-commercial research only"
UNKNOWN_LICENCE = "unknown: ask whoever made these models, and write it here"

INSIGHTFACE_FILES = {
    "antelopev2": ("scrfd_10g_bnkps.onnx", "glintr100.onnx"),
    "buffalo_l": ("det_10g.onnx", "w600k_r50.onnx"),
    "buffalo_m": ("det_2.5g.onnx", "w600k_r50.onnx"),
    "buffalo_s": ("det_500m.onnx", "w600k_mbf.onnx"),
    "buffalo_sc": ("det_500m.onnx", "w600k_mbf.onnx"),
}
"""Detector and encoder of InsightFace's packs that hold graphs and nothing else."""

INSIGHTFACE_NAMES = (*INSIGHTFACE_FILES, "cheetah_l", "cheetah_s", "raccoon_l", "raccoon_s")
"""All its packs of faces; the later ones come with a manifest (see `pack_manifest`)."""

KNOWN_SHA256 = {
    "det_500m.onnx": "5e4447f50245bbd7966bd6c0fa52938c61474a04ec7def48753668a9d8b4ea3a",
    "det_2.5g.onnx": "041f73f47371333d1d17a6fee6c8ab4e6aecabefe398ff32cca4e2d5eaee0af9",
}
"""Checksums of InsightFace's files, as far as they are known here."""

ENCODER_PIXELS = range(100, 161)
"""Sides of pictures that face-ID nets take; those of landmark nets are 192, of age nets 96."""

SCRFD_OUTPUTS = (9, 15)  # scores, boxes and landmarks at three or five strides
YUNET_OUTPUTS = {
    f"{kind}_{stride}" for kind in ("cls", "obj", "bbox", "kps") for stride in (8, 16, 32)
}
DEFAULT_SCALE = 127.5
SUBTRACTS, MULTIPLIES = ("Sub", "_minus"), ("Mul", "_mul")
"""How the first nodes are called of graphs that take grey levels as they are; InsightFace's own
loader tells them so."""
FIRST_NODES = 8


@dataclass(frozen=True)
class Graph:
    """What matters of an ONNX file here."""

    path: Path
    side: int | None  # of the square picture it takes; None where it takes any
    outputs: tuple[tuple[str, int], ...]  # names and ranks
    scales_itself: bool  # its input is grey levels as they are


def inspect_folder(folder: Path, name: str | None = None) -> PackFile:
    """The description of a folder that has none.

    Args:
        folder: Where ONNX files lie.
        name: Of the pack; the folder's name if None.

    Raises:
        PackError: There is not one detector and one encoder in it, or a file that is known by its
            name is another one.
    """
    name = name or folder.resolve().name
    detector, encoder = find_nets(folder, name)
    return describe_nets(name, detector, encoder_table(encoder))


def describe_nets(name: str, detector: Graph, encoder: EncoderTable) -> PackFile:
    """The description of a detector and an encoder; the names of InsightFace's packs are known."""
    known = name in INSIGHTFACE_FILES
    return PackFile(
        name=name,
        licence=RESEARCH_ONLY if known else UNKNOWN_LICENCE,
        commercial_use=False,
        source="deepinsight/insightface" if known else "unknown",
        detector=DetectorTable(
            kind="yunet" if _is_yunet(detector) else "scrfd",
            file=detector.path.name,
            sha256=checksum(detector.path),
            min_score=0.5,
        ),
        aligner=AlignerTable(kind="arcface"),
        encoder=encoder,
    )


def encoder_table(net: Graph | WeightFile) -> EncoderTable:
    """The table [encoder] of a graph, or of weights as safetensors."""
    if isinstance(net, WeightFile):
        return EncoderTable(
            kind=net.kind, file=net.path.name, sha256=checksum(net.path), input_pixels=112
        )
    assert net.side is not None
    mean, std = (0.0, 1.0) if net.scales_itself else (DEFAULT_SCALE, DEFAULT_SCALE)
    return EncoderTable(
        kind="onnx",
        file=net.path.name,
        sha256=checksum(net.path),
        input_pixels=net.side,
        mean=[mean] * 3,
        std=[std] * 3,
        channels="rgb",
    )


def checksum(path: Path) -> str:
    """Hex sha256 of a file.

    Raises:
        PackError: It bears the name of a known file and is another one.
    """
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    wanted = KNOWN_SHA256.get(path.name)
    if wanted and found != wanted:
        raise PackError(
            f"{path} has sha256 {found}, and InsightFace's {path.name} has {wanted}: fetch it "
            "again, or give it another name"
        )
    return found


def read_header(path: Path) -> Graph:
    """What a graph takes and gives.

    Raises:
        PackError: The file is no ONNX graph.
    """
    try:
        model = onnx.load(str(path), load_external_data=False)
        weights = {tensor.name for tensor in model.graph.initializer}
        (given, *_) = [value for value in model.graph.input if value.name not in weights]
    except Exception as error:  # protobuf's errors share no base class
        raise PackError(f"{path} is no ONNX graph: take it out of the folder") from error
    sides = [axis.dim_value for axis in given.type.tensor_type.shape.dim]
    square = len(sides) == 4 and sides[2] == sides[3] > 0
    first = [node.name for node in model.graph.node[:FIRST_NODES]]
    scales = [any(n.startswith(words) for n in first) for words in (SUBTRACTS, MULTIPLIES)]
    return Graph(
        path,
        sides[2] if square else None,
        tuple((v.name, len(v.type.tensor_type.shape.dim)) for v in model.graph.output),
        all(scales),
    )


def find_nets(
    folder: Path, name: str, weights: Sequence[WeightFile] = ()
) -> tuple[Graph, Graph | WeightFile]:
    """The detector and the encoder of a folder.

    Args:
        folder: Where they lie.
        name: Of the pack; of InsightFace's packs it is known which files count.
        weights: Encoders in the folder that are no graphs.

    Raises:
        PackError: There is not one of each.
    """
    wanted = None if weights else INSIGHTFACE_FILES.get(name)
    if wanted:
        missing = [file for file in wanted if not (folder / file).is_file()]
        if missing:
            raise PackError(
                f"pack {name} needs {' and '.join(missing)} in {folder}: put the files there, or "
                f"fetch them by vcn packs pull {name}"
            )
        detector, encoder = (read_header(folder / file) for file in wanted)
        return detector, encoder
    graphs = [read_header(path) for path in sorted(folder.glob("*.onnx"))]
    detectors = [graph for graph in graphs if _is_detector(graph)]
    encoders: list[Graph | WeightFile] = [graph for graph in graphs if _is_encoder(graph)]
    encoders += weights
    nets: list[tuple[str, Sequence[Graph | WeightFile]]]
    nets = [("detector", detectors), ("face-ID encoder", encoders)]
    for what, found in nets:
        if len(found) != 1:
            there = ", ".join(net.path.name for net in found)
            todo = "leave one in the folder"
            if not found:
                there = f"none of {len(graphs)} ONNX files is one"
                todo = "put one there; vcn packs add also knows weights that torch saved"
            raise PackError(f"{folder} needs one {what} ({there}): {todo}")
    return detectors[0], encoders[0]


def _is_yunet(graph: Graph) -> bool:
    return {name for name, _ in graph.outputs} == YUNET_OUTPUTS


def _is_detector(graph: Graph) -> bool:
    return _is_yunet(graph) or len(graph.outputs) in SCRFD_OUTPUTS


def _is_encoder(graph: Graph) -> bool:
    ranks = [rank for _, rank in graph.outputs]
    return ranks == [2] and graph.side is not None and graph.side in ENCODER_PIXELS
