"""The tables of a segment: every face of it, kept or marked, and the signals of every frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from vcn_ray.core.pictures import PictureChooser, cut_face, picture_value
from vcn_ray.core.signals import SegmentSignals, picture_layout
from vcn_ray.io.frames import DecodedFrame
from vcn_ray.io.tables import box_fields, encode_jpeg, encode_picture, encode_png, make_table
from vcn_ray.records import F32, KEPT, U8, Detections
from vcn_ray.schema import DETECTIONS, FRAMES


class FrameFaces(NamedTuple):
    """The n faces of one analysed frame."""

    frame: DecodedFrame
    faces: Detections
    measured: bool  # the detector ran on the frame; false: its faces are interpolated
    crops: U8  # (n, p, p, 3) aligned
    sharpness: F32  # (n,)
    frontality: F32  # (n,)
    roll_degrees: F32  # (n,)
    status: tuple[str, ...]  # n statuses of core.filter


@dataclass(frozen=True, slots=True, eq=False)
class SegmentTables:
    """Everything that is kept of a segment."""

    detections: pa.Table
    frames: pa.Table
    problems: tuple[str, ...] = ()  # parts that could not be read, a line each
    decoded_on: str = "cpu"  # or "cuda"
    decoder_seconds: float = 0.0  # CPU time
    detector_seconds: float = 0.0  # CPU time


FaceRow = dict[str, Any]
"""A row of DETECTIONS."""


def segment_tables(
    segment: int, signals: SegmentSignals, rows: list[FaceRow], problems: tuple[str, ...]
) -> SegmentTables:
    """Write down what was found in a segment.

    Args:
        segment: Its number in the video.
        signals: Of all its frames.
        rows: Of its analysed frames, in order.
        problems: Parts that could not be read, a line each.
    """
    return SegmentTables(make_table(rows, DETECTIONS), _frame_table(segment, signals), problems)


class FaceRows:
    """Collects the rows of a segment's faces; pictures become JPEG, so that no pixels are held.

    Args:
        segment: Its number in the video.

    Attributes:
        rows: In the order of the frames; each face has its aligned crop if it is kept, and some of
            these a picture for people.
    """

    def __init__(self, segment: int) -> None:
        self.rows: list[FaceRow] = []
        self._segment = segment
        self._pictures = PictureChooser()

    def add(self, found: FrameFaces) -> None:
        """Add the faces of the next analysed frame."""
        frame, faces = found.frame, found.faces
        boxes = faces.boxes * frame.scale
        value = picture_value(boxes, faces.scores, found.sharpness, found.frontality)
        kept = np.array([status == KEPT for status in found.status], np.bool_)
        layout = picture_layout(frame.small)
        taken, replaced = self._pictures.choose(frame.seconds, layout, boxes, value, kept)
        for number in replaced:
            self.rows[number]["face"] = None
        rows = _face_rows(self._segment, found)
        for n in np.flatnonzero(taken):
            if frame.image is not None:
                rows[n]["face"] = encode_picture(cut_face(frame.image, faces.boxes[n]))
        self.rows += rows


def _face_rows(segment: int, found: FrameFaces) -> list[FaceRow]:
    frame, faces = found.frame, found.faces
    boxes = faces.boxes * frame.scale
    return [
        {
            "segment": segment,
            "frame_in_segment": frame.number_in_segment,
            "seconds": frame.seconds,
            **box_fields(boxes[n]),
            "score": float(faces.scores[n]),
            "detected": found.measured,
            "landmarks_pixels": (faces.landmarks[n] * frame.scale).ravel().tolist(),
            "sharpness": float(found.sharpness[n]),
            "frontality": float(found.frontality[n]),
            "roll_degrees": float(found.roll_degrees[n]),
            "status": status,
            "image": encode_jpeg(found.crops[n]) if status == KEPT else None,
            "face": None,
        }
        for n, status in enumerate(found.status)
    ]


def _frame_table(segment: int, signals: SegmentSignals) -> pa.Table:
    analysed = np.flatnonzero(signals.analysed)
    pictures = {
        int(analysed[-1]): signals.last_analysed,
        0: signals.first,
    }
    return make_table(
        (
            {
                "segment": segment,
                "frame_in_segment": number,
                "seconds": float(signals.seconds[number]),
                "end_seconds": float(signals.ends[number]),
                "width_pixels": int(signals.shown[number, 0]),
                "height_pixels": int(signals.shown[number, 1]),
                "analysed": bool(signals.analysed[number]),
                "layout": signals.layout[number].tobytes(),
                "histogram": signals.histogram[number].tobytes(),
                "motion": _none_if_any_nan(signals.motion[number]),
                "thumbnail": encode_png(pictures[number]) if number in pictures else None,
            }
            for number in range(len(signals))
        ),
        FRAMES,
    )


def _none_if_any_nan(motion: F32) -> list[float] | None:
    return motion.ravel().tolist() if np.isfinite(motion).all() else None
