"""Every Parquet table: columns, types, units and sort order; not where tables are stored.

Coordinates are pixels of the displayed frame, after rotation and with square pixels. Times are
seconds from the start of the file, as players show them. Frames are numbered from 0 in the order in
which they are shown.
"""

from __future__ import annotations

import pyarrow as pa

SCHEMA_VERSION = "5"

BOX_COLUMNS = ("x0_pixels", "y0_pixels", "x1_pixels", "y1_pixels")


def _required(name: str, kind: pa.DataType, note: str = "") -> pa.Field:
    return pa.field(name, kind, nullable=False, metadata={"note": note})


def _optional(name: str, kind: pa.DataType, note: str = "") -> pa.Field:
    return pa.field(name, kind, nullable=True, metadata={"note": note})


_BOX = [_required(name, pa.float32()) for name in BOX_COLUMNS]


def _table(name: str, sort: str, fields: list[pa.Field]) -> pa.Schema:
    metadata = {"vcn_table": name, "vcn_schema_version": SCHEMA_VERSION, "vcn_sort": sort}
    return pa.schema(fields, metadata=metadata)


def _without(schema: pa.Schema, *names: str) -> list[pa.Field]:
    return [field for field in schema if field.name not in names]


DETECTIONS = _table(
    "detections",
    "frame_in_segment, score descending",
    [
        _required("segment", pa.int32(), "number of the segment in the video"),
        _required("frame_in_segment", pa.int32(), "number of the frame in the segment"),
        _required("seconds", pa.float64()),
        *_BOX,
        _required("score", pa.float32(), "of the detector, on its own scale"),
        _required(
            "detected",
            pa.bool_(),
            "true if the detector found the face in this frame, false if box, score and landmarks "
            "are interpolated between two frames in which it did",
        ),
        _required(
            "landmarks_pixels",
            pa.list_(pa.float32(), 10),
            "x y of five points, in the order of the detector",
        ),
        _required(
            "sharpness", pa.float32(), "variance of the Laplacian of the aligned crop in grey"
        ),
        _required("frontality", pa.float32(), "1 from the front, near 0 in profile"),
        _required("roll_degrees", pa.float32(), "0 upright, 90 clockwise, 180 upside down"),
        _required(
            "status", pa.string(), "kept, or why the face is left out: small | crowd | blurred"
        ),
        _optional("image", pa.binary(), "aligned crop, JPEG; null unless kept"),
        _optional(
            "face",
            pa.binary(),
            "for people: upright cut-out of the frame, JPEG; about one for each second of a face",
        ),
    ],
)
"""`detect-<key>/seg-NNNNN.parquet`: every face of a segment, with those left out."""

FRAMES = _table(
    "frames",
    "frame_in_segment",
    [
        _required("segment", pa.int32(), "number of the segment in the video"),
        _required("frame_in_segment", pa.int32(), "number of the frame in the segment"),
        _required("seconds", pa.float64()),
        _required("end_seconds", pa.float64(), "until which the picture stands"),
        _required("width_pixels", pa.int32(), "as players show it; it may change within a video"),
        _required("height_pixels", pa.int32()),
        _required(
            "analysed",
            pa.bool_(),
            "true if the faces of this frame were sought, by the detector or by interpolation",
        ),
        _required(
            "layout", pa.binary(), "mean RGB of 8 x 8 cells of the picture, row by row, a byte each"
        ),
        _required(
            "histogram", pa.binary(), "64 colours, a byte each: fraction of the pixels times 255"
        ),
        _optional(
            "motion",
            pa.list_(pa.float32(), 6),
            "2 x 3 matrix of the camera motion since the last analysed frame; null where unknown",
        ),
        _optional("thumbnail", pa.binary(), "PNG; only of the first and the last analysed frame"),
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
        _required("end_frame", pa.int64(), "one past the last frame"),
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
        _required("faces", pa.int32(), "number of faces"),
        _required("crops", pa.int32(), "number of sampled faces"),
    ],
)
"""`track-<key>/tracks.parquet`: the face tracks of a video, before they are clustered."""

