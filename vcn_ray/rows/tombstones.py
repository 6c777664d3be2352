"""Where and when an erased person is seen in a video: boxes by time, no picture, no embedding.

A face that is found at such a time and place is the person's, whatever the settings of a later
run. It knows no storage, and nobody's name.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from vcn_ray.core.vectors import paired_iou
from vcn_ray.io.identity import digest, hash_part
from vcn_ray.io.tables import column_array, decode_image, encode_png, read_boxes
from vcn_ray.records import F32, F64, U8, Mask
from vcn_ray.rows.segment_rows import SegmentTables

MIN_IOU = 0.3  # detectors disagree on how much chin and hair belongs to a face
MARGIN_SECONDS = 1.0
"""Time before and after a track in which its first and last box still hold: a run that analyses
more frames finds the same face a little earlier and later."""
BLUR_FRACTION = 0.25  # of a box by which it is widened where a small picture is painted over
GREY = 128

Spans = list[dict[str, Any]]
"""Spans as JSON holds them."""


@dataclass(frozen=True, slots=True, eq=False)
class Span:
    """One track of an erased person."""

    start: float  # seconds; with the margin, within its shot
    end: float
    seconds: F64  # (n,) rising
    boxes: F32  # (n, 4) pixels of the displayed frame

    def boxes_at(self, seconds: F64) -> F32:
        """Its boxes (m, 4) at times (m,): on straight lines, and held before and after."""
        columns = [np.interp(seconds, self.seconds, self.boxes[:, side]) for side in range(4)]
        result: F32 = np.stack(columns, axis=1).astype(np.float32).reshape(-1, 4)
        return result


def span_as_json(span: Span) -> dict[str, Any]:
    """A span as compact JSON: numbers in base64, little-endian."""
    return {
        "start_seconds": span.start,
        "end_seconds": span.end,
        "seconds": base64.b64encode(span.seconds.astype("<f8").tobytes()).decode("ascii"),
        "boxes": base64.b64encode(span.boxes.astype("<f4").tobytes()).decode("ascii"),
    }


def span_from_json(content: dict[str, Any]) -> Span:
    """The span of `span_as_json`."""
    seconds, boxes = (base64.b64decode(content[name]) for name in ("seconds", "boxes"))
    return Span(
        float(content["start_seconds"]),
        float(content["end_seconds"]),
        np.frombuffer(seconds, "<f8").astype(np.float64),
        np.frombuffer(boxes, "<f4").astype(np.float32).reshape(-1, 4),
    )


def tombstone_hash(video_id: str, spans: Spans) -> str:
    """The name of a tombstone: a hash of what it says."""
    return digest("tombstone", hash_part(video_id), spans)  # a copy may have another name


def erased_faces(spans: Sequence[Span], seconds: F64, boxes: F32) -> Mask:
    """The faces (n,) that show an erased person.

    Args:
        spans: Of the video.
        seconds: (n,) time of each face.
        boxes: (n, 4) of each, pixels of the displayed frame.
    """
    erased = np.zeros(len(seconds), np.bool_)
    order = np.argsort(seconds, kind="stable")
    sorted_seconds = seconds[order]
    for span in spans:
        low = np.searchsorted(sorted_seconds, span.start, side="left")
        high = np.searchsorted(sorted_seconds, span.end, side="right")
        rows = order[low:high]
        if len(rows):
            erased[rows] |= paired_iou(span.boxes_at(seconds[rows]), boxes[rows]) >= MIN_IOU
    return erased


def without_erased(tables: SegmentTables, spans: Sequence[Span]) -> SegmentTables:
    """A segment without the faces of erased persons, in rows and in its small pictures."""
    detections = tables.detections
    erased = erased_faces(spans, column_array(detections, "seconds"), read_boxes(detections))
    return replace(
        tables,
        detections=detections.filter(pa.array(~erased)),
        frames=painted_frames(tables.frames, spans),
    )


def painted_frames(frames: pa.Table, spans: Sequence[Span]) -> pa.Table:
    """The table FRAMES with erased faces painted over in its small pictures."""
    place = frames.schema.get_field_index("thumbnail")
    pictures = frames.column(place).to_pylist()
    seconds = column_array(frames, "seconds")
    painted = False
    for row, picture in enumerate(pictures):
        if picture is None:
            continue
        there = [s for s in spans if s.start <= seconds[row] <= s.end]
        if there:
            boxes = np.concatenate([s.boxes_at(seconds[row : row + 1]) for s in there])
            width, height = (
                frames.column(name)[row].as_py() for name in ("width_pixels", "height_pixels")
            )
            pictures[row] = encode_png(_painted(decode_image(picture), boxes, width, height))
            painted = True
    if not painted:
        return frames
    field = frames.schema.field(place)
    return frames.set_column(place, field, pa.array(pictures, field.type))


def _painted(picture: U8, boxes: F32, width: int, height: int) -> U8:
    """A small picture of a displayed frame with boxes painted grey."""
    rows, columns = picture.shape[:2]
    for x0, y0, x1, y1 in boxes.tolist():
        wide, high = BLUR_FRACTION * (x1 - x0), BLUR_FRACTION * (y1 - y0)
        left, right = ((x / width) * columns for x in (x0 - wide, x1 + wide))
        top, bottom = ((y / height) * rows for y in (y0 - high, y1 + high))
        picture[
            max(0, math.floor(top)) : max(0, math.ceil(bottom)),
            max(0, math.floor(left)) : max(0, math.ceil(right)),
        ] = GREY
    return picture
