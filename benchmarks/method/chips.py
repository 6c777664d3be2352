"""Where do CenterFace's landmarks lie in the chips that dlib's own detector and landmarks cut?

    python -m benchmarks.method.chips FOLDER [--fps 4]

The pack centerface-dlib cuts chips for dlib's encoder with the five landmarks of CenterFace. Its
template, CHIP_LANDMARKS in vcn_ray/models/align.py, is what this script measures: the median place
of each landmark in chips that dlib cuts of the same faces, over all videos of FOLDER.

A face counts if CenterFace scores it 0.8 or more, it is 70 pixels high or more, and its box and one
of dlib's MMOD detector have an intersection over union above 0.4. Frames are sampled and shrunk as
in a run, at --fps a second.

How to read a row: x y of a landmark, in pixels of a chip of 150. "all" has the medians over the
faces of all videos, "symmetric" their mean with their mirror image, and "in use" the template.
"spread" is the median distance of a face's five landmarks from the medians of its row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from benchmarks.command import make_parser, read_options, save
from benchmarks.report import Cell, Report, say
from vcn_ray.io.catalog import read_catalog
from vcn_ray.io.isolation import IsolationConfig, plan_segments, read_segment
from vcn_ray.io.video import DecodeConfig
from vcn_ray.models.align import CHIP_LANDMARKS, CHIP_PIXELS, chip_to_frame
from vcn_ray.packs.face_pack import Detector
from vcn_ray.packs.load import load_pack
from vcn_ray.records import F32, F64, U8

MIN_SCORE = 0.8
MIN_PIXELS = 70  # dlib's detector finds faces from 80 pixels on
MIN_OVERLAP = 0.4  # intersection over union; CenterFace's boxes are taller than dlib's
MIRRORED = [1, 0, 2, 4, 3]  # the landmarks of a mirror image, in order

POINTS = ("left eye", "right eye", "nose", "left mouth", "right mouth")
COLUMNS = {"video": "", "faces": "", **dict.fromkeys(POINTS, ""), "spread": ".1f"}


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, __file__)
    parser.add_argument("folder", metavar="FOLDER", help="videos whose people may be anybody")
    parser.add_argument("--fps", type=float, default=4.0, help="frames a second of a video")
    options = read_options(parser, argv)
    ours, dlibs = (load_pack(name).detector for name in ("centerface-dlib", "dlib"))
    report = Report(COLUMNS)
    found = []
    for video in read_catalog([options.folder]):
        say(f"{video.uri} ...")
        parts = [
            in_chips(frame, ours, dlibs) for frame in read_frames(Path(video.uri), options.fps)
        ]
        found.append(np.concatenate([np.empty((0, 5, 2)), *parts]))
        report.add(median_row(Path(video.uri).stem, found[-1]))
    faces = np.concatenate(found)
    report.add(median_row("all", faces))
    if len(faces):
        report.add({"video": "symmetric", **cells_of(symmetric(np.median(faces, axis=0)))})
    report.add({"video": "in use", **cells_of(CHIP_LANDMARKS)})
    save(options, report)


def read_frames(path: Path, fps: float) -> Iterator[U8]:
    """The frames of a video that a run would analyse at that rate, (h, w, 3) RGB."""
    decode, limits = replace(DecodeConfig(), analysis_fps=fps), IsolationConfig()
    for segment in plan_segments(path, decode, limits):
        for frame in read_segment(path, segment, decode, limits):
            if frame.image is not None:
                yield frame.image


def in_chips(frame: U8, ours: Detector, dlibs: Detector) -> F64:
    """CenterFace's landmarks (n, 5, 2) in dlib's chips of the faces that both detectors find.

    Args:
        frame: (h, w, 3) uint8 RGB.
        ours: CenterFace.
        dlibs: MMOD with dlib's landmarks.
    """
    (faces,) = ours.detect(frame[None])
    tall = faces.boxes[:, 3] - faces.boxes[:, 1] >= MIN_PIXELS
    rows = np.flatnonzero(tall & (faces.scores >= MIN_SCORE))
    if not len(rows):  # dlib's detector takes ten times as long
        return np.empty((0, 5, 2))
    (others,) = dlibs.detect(frame[None])
    placed = []
    for row in rows:
        shared = overlaps(faces.boxes[row], others.boxes)
        if len(shared) and shared.max() > MIN_OVERLAP:
            to_chip = cv2.invertAffineTransform(chip_to_frame(others.landmarks[shared.argmax()]))
            placed.append(faces.landmarks[row] @ to_chip[:, :2].T + to_chip[:, 2])
    return np.reshape(placed, (-1, 5, 2))


def overlaps(box: F32, others: F32) -> F32:
    """Intersection over union (n,) of a box with each of n boxes."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    common = np.clip(high - low, 0, None).prod(axis=1)
    areas = (others[:, 2:] - others[:, :2]).prod(axis=1) + (box[2:] - box[:2]).prod()
    shared: F32 = common / (areas - common)
    return shared


def symmetric(points: F64) -> F64:
    """The mean (5, 2) of landmarks in a chip and of those of its mirror image."""
    mirrored = points[MIRRORED] * [-1, 1] + [CHIP_PIXELS, 0]
    return (points + mirrored) / 2


def median_row(name: str, faces: F64) -> dict[str, Cell]:
    """The row of faces whose landmarks (n, 5, 2) are given."""
    if not len(faces):
        return {"video": name, "faces": 0}
    middle = np.median(faces, axis=0)
    spread = float(np.median(np.linalg.norm(faces - middle, axis=2)))
    return {"video": name, "faces": len(faces), **cells_of(middle), "spread": spread}


def cells_of(points: F64) -> dict[str, Cell]:
    """One cell for each landmark (5, 2)."""
    return {name: f"{x:.1f} {y:.1f}" for name, (x, y) in zip(POINTS, points, strict=True)}


if __name__ == "__main__":
    main()
