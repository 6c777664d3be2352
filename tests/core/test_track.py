from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from vcn_ray.core.shots import ShotConfig, find_shots
from vcn_ray.core.signals import Shown, SignalReader, join_signals
from vcn_ray.core.track import (
    TrackerConfig,
    cannot_link_pairs,
    carry_box,
    sample_crops,
    thin_crops,
    track_faces,
)
from vcn_ray.errors import ShapeError
from vcn_ray.io.frames import read_segment
from vcn_ray.io.keyframes import plan_segments
from vcn_ray.io.video import DecodeConfig
from vcn_ray.records import F32, F64, I64, Faces, FrameSignals, Mask, Shots

RATE, EVERY = 24, 3  # every third frame is analysed: 8 per second


def signals_for(frames: int, motion: F32 | None = None) -> FrameSignals:
    motions = np.tile(np.eye(2, 3, dtype=np.float32), (frames, 1, 1))
    if motion is not None:
        motions[EVERY::EVERY] = motion
    return FrameSignals(
        seconds=np.arange(frames) / RATE,
        analysed=np.arange(frames) % EVERY == 0,
        layout=np.zeros((frames, 8, 8, 3), np.uint8),
        histogram=np.full((frames, 64), 1 / 64, np.float32),
        motion=motions,
        motion_known=np.arange(frames) % EVERY == 0,
    )


def shots_of(*edges: int) -> Shots:
    return Shots(starts=np.array(edges[:-1]), ends=np.array(edges[1:]))


def faces_of(
    rows: Sequence[tuple[float, ...]], scores: float | F64 = 0.9, kept: bool | Mask = True
) -> Faces:
    """Faces of 60 pixels from (frame, x, y) of their corners, sorted by frame."""
    table = np.array(rows, np.float32).reshape(-1, 3)
    order = np.argsort(table[:, 0], kind="stable")
    corners = table[order, 1:]
    return Faces(
        frame=table[order, 0].astype(np.int64),
        boxes=np.concatenate([corners, corners + 60], axis=1),
        scores=np.broadcast_to(np.asarray(scores, np.float32), len(table))[order],
        kept=np.broadcast_to(kept, len(table))[order],
    )


def track_of(
    faces: Faces,
    frames: int,
    shots: Shots | None = None,
    motion: F32 | None = None,
    **settings: int,
) -> I64:
    return track_faces(
        faces, shots or shots_of(0, frames), signals_for(frames, motion), TrackerConfig(**settings)
    )


def walk(frames: Iterable[int], x: float, step: float, y: float = 100.0) -> list[tuple[float, ...]]:
    return [(frame, x + step * number, y) for number, frame in enumerate(frames)]


def test_two_people_are_two_tracks_from_their_first_face_on() -> None:
    frames = range(0, 48, EVERY)
    faces = faces_of(walk(frames, 400, -5) + walk(frames, 100, 5))
    track = track_of(faces, 48)
    assert track[:2].tolist() == [1, 0]  # the left one counts first
    assert all(len(set(track[n::2])) == 1 for n in range(2))


def test_numbers_follow_the_first_frame() -> None:
    faces = faces_of(walk(range(9, 48, EVERY), 0, 1) + walk(range(0, 30, EVERY), 500, 1))
    track = track_of(faces, 48)
    assert track[0] == 0
    assert track[faces.frame == 9].tolist() == [1, 0]  # from left to right


def test_a_track_ends_at_a_cut() -> None:
    faces = faces_of(walk(range(0, 48, EVERY), 100, 2))
    track = track_of(faces, 48, shots_of(0, 24, 48))
    assert track.tolist() == [0] * 8 + [1] * 8


def test_the_camera_may_move_faster_than_the_faces() -> None:
    step = 45.0
    motion = np.array([[1, 0, -step], [0, 1, 0]], np.float32)
    frames = range(0, 48, EVERY)
    faces = faces_of(walk(frames, 800, -step) + walk(frames, 870, -step))
    still, moving = track_of(faces, 48), track_of(faces, 48, motion=motion)
    assert moving.tolist() == [0, 1] * 16
    assert still.tolist() != moving.tolist()


def test_short_tracks_and_marked_faces_belong_to_none() -> None:
    frames = list(range(0, 48, EVERY))
    rows = walk(frames, 100, 2) + walk(frames[:2], 600, 0)
    kept = np.array([number % 4 != 1 for number in range(len(frames))] + [True] * 2)
    faces = faces_of(rows, kept=kept)
    track = track_of(faces, 48)
    assert set(track[faces.boxes[:, 0] > 500]) == {-1}
    assert np.array_equal(track[faces.boxes[:, 0] < 500] >= 0, kept[:16])
    assert set(track) == {-1, 0}  # the marked faces kept the track together
    assert set(track_of(faces, 48, min_faces=2)) == {-1, 0, 1}


