"""The tables of a video: its segments joined, then its shots, tracks and crops written down."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vcn_ray.core.signals import LAYOUT_SIDE, UNKNOWN_MOTION, SegmentSignals, join_signals
from vcn_ray.errors import ShapeError
from vcn_ray.io.identity import hash_part
from vcn_ray.io.tables import column_array, decode_image, make_table, read_boxes
from vcn_ray.records import F64, I64, KEPT, U8, Faces, FrameSignals, Mask, Shots
from vcn_ray.rows.segment_rows import SegmentTables
from vcn_ray.schema import CROPS, DETECTIONS, SHOTS, VIDEO_TRACKS

TURNED_DEGREES = 60  # from here on, neither detectors nor encoders know faces
SHOWN_COLUMNS = ("width_pixels", "height_pixels")
PICTURES = ["image", "face"]  # columns of DETECTIONS that are nearly all of its bytes
SHORT = "short"  # why a face of a track with too few faces is left out


class Links(NamedTuple):
    """Which face belongs to which track, and what is kept of it."""

    track: I64  # (n,) track number or -1
    sampled: Mask  # (n,) true where the face's crop represents its track
    pictured: Mask  # (n,) true where the face's picture shows its track to people


@dataclass(frozen=True, slots=True, eq=False)
class JoinedVideo:
    """A video put together from its segments."""

    signals: FrameSignals
    faces: Faces
    rows: pa.Table  # (n) DETECTIONS of the same faces, without PICTURES
    pictured: Mask  # (n,) true where the face has a picture for people
    ends: F64  # (t,) seconds until which each frame stands


class VideoTables(NamedTuple):
    """The tables of a video."""

    shots: pa.Table
    tracks: pa.Table
    crops: pa.Table
    rejected: dict[str, int]  # number of faces left out, by reason
    turned: int  # number of faces of tracks that lie on their side or upside down
    end_seconds: float  # at which the picture ends


class _Part(NamedTuple):
    """What is needed of a segment at once: all but its pictures."""

    signals: SegmentSignals
    rows: pa.Table
    pictured: Mask


def join_segments(segments: Iterable[SegmentTables]) -> JoinedVideo:
    """Put a video's segments together and number its frames.

    Args:
        segments: In order of time; unreadable ones are missing. Of each, the pictures are dropped
            before the next one is asked for.
    """
    parts = [_without_pictures(segment) for segment in segments]
    if not parts:
        return _empty_video()
    signals = join_signals([part.signals for part in parts])
    starts = np.cumsum([0] + [len(part.signals) for part in parts[:-1]])
    frame = np.concatenate(
        [
            column_array(part.rows, "frame_in_segment").astype(np.int64) + start
            for part, start in zip(parts, starts, strict=True)
        ]
    )
    rows = pa.concat_tables([part.rows for part in parts])
    kept = pc.equal(rows.column("status"), KEPT).to_numpy(zero_copy_only=False)
    faces = Faces(
        frame=frame,
        boxes=read_boxes(rows),
        scores=column_array(rows, "score").astype(np.float32),
        kept=kept.astype(np.bool_),
    )
    ends = signals.seconds if signals.ends is None else signals.ends
    return JoinedVideo(signals, faces, rows, np.concatenate([p.pictured for p in parts]), ends)


def _without_pictures(segment: SegmentTables) -> _Part:
    rows = segment.detections
    pictured = pc.is_valid(rows.column("face")).to_numpy(zero_copy_only=False)
    return _Part(_read_signals(segment.frames), rows.drop_columns(PICTURES), pictured)


def _empty_video() -> JoinedVideo:
    none = np.zeros(0, np.int64)
    signals = FrameSignals(
        seconds=none.astype(np.float64),
        analysed=none.astype(np.bool_),
        layout=np.zeros((0, LAYOUT_SIDE, LAYOUT_SIDE, 3), np.uint8),
        histogram=np.zeros((0, 64), np.float32),
        motion=np.zeros((0, 2, 3), np.float32),
        motion_known=none.astype(np.bool_),
    )
    boxes = np.zeros((0, 4), np.float32)
    nothing = none.astype(np.bool_)
    faces = Faces(none, boxes, none.astype(np.float32), nothing)
    rows = DETECTIONS.empty_table().drop_columns(PICTURES)
    return JoinedVideo(signals, faces, rows, nothing, none.astype(np.float64))


def _read_signals(frames: pa.Table) -> SegmentSignals:
    motion = [
        UNKNOWN_MOTION.ravel() if m is None else m for m in frames.column("motion").to_pylist()
    ]
    analysed = column_array(frames, "analysed").astype(np.bool_)
    last_analysed = int(np.flatnonzero(analysed)[-1])
    thumbnails = frames.column("thumbnail")
    return SegmentSignals(
        seconds=column_array(frames, "seconds"),
        analysed=analysed,
        layout=_byte_rows(frames, "layout").reshape(-1, LAYOUT_SIDE, LAYOUT_SIDE, 3),
        histogram=_byte_rows(frames, "histogram"),
        motion=np.array(motion, np.float32).reshape(-1, 2, 3),
        first=decode_image(thumbnails[0].as_py()),
        last_analysed=decode_image(thumbnails[last_analysed].as_py()),
        ends=column_array(frames, "end_seconds"),
        shown=np.stack([column_array(frames, n) for n in SHOWN_COLUMNS], axis=1).astype(np.int64),
    )


def _byte_rows(frames: pa.Table, name: str) -> U8:
    """A column of equally long byte strings, (t, length)."""
    values = b"".join(frames.column(name).to_pylist())
    return np.frombuffer(values, np.uint8).reshape(frames.num_rows, -1)


def video_tables(
    video_id: str, joined: JoinedVideo, shots: Shots, links: Links, pictures: Iterable[pa.Table]
) -> VideoTables:
    """Write down the shots and tracks of a video.

    Args:
        video_id: Ids of shots and tracks hold its hash and the numbers of shot and track.
        joined: The video; n faces.
        shots: Of it.
        links: Of the faces.
        pictures: The columns PICTURES of each segment, in the same order.
    """
    short_id = hash_part(video_id)
    shot_ids = [f"{short_id}-s{number:04d}" for number in range(len(shots))]
    tracks, names = _track_rows(video_id, joined, shots, links, shot_ids)
    rejected = _count_rejected(joined, links)
    return VideoTables(
        shots=make_table(_shot_rows(video_id, joined, shots, shot_ids), SHOTS),
        tracks=make_table(tracks, VIDEO_TRACKS),
        crops=_crops_table(joined, links, names, pictures),
        rejected=rejected,
        turned=_count_turned(joined, links),
        end_seconds=round(float(joined.ends.max(initial=0.0)), 6),
    )


def _count_turned(joined: JoinedVideo, links: Links) -> int:
    roll = column_array(joined.rows, "roll_degrees")
    return int((np.abs(roll[links.track >= 0]) >= TURNED_DEGREES).sum())


def _shot_rows(
    video_id: str, joined: JoinedVideo, shots: Shots, shot_ids: list[str]
) -> list[dict[str, Any]]:
    return [
        {
            "video_id": video_id,
            "shot_id": name,
            "start_frame": int(start),
            "end_frame": int(end),
            "start_seconds": float(joined.signals.seconds[start]),
            "end_seconds": float(joined.ends[end - 1]),
        }
        for name, start, end in zip(shot_ids, shots.starts, shots.ends, strict=True)
    ]


def _track_rows(
    video_id: str, joined: JoinedVideo, shots: Shots, links: Links, shot_ids: list[str]
) -> tuple[list[dict[str, Any]], dict[int, str]]:
    """Rows by track number (which follows time), and the id of each number."""
    rows: list[dict[str, Any]] = []
    names: dict[int, str] = {}
    in_shot: dict[int, int] = {}
    linked = np.flatnonzero(links.track >= 0)
    # Sorted once: a mask of all faces for each track would take time in proportion to its square.
    order = linked[np.argsort(links.track[linked], kind="stable")]
    for mine in np.split(order, np.flatnonzero(np.diff(links.track[order])) + 1):
        if not len(mine):  # there are no tracks
            continue
        number = int(links.track[mine[0]])
        frames = joined.faces.frame[mine]
        first, last = int(frames.min()), int(frames.max())
        shot = int(np.searchsorted(shots.starts, first, side="right")) - 1
        in_shot[shot] = in_shot.get(shot, -1) + 1
        names[number] = f"{shot_ids[shot]}-t{in_shot[shot]:02d}"
        rows.append(
            {
                "track_id": names[number],
                "video_id": video_id,
                "shot_id": shot_ids[shot],
                "start_frame": first,
                "end_frame": last + 1,
                "start_seconds": float(joined.signals.seconds[first]),
                "end_seconds": float(joined.ends[last]),
                "faces": len(mine),
                "crops": int(links.sampled[mine].sum()),
            }
        )
    return rows, names


def _crops_table(
    joined: JoinedVideo, links: Links, names: dict[int, str], pictures: Iterable[pa.Table]
) -> pa.Table:
    linked = np.flatnonzero(links.track >= 0)
    order = linked[np.lexsort((joined.faces.frame[linked], links.track[linked]))]
    image, face = _chosen_pictures(links, pictures)
    columns: dict[str, Any] = {
        "track_id": [names[int(number)] for number in links.track[order]],
        "frame": joined.faces.frame[order],
        "image": _in_order(image, links.sampled, order),
        "face": _in_order(face, links.pictured, order),
    }
    rows = joined.rows.select([name for name in CROPS.names if name not in columns])
    rows = rows.take(pa.array(order))
    columns |= {name: rows.column(name) for name in rows.column_names}
    return pa.table({name: columns[name] for name in CROPS.names}, schema=CROPS)


def _chosen_pictures(
    links: Links, pictures: Iterable[pa.Table]
) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """The crops of sampled faces, and the pictures of those that people see, in order of time.

    A long film has gigabytes of pictures, most of which are not chosen: of these, one segment's are
    in memory at a time.
    """
    wanted = dict(zip(PICTURES, (links.sampled, links.pictured), strict=True))
    chosen: dict[str, list[pa.Array]] = {name: [] for name in PICTURES}
    start = 0
    for table in pictures:
        rows = slice(start, start + table.num_rows)
        for name, kept in wanted.items():
            chosen[name] += table.column(name).filter(pa.array(kept[rows])).chunks
        start = rows.stop
    if start != len(links.track):
        raise ShapeError(f"{len(links.track)} faces need as many pictures, got {start}")
    image, face = (pa.chunked_array(chosen[n], CROPS.field(n).type) for n in PICTURES)
    return image, face


def _in_order(column: pa.ChunkedArray, chosen: Mask, order: I64) -> pa.ChunkedArray:
    """What chosen faces have in a column of theirs, in a new order, and null for the others."""
    place = np.cumsum(chosen) - 1  # of a chosen face among the chosen ones
    return column.take(pa.array(place[order], mask=~chosen[order]))


def _count_rejected(joined: JoinedVideo, links: Links) -> dict[str, int]:
    statuses: F64 | Any = np.array(joined.rows.column("status").to_pylist(), dtype=object)
    counts = {
        str(s): int((statuses == s).sum()) for s in np.unique(statuses.astype(str)) if s != KEPT
    }
    unlinked = int((joined.faces.kept & (links.track < 0)).sum())
    return counts | ({SHORT: unlinked} if unlinked else {})
