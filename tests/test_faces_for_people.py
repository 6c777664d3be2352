"""From frames to covers: the pictures that people see of tracks and persons."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from vcn_ray.config import RunConfig
from vcn_ray.core.pictures import MAX_PICTURES
from vcn_ray.core.signals import SignalReader
from vcn_ray.errors import ShapeError
from vcn_ray.io.frames import DecodedFrame
from vcn_ray.io.tables import decode_image, make_table
from vcn_ray.records import F32, Clustering, Detections, TrackOutputs
from vcn_ray.rows.result_rows import ResultTables, result_tables
from vcn_ray.rows.segment_rows import FaceRows, FrameFaces, SegmentTables, segment_tables
from vcn_ray.rows.title_rows import gather_tracks
from vcn_ray.rows.video_rows import PICTURES, VideoTables
from vcn_ray.run.summary import count_tracks
from vcn_ray.schema import CROPS, RESULT_TRACKS, VIDEO_TRACKS
from vcn_ray.steps import track_video

FRAMES, STEP = 64, 0.125
IMAGE = np.random.default_rng(0).integers(60, 200, (90, 160, 3), dtype=np.uint8)
BLACK_CROP = np.zeros((2, 16, 16, 3), np.uint8)  # what a warp beyond the frame's edge looks like


def segment() -> SegmentTables:
    """Eight seconds of two still faces: one at the frame's edge, and one that turns away."""
    reader, rows = SignalReader(), FaceRows(0)
    boxes = np.array([[-6, 20, 24, 60], [90, 20, 120, 60]], np.float32)
    for number in range(FRAMES):
        frame = DecodedFrame(
            number, number * STEP, (number + 1) * STEP, True, IMAGE, IMAGE, 2.0, 320, 180
        )
        reader.add(frame.small, frame.seconds, analysed=True, end_seconds=frame.end_seconds)
        scores = np.full(2, 0.9, np.float32)
        landmarks = np.zeros((2, 5, 2), np.float32)
        rows.add(
            FrameFaces(
                frame=frame,
                faces=Detections(boxes, scores, landmarks),
                measured=True,
                crops=BLACK_CROP,
                sharpness=np.full(2, 50, np.float32),
                frontality=np.array([1, 1 if number < 30 else 0.05], np.float32),
                roll_degrees=np.zeros(2, np.float32),
                status=("kept", "kept"),
            )
        )
    return segment_tables(0, reader.result(), rows.rows, ())


@pytest.fixture(scope="module")
def video() -> VideoTables:
    tables = segment()
    return track_video("v-000000000000", [tables], RunConfig(), [tables.detections])


def test_a_segment_keeps_about_one_picture_a_second() -> None:
    table = segment().detections
    pictures = table.num_rows - table["face"].null_count
    assert pictures == 2 * FRAMES * STEP
    assert table["image"].null_count == 0


def test_a_track_has_one_to_three_pictures_none_of_them_black(video: VideoTables) -> None:
    assert video.tracks.num_rows == 2
    shown = video.crops.filter(pc.is_valid(video.crops["face"]))
    for track in video.tracks["track_id"].to_pylist():
        own = shown.filter(pc.equal(shown["track_id"], track))
        assert 1 <= own.num_rows <= MAX_PICTURES
        for data in own["face"].to_pylist():
            picture = decode_image(data)
            assert picture.min() > 20
            assert picture.shape[0] == 68  # upright, with its margin
            assert picture.shape[1] in (51, 52)
        assert max(own["frontality"].to_pylist()) == 1


def test_a_profile_is_no_picture_of_a_track_that_has_a_better_one(video: VideoTables) -> None:
    shown = video.crops.filter(pc.is_valid(video.crops["face"]))
    assert min(shown["frontality"].to_pylist()) == 1


def outputs_of(quality: list[float]) -> TrackOutputs:
    count = len(quality)
    values: dict[str, Any] = {
        f.name: np.zeros((count, 1), np.float32) for f in fields(TrackOutputs)
    }
    values |= {"crops": np.ones(count, np.int64), "quality": np.array(quality, np.float32)}
    values |= {"centre": np.zeros(1, np.float32)}
    values |= {"teacher_temperature": 1.0, "student_temperature": 1.0}
    return TrackOutputs(**values)