def test_somebody_else_behind_an_occlusion_is_another_track() -> None:
    before, after = range(0, 18, EVERY), range(30, 60, EVERY)
    there = track_of(faces_of(walk(before, 100, 0) + walk(after, 105, 0)), 60)
    beside = track_of(faces_of(walk(before, 100, 0) + walk(after, 130, 0)), 60)
    later = track_of(faces_of(walk(before, 100, 0) + walk(range(60, 90, EVERY), 100, 0)), 90)
    assert set(there) == {0}
    assert set(beside) == set(later) == {0, 1}


@pytest.mark.parametrize("scale", [0.2, 1.0, 1.3, 40.0])
def test_the_scale_of_scores_does_not_matter(scale: float) -> None:
    rng = np.random.default_rng(5)
    frames = range(0, 72, EVERY)
    faces = faces_of(walk(frames, 100, 3) + walk(frames, 300, 3), rng.uniform(0.4, 0.9, 48))
    scaled = Faces(faces.frame, faces.boxes, faces.scores * np.float32(scale), faces.kept)
    assert track_of(scaled, 72).tolist() == track_of(faces, 72).tolist()


@pytest.mark.parametrize("seed", range(6))
def test_no_two_faces_of_a_frame_share_a_track(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = [
        (frame, *rng.uniform(0, 150, 2))
        for frame in range(0, 90, EVERY)
        for _ in range(rng.integers(0, 7))
    ]
    faces = faces_of(rows, rng.uniform(0.1, 1, len(rows)), rng.random(len(rows)) < 0.9)
    track = track_of(faces, 90, shots_of(0, 40, 90), min_faces=1)
    assert track.max() > 3
    for frame in np.unique(faces.frame):
        numbers = track[(faces.frame == frame) & (track >= 0)]
        assert len(set(numbers)) == len(numbers)
    np.testing.assert_array_equal(track, track_of(faces, 90, shots_of(0, 40, 90), min_faces=1))


def test_no_faces_no_tracks() -> None:
    assert track_of(faces_of([]), 30).shape == (0,)
    assert track_of(faces_of([(0, 1, 1)], kept=False), 30).tolist() == [-1]
    with pytest.raises(ShapeError, match="analysed"):
        track_of(faces_of([(1, 0, 0)]), 30)


def sample(
    track: list[int], sharpness: list[float] | None = None, step: float = 1 / 8, **settings: int
) -> Mask:
    sharp = np.array([1.0] * len(track) if sharpness is None else sharpness, np.float32)
    seconds = np.arange(len(track), dtype=np.float64) * step
    return sample_crops(seconds, np.array(track, np.int64), sharp, TrackerConfig(**settings))


def test_one_crop_in_each_interval_the_sharpest() -> None:
    found = sample([0] * 9, [1, 9, 8, 1, 2, 2, 1, 5, 3])
    assert np.flatnonzero(found).tolist() == [1, 2, 4, 7]


def test_samples_have_bounds() -> None:
    assert sample([0] * 1000).sum() == 8
    assert np.diff(np.flatnonzero(sample([0] * 1000))).max() <= 2 * 1000 / 8
    assert sample([0] * 1000, max_crops=5).sum() == 5
    assert sample([0]).tolist() == [True]
    assert sample([0, 0]).tolist() == [True, True]
    assert sample([0, 0, 0], step=1 / 60).sum() == 2
    assert sample([0, 0], step=0).sum() == 1
    assert sample([-1, -1]).sum() == 0
    assert sample([]).shape == (0,)


def test_tracks_are_sampled_each_by_itself() -> None:
    track = [0, 1, -1] * 40
    found = sample(track, step=1 / 24)
    alone = sample([0, -1, -1] * 40, step=1 / 24)
    assert (
        np.flatnonzero(found)[np.array(track)[found] == 0].tolist()
        == np.flatnonzero(alone).tolist()
    )
    assert not found[2::3].any()


def test_crops_are_thinned_alike_on_all_tracks() -> None:
    track = np.repeat(np.arange(4), [10, 1, 4, 10])
    assert thin_crops(track, 25).tolist() == list(range(25))
    found = thin_crops(track, 13)  # 4 and 1 and 4 and 4
    assert np.bincount(track[found]).tolist() == [4, 1, 4, 4]
    assert found[:4].tolist() == [1, 3, 6, 8]
    assert np.bincount(track[thin_crops(track, 12)]).tolist() == [3, 1, 3, 3]


@pytest.mark.parametrize("limit", [2, 3, 9, 50, 399, 400, 1999, 2000])
def test_thinned_crops_are_as_many_as_there_is_room_for(limit: int) -> None:
    rng = np.random.default_rng(limit)
    track = rng.permutation(np.repeat(np.arange(300), rng.integers(1, 9, 300)))
    found = thin_crops(track, limit)
    assert (np.diff(found) > 0).all()
    assert min(limit, len(track)) - 300 <= len(found) <= limit
    counts = np.bincount(track[found], minlength=300)
    if limit < 2 * 300:  # pairs within a track need two crops of it
        chosen = np.flatnonzero(counts)
        assert counts.max() == 2
        assert np.diff(chosen).max(initial=0) <= 2 * 300 / len(chosen)
    else:
        assert counts.min() > 0


def test_no_crops_are_thinned_to_none() -> None:
    assert thin_crops(np.zeros(0, np.int64), 5).tolist() == []


def test_tracks_that_share_a_frame() -> None:
    frame = np.array([0, 0, 0, 3, 3, 6, 6, 9])
    track = np.array([2, 0, -1, 0, 2, 1, 0, 1])
    expected = {
        tuple(sorted(pair))
        for f in frame
        for pair in itertools.combinations(track[(frame == f) & (track >= 0)].tolist(), 2)
    }
    assert (
        cannot_link_pairs(frame, track).tolist() == sorted(map(list, expected)) == [[0, 1], [0, 2]]
    )
    assert cannot_link_pairs(frame[:0], track[:0]).shape == (0, 2)


def test_a_box_goes_with_the_camera() -> None:
    box = np.array([10, 20, 30, 60], np.float32)
    shift = np.array([[1, 0, 5], [0, 1, -7]], np.float32)
    assert carry_box(box, shift).tolist() == [15, 13, 35, 53]
    zoom = np.array([[2, 0, 0], [0, 2, 0]], np.float32)
    assert carry_box(box, zoom).tolist() == [20, 40, 60, 120]
    quarter = np.array([[0, -1, 100], [1, 0, 0]], np.float32)  # the face stays upright in its box
    assert carry_box(box, quarter).tolist() == [50, 0, 70, 40]


def test_a_face_in_a_picture_that_stands_is_a_track() -> None:
    """As in a slide show, where each picture is one frame."""
    faces = faces_of([(0, 100, 100), (EVERY, 500, 100), (2 * EVERY, 900, 100)])
    signals = signals_for(3 * EVERY)
    ends = signals.seconds + 1 / RATE
    ends[EVERY] += 1.0
    stands = replace(signals, ends=ends)
    shots, config = shots_of(0, 3 * EVERY), TrackerConfig()
    assert track_faces(faces, shots, signals, config).tolist() == [-1, -1, -1]
    assert track_faces(faces, shots, stands, config).tolist() == [-1, 0, -1]


def test_a_crowd_has_tracks_of_one_face_each(shared: Path) -> None:
    config = DecodeConfig(long_side_pixels=960)
    path = shared / "data" / "videos" / "crowd_8faces.mp4"
    model = str(shared / "models" / "yunet" / "yunet_n_dynamic.onnx")
    detector, rows, reader = None, [], SignalReader()
    (segment,) = plan_segments(path, config)
    for frame in read_segment(path, segment, config):
        shown = Shown(frame.displayed_width, frame.displayed_height)
        reader.add(frame.small, frame.seconds, analysed=frame.analysed, shown=shown)
        if frame.image is None:
            continue
        size = frame.image.shape[1::-1]
        detector = detector or cv2.FaceDetectorYN.create(model, "", size, 0.5)
        _, found = detector.detect(np.ascontiguousarray(frame.image[..., ::-1]))
        for x, y, width, height, *_, score in found:
            box = np.array([x, y, x + width, y + height]) * frame.scale
            rows.append((frame.number_in_segment, *box, score))
    table = np.array(rows, np.float32)
    faces = Faces(
        frame=table[:, 0].astype(np.int64),
        boxes=table[:, 1:5],
        scores=table[:, 5],
        kept=np.ones(len(table), bool),
    )
    signals = join_signals([reader.result()])
    track = track_faces(faces, find_shots(signals, ShotConfig()), signals, TrackerConfig())
    tracked = track >= 0
    assert tracked.mean() > 0.8
    assert 12 <= track.max() + 1 <= 26  # about ten people, who hide one another
    assert len(set(zip(faces.frame[tracked], track[tracked], strict=True))) == tracked.sum()
    # The woman in front on the left stays one track as long as she is seen.
    assert np.bincount(track[tracked]).max() >= 28


@pytest.mark.parametrize(
    "wrong",
    [
        {"strong_fraction": 1.1},
        {"min_overlap": 7},
        {"min_faces": 0},
        {"sample_seconds": 0},
        {"max_crops": 0},
    ],
)
def test_senseless_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        TrackerConfig(**wrong)