CROPS = _table(
    "crops",
    "track_id, frame",
    [
        _required("track_id", pa.string()),
        _required("frame", pa.int64()),
        _required("seconds", pa.float64()),
        *_BOX,
        _required("score", pa.float32(), "as in detections"),
        _required("detected", pa.bool_(), "as in detections"),
        _required("sharpness", pa.float32(), "as in detections"),
        _required("frontality", pa.float32(), "as in detections"),
        _optional("image", pa.binary(), "aligned crop, JPEG; null unless sampled"),
        _optional(
            "face",
            pa.binary(),
            "for people: upright cut-out, JPEG; of one to three faces a track",
        ),
    ],
)
"""`track-<key>/crops.parquet`: all faces of all tracks; only sampled faces have a crop."""

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
        _required("end_frame", pa.int64(), "one past the last frame with its face"),
        _required("crops", pa.int32(), "number of sampled faces"),
        _required("quality", pa.float32(), "of the faces, in [0, 1] (METHOD 3.1)"),
        _required("status", pa.string(), "clustered | unknown | no_face"),
        _optional(
            "reason",
            pa.string(),
            "null if clustered; if unknown: unrecognisable (too small, blurred or turned to tell) "
            "| ambiguous (near no person or several); if no_face: low_score",
        ),
        _optional("person_id", pa.string(), "null unless clustered"),
        _required("confidence", pa.float32(), "probability that it shows this person, else 0"),
    ],
)

_OF_PERSON = [
    _required("tracks", pa.int32(), "number of tracks"),
    _required("screen_seconds", pa.float64(), "time in which at least one of the tracks is seen"),
    _required("first_seconds", pa.float64(), "start of the first track, in its video"),
    _required("confidence", pa.float32(), "that of its least certain track"),
    _required("cover_track_id", pa.string(), "track of the best face"),
    _required("cover_crop", pa.int64(), "frame of the best face, in its video"),
]

PEOPLE = _table(
    "people",
    "person_id",
    [
        _required("person_id", pa.string(), "p001 has the most screen time"),
        *_OF_PERSON,
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
        _required("number", pa.int32(), "1, 2, ... in the order of the merges"),
        _required("round", pa.int32(), "1, 2, ...; a round makes several merges; 0: given"),
        _required(
            "rule", pa.string(), "must_link (corrections) | title_cut | closure (profile paper)"
        ),
        _required("left_track_id", pa.string(), "first track of the left cluster"),
        _required("right_track_id", pa.string(), "first track of the right cluster"),
        _required("left_tracks", pa.int32(), "size of the left cluster before the merge"),
        _required("right_tracks", pa.int32(), "size of the right cluster before the merge"),
        _required("distance", pa.float64(), "of the two clusters (METHOD 4.3)"),
        _required(
            "left_threshold",
            pa.float64(),
            "of the left cluster (METHOD 4.2), or the cut of the title",
        ),
        _required("right_threshold", pa.float64(), "of the right cluster, likewise"),
    ],
)

REVIEWED_PEOPLE = _table(
    "reviewed_people",
    "screen_seconds descending, person_id",
    [
        _required(
            "person_id", pa.string(), "as in people; r-..., of a person whom a reviewer made"
        ),
        _optional("name", pa.string(), "null: not named"),
        _required("locked", pa.bool_(), "no machine may merge it with another locked person"),
        _required("nobody", pa.bool_(), "nobody whom the reviewer knows"),
        *_OF_PERSON,
    ],
)
"""`reviewed-<key>/people.parquet`: the people after all corrections."""

REVIEWED_TRACKS = _table(
    "reviewed_tracks",
    "video_id, start_frame, track_id",
    [
        *RESULT_TRACKS,
        _optional("edit_id", pa.string(), "the last correction that moved it; null: none did"),
    ],
)
"""`reviewed-<key>/tracks.parquet`: as tracks; `reason` may be `reviewer`, or `conflict` for a track
that lies between two locked people, and `confidence` is 1 where a reviewer decided."""

REVIEWED_APPEARANCES = _table(
    "reviewed_appearances",
    "person_id, video_id, start_seconds, track_id",
    [*APPEARANCES, _optional("name", pa.string(), "of the person; null: not named")],
)
"""`reviewed-<key>/appearances.parquet`."""

CONFLICTS = _table(
    "conflicts",
    "sequence, edit_id, track_id",
    [
        _required("edit_id", pa.string()),
        _required("sequence", pa.int64(), "place of the edit in the order"),
        _required("kind", pa.string(), "of the edit"),
        _required("who", pa.string(), "made the edit"),
        _required("at", pa.string(), "when, ISO 8601"),
        _required("name", pa.string(), "that the edit gives; empty: none"),
        _required(
            "problem",
            pa.string(),
            "lost | unclear | two_names | locked | contested | damaged, see docs/review.md",
        ),
        _optional("track_id", pa.string(), "in the result of the edit; null: all that it is about"),
        _optional("video_id", pa.string()),
        _optional("start_seconds", pa.float64(), "of the track, or of the first"),
        _optional("end_seconds", pa.float64(), "of the track, or of the last"),
        _required("message", pa.string(), "one line for people"),
    ],
)
"""`reviewed-<key>/conflicts.parquet`: corrections that do not fit the result."""

