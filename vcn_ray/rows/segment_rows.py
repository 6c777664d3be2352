"""The stage of a segment: decode once, read signals, find and align faces (METHOD 1.2-1.3).

Pixels end here: what leaves are rows, aligned crops as JPEG, and three small pictures for the join.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from vcn_ray.config import RunConfig
from vcn_ray.core.filter import face_sharpness, mark_faces
from vcn_ray.core.signals import SegmentSignals, SignalReader
from vcn_ray.io.frames import DecodedFrame
from vcn_ray.io.isolation import read_segment
from vcn_ray.io.tables import box_fields, encode_jpeg, encode_png, make_table
from vcn_ray.io.video import Source
from vcn_ray.packs.face_pack import FacePack
from vcn_ray.records import KEPT, U8, Detections, Segment
from vcn_ray.schema import DETECTIONS, FRAMES

BATCH = 8  # frames given to the detector at once


@dataclass(frozen=True, slots=True, eq=False)
class SegmentRows:
    """Everything that is kept of a segment."""

    detections: pa.Table
    frames: pa.Table
    problems: tuple[str, ...]  # what of it could not be read, a line each


def detect_faces(
    source: Source, segment: Segment, pack: FacePack, config: RunConfig
) -> SegmentRows:
    """Find every face of a segment, kept or marked.

    Args:
        source: The video.
        segment: Which part of it.
        pack: Detector and aligner.
        config: How to decode and filter.

    Raises:
        MediaError: Not one frame of it can be read, or its decoder had to be stopped.
    """
    frames = read_segment(source, segment, config.decode, config.isolation)
    reader: SignalReader | None = None
    rows: list[dict[str, Any]] = []
    for batch in _batches(iter(frames)):
        for frame in batch:
            reader = reader or SignalReader(frame.displayed_width)
            reader.add(frame.small, frame.seconds, analysed=frame.analysed)
        rows += _face_rows([frame for frame in batch if frame.image is not None], pack, config)
    signals = (reader or SignalReader(1)).result()
    for row in rows:
        row["segment"] = segment.index
    return SegmentRows(
        detections=make_table(rows, DETECTIONS),
        frames=_frame_table(segment.index, signals),
        problems=tuple(frames.problems),
    )


def _batches(frames: Iterator[DecodedFrame]) -> Iterator[list[DecodedFrame]]:
    """Frames in lists that hold BATCH analysed ones; the last may hold fewer."""
    batch: list[DecodedFrame] = []
    for frame in frames:
        batch.append(frame)
        if sum(f.image is not None for f in batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _face_rows(
    frames: list[DecodedFrame], pack: FacePack, config: RunConfig
) -> list[dict[str, Any]]:
    images = [frame.image for frame in frames if frame.image is not None]
    if not images:
        return []
    found = pack.detector.detect(np.stack(images))
    rows: list[dict[str, Any]] = []
    for frame, image, detections in zip(frames, images, found, strict=True):
        rows += _rows_of_frame(frame, image, detections, pack, config)
    return rows


def _rows_of_frame(
    frame: DecodedFrame, image: U8, faces: Detections, pack: FacePack, config: RunConfig
) -> list[dict[str, Any]]:
    if not len(faces):
        return []
    crops = pack.aligner.align(image, faces)
    sharp = np.array([face_sharpness(crop) for crop in crops], np.float32)
    boxes = faces.boxes * frame.scale
    status = mark_faces(boxes, faces.scores, sharp, config.filter)
    return [
        {
            "frame_in_segment": frame.number_in_segment,
            "seconds": frame.seconds,
            **box_fields(boxes[n]),
            "score": float(faces.scores[n]),
            "landmarks_pixels": (faces.landmarks[n] * frame.scale).ravel().tolist(),
            "sharpness": float(sharp[n]),
            "status": status[n],
            "image": encode_jpeg(crops[n]) if status[n] == KEPT else None,
        }
        for n in range(len(faces))
    ]


def _frame_table(segment: int, signals: SegmentSignals) -> pa.Table:
    analysed = np.flatnonzero(signals.analysed)
    pictures = {
        int(analysed[-1]): signals.last_analysed,
        len(signals) - 1: signals.last,
        0: signals.first,
    }
    return make_table(
        (
            {
                "segment": segment,
                "frame_in_segment": number,
                "seconds": float(signals.seconds[number]),
                "analysed": bool(signals.analysed[number]),
                "content": _none_if_nan(signals.content[number : number + 1]),
                "histogram": signals.histogram[number].tobytes(),
                "motion": _nones_if_nan(signals.motion[number]),
                "thumbnail": encode_png(pictures[number]) if number in pictures else None,
            }
            for number in range(len(signals))
        ),
        FRAMES,
    )


def _none_if_nan(value: Any) -> float | None:
    return float(value[0]) if np.isfinite(value[0]) else None


def _nones_if_nan(motion: Any) -> list[float] | None:
    return motion.ravel().tolist() if np.isfinite(motion).all() else None