def title_of(
    faces: list[dict[str, Any]],
    quality: list[float],
    label: list[int],
    why: list[str] | None = None,
) -> ResultTables:
    """A title with a track a second, each with the faces that name it."""
    tracks = [
        {
            "track_id": f"t{n}",
            "video_id": "v",
            "shot_id": "s",
            "start_frame": 25 * n,
            "end_frame": 25 * n + 25,
            "start_seconds": float(n),
            "end_seconds": n + 1.0,
            "faces": 3,
            "crops": 1,
        }
        for n in range(len(quality))
    ]
    usual = {
        "seconds": 0.0,
        "x0_pixels": 0.0,
        "y0_pixels": 0.0,
        "x1_pixels": 60.0,
        "y1_pixels": 80.0,
        "score": 0.9,
        "detected": True,
        "sharpness": 50.0,
        "frontality": 1.0,
        "image": b"aligned",
        "face": b"cut out",
    }
    rows = [usual | face | {"frame": n} for n, face in enumerate(faces)]
    title = gather_tracks([make_table(tracks, VIDEO_TRACKS)], [make_table(rows, CROPS)])
    confidence: F32 = np.ones(len(quality), np.float32)
    reason = tuple(why or ("" if who >= 0 else "ambiguous" for who in label))
    clustering = Clustering(
        np.array(label, np.int64), confidence, np.zeros_like(confidence), (), reason
    )
    return result_tables(title, outputs_of(quality), clustering, ["v"])


@pytest.mark.parametrize(
    "worse",
    [
        {"frontality": 0.1, "sharpness": 400.0},  # a sharp profile
        {"sharpness": 4.0},
        {"score": 0.4},
        {"x1_pixels": 12.0, "y1_pixels": 16.0},
        {"face": None, "sharpness": 400.0},  # the best face, without a picture
    ],
)
def test_the_cover_is_the_most_frontal_and_recognisable_face(worse: dict[str, Any]) -> None:
    faces = [{"track_id": "t0", **worse}, {"track_id": "t1"}, {"track_id": "t1", **worse}]
    people = title_of(faces, [0.8, 0.8], [0, 0]).people
    assert people["cover_track_id"].to_pylist() == ["t1"]
    assert people["cover_crop"].to_pylist() == [1]


def test_of_equal_faces_the_one_of_the_better_track_is_the_cover() -> None:
    faces = [{"track_id": "t0"}, {"track_id": "t1"}]
    assert title_of(faces, [0.5, 0.8], [0, 0]).people["cover_crop"].to_pylist() == [1]


def test_a_person_without_pictures_has_the_best_crop_as_cover() -> None:
    faces: list[dict[str, Any]] = [
        {"track_id": "t0", "face": None, "frontality": 0.2},
        {"track_id": "t0", "face": None},
        {"track_id": "t0", "face": None, "image": None, "sharpness": 400.0},
    ]
    assert title_of(faces, [0.5], [0]).people["cover_crop"].to_pylist() == [1]


def test_a_track_of_nobody_has_a_reason() -> None:
    why = ["", "unrecognisable", "ambiguous", "low_score"]
    faces: list[dict[str, Any]] = [{"track_id": f"t{n}"} for n in range(4)]
    tracks = title_of(faces, [0.5] * 4, [0, -1, -1, -1], why).tracks
    assert tracks["status"].to_pylist() == ["clustered", "unknown", "unknown", "no_face"]
    assert tracks["reason"].to_pylist() == [None, *why[1:]]
    assert tracks["person_id"].to_pylist() == ["p001", None, None, None]


def test_tracks_and_their_seconds_are_counted_by_what_they_show() -> None:
    tracks = title_of([{"track_id": f"t{n}"} for n in range(4)], [0.5] * 4, [0, -1, 0, -1]).tracks
    place = RESULT_TRACKS.get_field_index("status")
    status = pa.array(["clustered", "unknown", "clustered", "no_face"])
    counts = count_tracks(tracks.set_column(place, RESULT_TRACKS.field(place), status))
    assert counts == {
        "tracks": 4,
        "unknown": 1,
        "no_face": 1,
        "seconds": {"tracks": 4.0, "people": 2.0, "unknown": 1.0, "no_face": 1.0},
    }
    assert count_tracks(RESULT_TRACKS.empty_table())["seconds"]["tracks"] == 0


def test_pictures_are_read_one_segment_at_a_time_and_only_the_chosen_stay() -> None:
    tables = [segment()] * 3
    alive: list[weakref.ref[pa.Table]] = []

    def one_by_one() -> Iterator[pa.Table]:
        for part in tables:
            assert not any(ref() for ref in alive[:-1]), "earlier pictures are still in memory"
            table = part.detections.select(PICTURES)
            alive.append(weakref.ref(table))
            yield table
            del table

    found = track_video("v-000000000000", tables, RunConfig(), one_by_one())
    assert len(alive) == 3
    whole = pa.concat_tables([part.detections for part in tables])
    for name in PICTURES:
        chosen = found.crops[name].drop_null().to_pylist()
        assert 0 < len(chosen) < len(whole) - whole[name].null_count
        assert set(chosen) <= set(whole[name].to_pylist())


def test_segments_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ShapeError, match="faces need as many pictures"):
        track_video("v-000000000000", [segment()], RunConfig(), [])