CATALOG_FACES = _table(
    "catalog_faces",
    "title_id, person_id",
    [
        _required("title_id", pa.string()),
        _required("title", pa.string(), "name of the title"),
        _required("key", pa.string(), "of the title's result, its corrections and what it keeps"),
        _required("encoder", pa.string(), "hash of the pretrained encoder"),
        _required("person_id", pa.string(), "of the title"),
        _optional("name", pa.string(), "given in this title; null: not named"),
        _required("screen_seconds", pa.float64()),
        _required("tracks", pa.int32()),
        _required("cover_track_id", pa.string()),
        _required("cover_crop", pa.int64()),
        _required("video_ids", pa.list_(pa.string()), "in which it is seen"),
        _required("episodes", pa.list_(pa.int32()), "places of these videos in the title, from 1"),
        _required("video_seconds", pa.list_(pa.float64()), "on screen in each"),
        _optional(
            "codes",
            pa.binary(),
            "mean embedding of the tracks, pretrained encoder, as whole numbers of a byte; null "
            "where embeddings are not kept",
        ),
        _optional("stranger_mean", pa.float64(), "usual cosine of strangers; null: not compared"),
        _optional("stranger_sd", pa.float64(), "its standard deviation, likewise"),
    ],
)
"""`registry-<key>/catalog_faces.parquet`: what the registry keeps of each person of each title."""

CATALOG_PEOPLE = _table(
    "catalog_people",
    "screen_seconds descending, catalog_id",
    [
        _required("catalog_id", pa.string(), "hash of the member with the most screen time"),
        _optional("name", pa.string(), "given in any of its titles; null: not named"),
        _required("titles", pa.int32(), "number of titles"),
        _required("episodes", pa.int32(), "number of videos"),
        _required("screen_seconds", pa.float64(), "in all titles"),
        _required("cover_title_id", pa.string(), "title of the best face"),
        _required("cover_person_id", pa.string(), "its person there"),
        _optional(
            "face",
            pa.binary(),
            "the best face, JPEG; null where pictures are not kept, and beyond the first 20,000",
        ),
    ],
)
"""`registry-<key>/catalog_people.parquet`: the people of all titles."""

CATALOG_MEMBERS = _table(
    "catalog_members",
    "catalog_id, title_id, person_id",
    [
        _required("catalog_id", pa.string()),
        _required("title_id", pa.string()),
        _required("title", pa.string(), "name of the title"),
        _required("person_id", pa.string(), "of the title"),
        _optional("name", pa.string(), "given in this title; null: not named"),
        _required("screen_seconds", pa.float64()),
        _required("tracks", pa.int32(), "number of tracks"),
        _required(
            "confidence", pa.float32(), "probability that it is the catalog person; 1 if alone"
        ),
        _required(
            "link",
            pa.string(),
            "alone (in no other title) | joined (by the face) | named (by an equal name) | decided",
        ),
    ],
)
"""`registry-<key>/catalog_members.parquet`: which people of titles a catalog person is."""

CATALOG_SECONDS = _table(
    "catalog_seconds",
    "catalog_id, title_id, episode",
    [
        _required("catalog_id", pa.string()),
        _required("title_id", pa.string()),
        _required("video_id", pa.string()),
        _required("episode", pa.int32(), "place of the video in its title, from 1"),
        _required("screen_seconds", pa.float64()),
    ],
)
"""`registry-<key>/catalog_seconds.parquet`: how long each is seen in each video."""

CATALOG_LINKS = _table(
    "catalog_links",
    "left_title_id, left_person_id, right_title_id, right_person_id",
    [
        _required("left_title_id", pa.string()),
        _required("left_person_id", pa.string()),
        _required("right_title_id", pa.string()),
        _required("right_person_id", pa.string()),
        _optional("cosine", pa.float32(), "of the two, pretrained encoder; null: not compared"),
        _required("probability", pa.float32(), "that the two faces are one person's"),
        _required(
            "answer",
            pa.string(),
            "joined (one catalog person) | suggested (perhaps one) | apart (two)",
        ),
        _required(
            "why",
            pa.string(),
            "face | name (equal names) | names (different names) | decision | "
            "rival (another one in the same title)",
        ),
    ],
)
"""`registry-<key>/catalog_links.parquet`: why people are joined, and who might be the same."""

_OF_TITLE = [
    _required("title_id", pa.string()),
    _required("title", pa.string(), "name of the title"),
]

