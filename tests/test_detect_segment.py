"""The rows of a segment of real faces: where the detector runs, and what lies between."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vcn_ray.config import RunConfig, load_config, part_of
from vcn_ray.core import grid
from vcn_ray.core.vectors import pairwise_iou
from vcn_ray.io.isolation import plan_segments, read_segment
from vcn_ray.io.tables import column_array, read_boxes
from vcn_ray.io.video import DecodeConfig
from vcn_ray.packs.face_pack import FacePack
from vcn_ray.packs.load import load_pack
from vcn_ray.records import U8, Detections, Segment
from vcn_ray.rows.segment_rows import SegmentTables
from vcn_ray.steps import detect_segment

SETTINGS = {"isolation.isolate": "false", "detect.segment_seconds": "3"}
EVERY_FRAME = load_config(None, {**SETTINGS, "detect.grid_step": "1"})
GRID = load_config(None, SETTINGS)


class CountedDetector:
    """A detector that counts its frames."""

    def __init__(self, pack: FacePack) -> None:
        self.frames = 0
        self._detector = pack.detector

    def detect(self, frames: U8) -> list[Detections]:
        self.frames += len(frames)
        return self._detector.detect(frames)


@pytest.fixture(scope="module")
def pack() -> FacePack:
    return load_pack("centerface-sface")


@pytest.fixture(scope="module")
def segment(film: Path) -> Segment:
    return plan_segments(film, part_of(GRID.detect, DecodeConfig), GRID.isolation)[0]


def detect(
    film: Path, segment: Segment, pack: FacePack, config: RunConfig
) -> tuple[SegmentTables, int]:
    """The tables of a segment, and on how many frames the detector ran."""
    counted = CountedDetector(pack)
    return detect_segment(film, segment, replace(pack, detector=counted), config), counted.frames


@pytest.fixture(scope="module")
def every_frame(film: Path, segment: Segment, pack: FacePack) -> SegmentTables:
    return detect(film, segment, pack, EVERY_FRAME)[0]


def test_step_1_gives_what_the_detector_finds_in_each_frame(
    film: Path, segment: Segment, pack: FacePack, every_frame: SegmentTables
) -> None:
    decode = part_of(GRID.detect, DecodeConfig)
    boxes, numbers = [], []
    for frame in read_segment(film, segment, decode, GRID.isolation):
        if frame.image is not None:
            (faces,) = pack.detector.detect(frame.image[None])
            boxes.append(faces.boxes * frame.scale)
            numbers += [frame.number_in_segment] * len(faces)
    rows = every_frame.detections
    assert len(boxes) > 2 * grid.BATCH
    assert rows.column("frame_in_segment").to_pylist() == numbers
    np.testing.assert_allclose(read_boxes(rows), np.concatenate(boxes), atol=1e-3)
    assert all(rows.column("detected").to_pylist())


def test_the_grid_saves_runs_and_loses_no_face(
    film: Path, segment: Segment, pack: FacePack, every_frame: SegmentTables
) -> None:
    tables, runs = detect(film, segment, pack, GRID)
    assert tables.frames.equals(every_frame.frames)
    analysed = sum(tables.frames.column("analysed").to_pylist())
    assert runs <= 0.6 * analysed
    expected, found = (each.detections for each in (every_frame, tables))
    detected = np.array(found.column("detected").to_pylist())
    frames = [column_array(rows, "frame_in_segment") for rows in (expected, found)]
    assert len(np.unique(frames[1][detected])) <= runs
    assert not set(frames[1][detected]) & set(frames[1][~detected])  # a frame is one or the other
    there = [read_boxes(rows) for rows in (expected, found)]
    missed = 0
    for frame in np.unique(frames[0]):
        ours, theirs = (boxes[at == frame] for boxes, at in zip(there, frames, strict=True))
        missed += int((pairwise_iou(ours, theirs).max(axis=1, initial=0) < 0.5).sum())
        if detected[frames[1] == frame].all() and len(theirs):
            np.testing.assert_allclose(theirs, ours, atol=1e-3)
    assert missed == 0
    assert len(found) == len(expected)
    interpolated = found.filter(~detected)
    kept = [status == "kept" for status in interpolated.column("status").to_pylist()]
    assert any(kept)
    assert interpolated.filter(kept).column("image").null_count == 0


def test_batches_change_no_row(
    film: Path, segment: Segment, pack: FacePack, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, _ = detect(film, segment, pack, GRID)
    monkeypatch.setattr(grid, "BATCH", 3)
    monkeypatch.setattr(grid, "WINDOW_BYTES", 1 << 20)
    found, _ = detect(film, segment, pack, GRID)
    assert found.detections.equals(expected.detections)
    assert found.frames.equals(expected.frames)
