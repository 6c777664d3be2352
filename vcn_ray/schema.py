"""Every Parquet table: columns, types, units and sort order; not where tables are stored.

Coordinates are pixels of the displayed frame (rotation and sample aspect applied), times are
seconds from the start of the video, frames are counted from 0 in order of presentation.
"""

from __future__ import annotations

import pyarrow as pa

SCHEMA_VERSION = "2"

BOX_COLUMNS = ("x0_pixels", "y0_pixels", "x1_pixels", "y1_pixels")


def _required(name: str, kind: pa.DataType, note: str = "") -> pa.Field:
    return pa.field(name, kind, nullable=False, metadata={"note": note})


def _optional(name: str, kind: pa.DataType, note: str = "") -> pa.Field:
    return pa.field(name, kind, nullable=True, metadata={"note": note})


_BOX = [_required(name, pa.float32()) for name in BOX_COLUMNS]


def _table(name: str, sort: str, fields: list[pa.Field]) -> pa.Schema:
    metadata = {"vcn_table": name, "vcn_schema_version": SCHEMA_VERSION, "vcn_sort": sort}
    return pa.schema(fields, metadata=metadata)


DETECTIONS = _table(
    "detections",
    "frame_in_segment, score descending",
    [
        _required("segment", pa.int32()),
        _required("frame_in_segment", pa.int32()),
        _required("seconds", pa.float64()),
        *_BOX,
        _required("score", pa.float32()),
        _required("landmarks_pixels", pa.list_(pa.float32(), 10), "x y of five points"),
        _required("sharpness", pa.float32(), "variance of the Laplacian of the aligned grey crop"),
        _required("status", pa.string(), "kept | small | crowd | blurred"),
        _optional("image", pa.binary(), "the aligned crop, JPEG; null unless kept"),
    ],
)
"""`detect-<key>/seg-NNNNN.parquet`: every face of a segment, kept or marked."""

FRAMES = _table(
    "frames",
    "frame_in_segment",
    [
        _required("segment", pa.int32()),
        _required("frame_in_segment", pa.int32()),
        _required("seconds", pa.float64()),
        _required("analysed", pa.bool_()),
        _optional(
            "content", pa.float32(), "change from the frame before; null for a segment's first"
        ),
        _required("histogram", pa.binary(), "64 bytes, shares of 255"),
        _optional("motion", pa.list_(pa.float32(), 6), "2x3, from the last analysed frame"),
        _optional("thumbnail", pa.binary(), "PNG, where the next segment must compare with it"),
    ],
)
"""`detect-<key>/frames-NNNNN.parquet`: the signals of every frame of a segment."""

SHOTS = _table(
    "shots",
    "start_frame",
    [
        _required("video_id", pa.string()),
        _required("shot_id", pa.string()),
        _required("start_frame", pa.int64()),
        _required("end_frame", pa.int64(), "one past the last"),
        _required("start_seconds", pa.float64()),
        _required("end_seconds", pa.float64()),
    ],
)

VIDEO_TRACKS = _table(
    "video_tracks",
    "start_frame, track_id",
    [
        _required("track_id", pa.string()),
        _required("video_id", pa.string()),
        _required("shot_id", pa.string()),
        _required("start_frame", pa.int64()),
        _required("end_frame", pa.int64(), "one past the last frame with its face"),
        _required("start_seconds", pa.float64()),
        _required("end_seconds", pa.float64()),
        _required("faces", pa.int32()),
        _required("crops", pa.int32()),
    ],
)
"""`track-<key>/tracks.parquet`: face tracks before anybody knows whose they are."""

CROPS = _table(
    "crops",
    "track_id, frame",
    [
        _required("track_id", pa.string()),
        _required("frame", pa.int64()),
        _required("seconds", pa.float64()),
        *_BOX,
        _required("score", pa.float32()),
        _required("sharpness", pa.float32()),
        _optional("image", pa.binary(), "the aligned crop, JPEG; null where not sampled"),
    ],
)
"""`track-<key>/crops.parquet`: all faces of all tracks; the sampled ones carry a crop."""

RESULT_TRACKS = _table(
    "tracks",
    "video_id, start_frame, track_id",
    [
        _required("track_id", pa.string()),
        _required("video_id", pa.string()),
        _required("shot_id", pa.string()),
        _required("start_seconds", pa.float64()),
        _required("end_seconds", pa.float64()),
        _required("start_frame", pa.int64()),
        _required("end_frame", pa.int64()),
        _required("crops", pa.int32()),
        _required("quality", pa.float32(), "METHOD 3.1, in [0, 1]"),
        _required("status", pa.string(), "clustered | unknown"),
        _optional("person_id", pa.string(), "null when unknown"),
        _required("confidence", pa.float32()),
    ],
)

PEOPLE = _table(
    "people",
    "person_id",
    [
        _required("person_id", pa.string(), "p001 has the most screen time"),
        _required("tracks", pa.int32()),
        _required("screen_seconds", pa.float64()),
        _required("first_seconds", pa.float64()),
        _required("confidence", pa.float32()),
        _required("cover_track_id", pa.string()),
        _required("cover_crop", pa.int64(), "frame of the cover in its video"),
    ],
)

APPEARANCES = _table(
    "appearances",
    "person_id, video_id, start_seconds, track_id",
    [
        _required("person_id", pa.string()),
        _required("video_id", pa.string()),
        _required("start_seconds", pa.float64()),
        _required("end_seconds", pa.float64()),
        _required("track_id", pa.string()),
    ],
)

MERGES = _table(
    "merges",
    "number",
    [
        _required("number", pa.int32()),
        _required("round", pa.int32()),
        _required("rule", pa.string()),
        _required("left_track_id", pa.string(), "first track of either side"),
        _required("right_track_id", pa.string()),
        _required("left_tracks", pa.int32(), "tracks on either side before the merge"),
        _required("right_tracks", pa.int32()),
        _required("distance", pa.float64(), "METHOD 4.3"),
        _required("left_threshold", pa.float64(), "METHOD 4.2"),
        _required("right_threshold", pa.float64()),
    ],
)

RUN_VIDEOS = _table(
    "videos",
    "uri",
    [
        _required("uri", pa.string()),
        _optional("video_id", pa.string(), "null when the file could not be read at all"),
        _optional("title_id", pa.string()),
        _optional("title", pa.string()),
        _required("status", pa.string(), "done | reused | partial | failed | open (not reached)"),
        _required("segments", pa.int32()),
        _required("segments_failed", pa.int32()),
        _optional("duration_seconds", pa.float64()),
    ],
)

FAILURES = _table(
    "failures",
    "uri, step, segment",
    [
        _required("uri", pa.string()),
        _required("step", pa.string(), "plan | detect | track | adapt | cluster"),
        _optional("segment", pa.int32(), "null: the whole video or title"),
        _required("reason", pa.string()),
        _required("message", pa.string()),
        _required("attempts", pa.int32()),
    ],
)

TABLES = (
    DETECTIONS,
    FRAMES,
    SHOTS,
    VIDEO_TRACKS,
    CROPS,
    RESULT_TRACKS,
    PEOPLE,
    APPEARANCES,
    MERGES,
    RUN_VIDEOS,
    FAILURES,
)