_OF_VIDEO = [
    *_OF_TITLE,
    _required("video_id", pa.string()),
    _required("video", pa.string(), "name of the file"),
    _required("episode", pa.int32(), "place of the video in its title, from 1"),
]

DATASET_TITLES = _table(
    "dataset_titles",
    "title_id",
    [
        *_OF_TITLE,
        _required("videos", pa.int32(), "number of videos"),
        _required("people", pa.int32(), "number of people"),
        _required("tracks", pa.int32(), "number of tracks, those of nobody too"),
        _required("corrections", pa.int32(), "number of corrections"),
        _required("warnings", pa.string(), "codes of result.json, with spaces between"),
    ],
)
"""`dataset-<key>/titles/` of a dataset: see docs/lakes.md."""

DATASET_VIDEOS = _table(
    "dataset_videos",
    "title_id, episode",
    [
        *_OF_VIDEO,
        _required("uri", pa.string()),
        _optional("duration_seconds", pa.float64(), "null: not known"),
    ],
)

DATASET_SHOTS = _table(
    "dataset_shots",
    "title_id, episode, start_frame",
    [*_OF_VIDEO, *_without(SHOTS, "video_id")],
)

DATASET_PEOPLE = _table(
    "dataset_people",
    "title_id, screen_seconds descending, person_id",
    [*_OF_TITLE, *REVIEWED_PEOPLE],
)

DATASET_TRACKS = _table(
    "dataset_tracks",
    "title_id, episode, start_frame, track_id",
    [
        *_OF_VIDEO,
        *_without(REVIEWED_TRACKS, "video_id"),
        _optional("name", pa.string(), "of the person; null: not named"),
    ],
)

DATASET_APPEARANCES = _table(
    "dataset_appearances",
    "title_id, person_id, episode, start_seconds, track_id",
    [
        *_OF_VIDEO,
        _required("person_id", pa.string()),
        _optional("name", pa.string(), "of the person; null: not named"),
        _required("shot_id", pa.string()),
        _required("track_id", pa.string()),
        _required("start_seconds", pa.float64()),
        _required("end_seconds", pa.float64()),
        _required("confidence", pa.float32(), "as in tracks"),
    ],
)

DATASET_SCREEN_TIME = _table(
    "dataset_screen_time",
    "title_id, person_id, episode",
    [
        *_OF_VIDEO,
        _required("person_id", pa.string()),
        _optional("name", pa.string(), "of the person; null: not named"),
        _required("screen_seconds", pa.float64(), "time in which at least one track is seen"),
        _required("first_seconds", pa.float64(), "start of the first track"),
        _required("appearances", pa.int32(), "number of tracks"),
    ],
)
"""One row for each video in which a person is seen: sums over it count no second twice."""

RUN_VIDEOS = _table(
    "videos",
    "uri",
    [
        _required("uri", pa.string()),
        _optional("video_id", pa.string(), "null if the file cannot be opened"),
        _optional("title_id", pa.string(), "null if the file cannot be opened"),
        _optional("title", pa.string(), "name of the title"),
        _required(
            "status", pa.string(), "done | reused | partial | failed | open (the run ended first)"
        ),
        _required("segments", pa.int32(), "number of segments"),
        _required(
            "segments_failed", pa.int32(), "number of segments that are missing in the result"
        ),
        _optional("duration_seconds", pa.float64()),
    ],
)

FAILURES = _table(
    "failures",
    "uri, step, segment",
    [
        _required(
            "uri",
            pa.string(),
            "of the video; the name of the title, if a title of several videos failed",
        ),
        _required("step", pa.string(), "plan | detect | track | adapt | cluster"),
        _optional("segment", pa.int32(), "null if the whole video or title failed"),
        _required("reason", pa.string(), "see docs/running.md"),
        _required("message", pa.string(), "one line for people"),
        _required("attempts", pa.int32(), "number of attempts in this run"),
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
    REVIEWED_PEOPLE,
    REVIEWED_TRACKS,
    REVIEWED_APPEARANCES,
    CONFLICTS,
    CATALOG_FACES,
    CATALOG_PEOPLE,
    CATALOG_MEMBERS,
    CATALOG_SECONDS,
    CATALOG_LINKS,
    DATASET_TITLES,
    DATASET_VIDEOS,
    DATASET_SHOTS,
    DATASET_PEOPLE,
    DATASET_TRACKS,
    DATASET_APPEARANCES,
    DATASET_SCREEN_TIME,
    RUN_VIDEOS,
    FAILURES,
)
