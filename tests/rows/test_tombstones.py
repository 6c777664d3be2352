"""Which faces lie where an erased person is seen, and tables without them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vcn_ray.io.tables import box_fields, decode_image, encode_png, make_table
from vcn_ray.rows.tombstones import (
    Span,
    erased_faces,
    painted_frames,
    span_as_json,
    span_from_json,
    tombstone_hash,
)
from vcn_ray.rows.without import (
    FrameRange,
    base_id,
    count_rejected,
    faces_in,
    people_without,
    rows_without,
    tracks_without,
    without_pictures,
)
from vcn_ray.schema import CROPS, FRAMES, PEOPLE, RESULT_TRACKS, VIDEO_TRACKS

SPAN = Span(
    1.0,
    5.0,
    np.array([2.0, 4.0]),
    np.array([[0, 0, 100, 100], [200, 0, 300, 100]], np.float32),
)


@pytest.mark.parametrize(
    ("seconds", "left", "erased"),
    [
        (2.0, 0, True),
        (3.0, 100, True),  # half-way
        (3.0, 0, False),
        (1.0, 0, True),  # held before the first box
        (0.9, 0, False),
        (5.0, 200, True),
        (5.1, 200, False),
        (2.0, 50, True),  # an overlap of a third
        (2.0, 60, False),  # of a quarter
    ],
)
def test_a_face_is_the_persons_where_it_lies_on_the_box(
    seconds: float, left: float, erased: bool
) -> None:
    boxes = np.array([[left, 0, left + 100, 100]], np.float32)
    assert erased_faces([SPAN], np.array([seconds]), boxes).tolist() == [erased]


def test_spans_are_compared_one_by_one_in_any_order_of_faces() -> None:
    rng = np.random.default_rng(0)
    seconds = rng.uniform(0, 6, 200)
    boxes = np.zeros((200, 4), np.float32)
    boxes[:, 0] = rng.uniform(0, 300, 200)
    boxes[:, 2:] = boxes[:, :2] + 100
    other = Span(0.0, 0.5, np.array([0.2]), np.array([[0, 0, 100, 100]], np.float32))
    both = erased_faces([SPAN, other], seconds, boxes)
    alone = [
        any(
            span.start <= when <= span.end
            and erased_faces([span], np.array([when]), box[None]).any()
            for span in (SPAN, other)
        )
        for when, box in zip(seconds, boxes, strict=True)
    ]
    assert both.tolist() == alone
    assert 0 < both.sum() < 200
    assert erased_faces([], seconds, boxes).sum() == 0


def test_a_tombstone_is_kept_to_the_bit_and_named_by_content_and_video() -> None:
    content = span_as_json(SPAN)
    again = span_from_json(content)
    assert (again.start, again.end) == (SPAN.start, SPAN.end)
    assert np.array_equal(again.seconds, SPAN.seconds)
    assert np.array_equal(again.boxes, SPAN.boxes)
    name = tombstone_hash("film-0123456789ab", [content])
    assert name == tombstone_hash("copy-0123456789ab", [content])  # a copy with another name
    assert name != tombstone_hash("film-ba9876543210", [content])


def test_small_pictures_are_painted_over_only_where_the_person_is() -> None:
    picture = np.full((40, 80, 3), 7, np.uint8)
    rows = [
        {
            "segment": 0,
            "frame_in_segment": number,
            "seconds": seconds,
            "end_seconds": seconds + 0.1,
            "width_pixels": 800,
            "height_pixels": 400,
            "analysed": True,
            "layout": b"",
            "histogram": b"",
            "motion": None,
            "thumbnail": encode_png(picture) if number != 1 else None,
        }
        for number, seconds in enumerate([0.0, 2.0, 4.0])
    ]
    frames = make_table(rows, FRAMES)
    painted = painted_frames(frames, [SPAN])
    first, none, last = painted["thumbnail"].to_pylist()
    assert (first, none) == (rows[0]["thumbnail"], None)
    shown = decode_image(last)
    assert (shown[:, :17] == 7).all()  # the box is at 200 to 300 of 800, and widened by a quarter
    assert (shown[2:10, 18:32] == 128).all()
    assert (shown[13:] == 7).all()
    assert painted_frames(painted, [SPAN]).equals(painted)
    assert painted_frames(frames, []) is frames


def crop(track: str, frame: int, sampled: bool = True) -> dict[str, Any]:
    return {
        "track_id": track,
        "frame": frame,
        "seconds": frame / 10,
        **box_fields([frame, 0, frame + 10, 10]),
        "score": 0.9,
        "sharpness": 100.0 + frame,
        "detected": True,
        "frontality": 1.0,
        "image": b"crop" if sampled else None,
        "face": None,
    }


def video_track(track: str, start: int, end: int, faces: int) -> dict[str, Any]:
    return {
        "track_id": track,
        "video_id": "film-1",
        "shot_id": "s0",
        "start_frame": start,
        "end_frame": end,
        "start_seconds": start / 10,
        "end_seconds": end / 10,
        "faces": faces,
        "crops": faces,
    }


def test_of_a_split_track_only_the_erased_part_goes() -> None:
    crops = make_table(
        [crop("a", frame) for frame in (0, 2, 4, 6)] + [crop("b", frame) for frame in (0, 2)], CROPS
    )
    tracks = make_table([video_track("a", 0, 7, 4), video_track("b", 0, 3, 2)], VIDEO_TRACKS)
    erased = faces_in(crops, [FrameRange("a", 4, 7)])
    assert erased.tolist() == [False, False, True, True, False, False]
    left = tracks_without(tracks, crops, erased).to_pylist()
    assert left == [video_track("a", 0, 3, 2), video_track("b", 0, 3, 2)]
    assert tracks_without(tracks, crops, faces_in(crops, [FrameRange("a", 0, 7)])).to_pylist() == [
        video_track("b", 0, 3, 2)
    ]
    assert tracks_without(tracks, crops, faces_in(crops, [])).equals(tracks)


def test_a_part_of_a_track_has_the_id_of_the_track_and_a_number() -> None:
    splits = {"h-s0001-t02": [7]}
    assert base_id("h-s0001-t02-2", splits) == "h-s0001-t02"
    assert base_id("h-s0001-t03", splits) == "h-s0001-t03"


def test_faces_left_out_are_counted_as_before() -> None:
    status = ["kept", "small", "kept", "kept", "crowd", "small"]
    assert count_rejected(status, 2) == {"crowd": 1, "small": 2, "short": 1}
    assert count_rejected(status, 3) == {"crowd": 1, "small": 2}


def test_tables_without_pictures_keep_their_rows() -> None:
    crops = make_table([crop("a", 0), crop("a", 2, sampled=False)], CROPS)
    bare = without_pictures(crops)
    assert bare.schema.equals(CROPS)
    assert bare["image"].null_count == 2
    assert bare.drop_columns(["image"]).equals(crops.drop_columns(["image"]))


def result_track(track: str, person: str | None, start: float, end: float) -> dict[str, Any]:
    return {
        "track_id": track,
        "video_id": "film-1",
        "shot_id": "s0",
        "start_seconds": start,
        "end_seconds": end,
        "start_frame": int(start * 10),
        "end_frame": int(end * 10),
        "crops": 1,
        "quality": 0.5,
        "status": "clustered" if person else "unknown",
        "reason": None if person else "ambiguous",
        "person_id": person,
        "confidence": 0.75 if person else 0.0,
    }


def person(name: str, tracks: int, seconds: float, first: float, cover: str) -> dict[str, Any]:
    return {
        "person_id": name,
        "tracks": tracks,
        "screen_seconds": seconds,
        "first_seconds": first,
        "confidence": 0.75,
        "cover_track_id": cover,
        "cover_crop": 0,
    }


def test_people_are_counted_again_only_where_they_lose_tracks() -> None:
    tracks = make_table(
        [
            result_track("a", "p001", 0.0, 2.0),
            result_track("b", "p001", 3.0, 4.0),
            result_track("c", "p002", 0.0, 1.0),
            result_track("d", "p003", 5.0, 6.0),
        ],
        RESULT_TRACKS,
    )
    # The numbers of p003 are not those of its tracks: its row must not be computed again.
    rows = [
        person("p001", 2, 3.0, 0.0, "a"),
        person("p002", 1, 1.0, 0.0, "c"),
        person("p003", 9, 99.0, 9.0, "d"),
    ]
    asked: list[list[str]] = []

    def faces_of(ids: list[str]) -> Any:
        asked.append(ids)
        return make_table([crop("b", 30), crop("b", 32)], CROPS)

    people = make_table(rows, PEOPLE)
    left = people_without(people, tracks, ["a", "c"], ["film-1"], faces_of).to_pylist()
    assert left == [person("p001", 1, 1.0, 3.0, "b") | {"cover_crop": 32}, rows[2]]
    assert asked == [["b"]]
    assert rows_without(tracks, ["a", "c"], "track_id")["track_id"].to_pylist() == ["b", "d"]
    assert people_without(people, tracks, [], ["film-1"], faces_of).equals(people)
