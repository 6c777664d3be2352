"""The detector runs on a grid of frames; what lies between must equal what it would find there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np
import pytest

from vcn_ray.core import grid as module
from vcn_ray.core.grid import (
    FrameFound,
    GridConfig,
    GridDetector,
    interpolate_faces,
    match_faces,
)
from vcn_ray.core.signals import picture_layout
from vcn_ray.core.vectors import paired_iou
from vcn_ray.records import F32, U8, Detections

FPS = 8.0
HEIGHT, WIDTH = 120, 200
POINTS = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]], np.float32)

Places = Callable[[int], Mapping[int, tuple[float, float]]]
"""The middle x and y of each face of a frame, by the number of the person."""


def faces_at(
    boxes: Sequence[tuple[float, ...]], scores: Sequence[float] | None = None
) -> Detections:
    """Faces with these boxes, and landmarks that lie in them alike."""
    array = np.array(boxes, np.float32).reshape(-1, 4)
    sides = array[:, 2:] - array[:, :2]
    return Detections(
        boxes=array,
        scores=np.array(scores or [0.9] * len(array), np.float32),
        landmarks=array[:, None, :2] + POINTS * sides[:, None],
    )


def texture(seed: int, side: int) -> U8:
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC), np.uint8)


class Film:
    """Frames with drawn faces of 32 pixels, and a detector that knows where they are."""

    def __init__(self, frames: int, places: Places, cuts: tuple[int, ...] = ()) -> None:
        self.truth: list[Detections] = []
        self.images: list[U8] = []
        self.detected: list[int] = []  # frames on which the detector ran, in that order
        self.batches: list[int] = []  # their sizes
        for frame in range(frames):
            scene = sum(cut <= frame for cut in cuts)
            image = np.full((HEIGHT, WIDTH, 3), 40 + 60 * scene, np.uint8)
            image[: HEIGHT // (scene + 1)] = 200
            people = places(frame)
            boxes = [(x - 16, y - 16, x + 16, y + 16) for x, y in people.values()]
            for person, (x, y) in people.items():
                move = np.array([[1, 0, x - 16], [0, 1, y - 16]], np.float64)
                cv2.warpAffine(
                    texture(person, 32), move, (WIDTH, HEIGHT), image,
                    borderMode=cv2.BORDER_TRANSPARENT,
                )  # fmt: skip
            image[0, 0] = frame  # by which the detector knows it
            self.images.append(image)
            self.truth.append(faces_at(boxes, [0.9 - 0.01 * n for n in range(len(boxes))]))

    def detect(self, frames: U8) -> list[Detections]:
        numbers = [int(frame[0, 0, 0]) for frame in frames]
        self.detected += numbers
        self.batches.append(len(numbers))
        return [self.truth[number] for number in numbers]

    def find(self, step: int = 4, seconds: list[float] | None = None) -> list[FrameFound]:
        """The faces of all frames; two more that are not analysed lie between each two."""
        found: list[FrameFound] = []
        grid = GridDetector(self.detect, GridConfig(grid_step=step), FPS)
        for number, image in enumerate(self.images):
            time = number / FPS if seconds is None else seconds[number]
            found += grid.add(image, time, picture_layout(image))
            found += grid.add(None, time + 0.04, picture_layout(image))
        return found + grid.finish()


def still(_: int) -> Mapping[int, tuple[float, float]]:
    return {1: (50, 60), 2: (140, 60)}


def assert_near(found: list[FrameFound], film: Film, min_iou: float = 0.85) -> None:
    assert len(found) == len(film.truth)
    for each, truth in zip(found, film.truth, strict=True):
        assert len(each.faces) == len(truth)
        assert (paired_iou(each.faces.boxes, truth.boxes) >= min_iou).all()
        assert np.abs(each.faces.landmarks - truth.landmarks).max(initial=0) < 3


def test_step_1_detects_every_frame_in_batches() -> None:
    film = Film(21, still)
    found = film.find(step=1)
    assert film.detected == list(range(21))
    assert film.batches == [8, 8, 5]
    assert all(each.measured for each in found)
    assert all(each.faces is truth for each, truth in zip(found, film.truth, strict=True))


def test_still_faces_are_detected_on_the_grid_alone() -> None:
    film = Film(22, still)
    found = film.find()
    assert film.detected == [0, 4, 8, 12, 16, 20, 21]  # the last frame closes the grid
    assert [n for n, each in enumerate(found) if each.measured] == film.detected
    assert_near(found, film, 0.98)


def test_moving_faces_are_interpolated() -> None:
    film = Film(17, lambda n: {1: (40 + 3.3 * n, 50 + n), 2: (150 - 2 * n, 90)})
    found = film.find()
    assert film.detected == [0, 4, 8, 12, 16]
    assert_near(found, film)


def test_a_face_that_goes_and_comes_back_is_found_where_it_is() -> None:
    """A straight line would leave it out in the middle; the picture says where it is."""
    film = Film(5, lambda n: {1: (50 + (0, 7, 10, 7, 0)[n], 60)})
    found = film.find()
    assert film.detected == [0, 4]
    assert_near(found, film)


def test_a_face_that_is_hidden_for_a_moment_is_not_invented() -> None:
    film = Film(9, lambda n: {} if n == 2 else {1: (50, 60)})
    found = film.find()
    assert not len(found[2].faces)
    assert 2 in film.detected
    assert_near(found, film)


@pytest.mark.parametrize("born", range(1, 9))
def test_a_birth_is_found_to_the_frame(born: int) -> None:
    film = Film(13, lambda n: {1: (50, 60)} | ({2: (140, 60)} if n >= born else {}))
    assert_near(film.find(), film)
    assert len(film.detected) <= 4 + 2  # of 13: the grid, and two more in the interval


@pytest.mark.parametrize("lost", range(1, 9))
def test_a_loss_is_found_to_the_frame(lost: int) -> None:
    film = Film(13, lambda n: {1: (50, 60)} if n < lost else {})
    assert_near(film.find(), film)
    assert len(film.detected) <= 4 + 2


def test_faces_that_cross_are_detected() -> None:
    film = Film(17, lambda n: {1: (40 + 7 * n, 60), 2: (152 - 7 * n, 70)})
    found = film.find()
    assert set(range(6, 11)) <= set(film.detected)  # near each other
    assert_near(found, film)


def test_both_sides_of_a_cut_are_detected() -> None:
    """The face keeps its place, so the boxes alone would match; the person is another one."""
    film = Film(13, lambda n: {1 + (n >= 6): (50, 60)}, cuts=(6,))
    found = film.find()
    assert film.detected == [0, 4, 5, 6, 10, 12]
    assert_near(found, film)


def test_a_person_who_takes_the_place_of_another_is_detected() -> None:
    """No cut shows, but the pictures between look like neither before nor after."""
    film = Film(9, lambda n: {3 if n in (1, 2, 3) else 1: (50, 60)})
    found = film.find()
    assert film.detected[:3] == [0, 4, 8]
    assert 2 in film.detected
    assert_near(found, film)


def test_frames_without_faces_cost_the_grid_alone() -> None:
    film = Film(17, lambda _: {})
    assert all(not len(each.faces) for each in film.find())
    assert film.detected == [0, 4, 8, 12, 16]


def test_nothing_is_interpolated_across_a_long_gap() -> None:
    film = Film(9, still)
    film.find(seconds=[0, 0.125, 0.25, 2, 4, 4.125, 4.25, 4.375, 4.5])
    assert sorted(film.detected) == [0, 2, 3, 4, 8]


def test_a_change_of_size_is_a_cut() -> None:
    film = Film(9, still)
    film.images[6:] = [image[:, :180] for image in film.images[6:]]
    found = film.find()
    assert sorted(film.detected) == [0, 4, 5, 6, 8]
    assert_near(found, film)


@pytest.mark.parametrize(("batch", "window"), [(1, 96 << 20), (3, 96 << 20), (8, 1)])
def test_batches_change_nothing(monkeypatch: pytest.MonkeyPatch, batch: int, window: int) -> None:
    def places(n: int) -> Mapping[int, tuple[float, float]]:
        moving = {1: (40 + 5 * (n % 12), 50 + n % 5)}
        return moving | ({2: (150, 90)} if n % 19 > 4 else {}) | ({3: (30, 95)} if n > 40 else {})

    film, other = (Film(70, places, cuts=(23,)) for _ in range(2))
    expected = film.find()
    monkeypatch.setattr(module, "BATCH", batch)
    monkeypatch.setattr(module, "WINDOW_BYTES", window)
    found = other.find()
    assert max(other.batches) <= batch
    assert sorted(other.detected) == sorted(film.detected)
    assert len(film.detected) < 60
    for left, right in zip(expected, found, strict=True):
        assert left.measured == right.measured
        for name in ("boxes", "scores", "landmarks"):
            np.testing.assert_array_equal(getattr(left.faces, name), getattr(right.faces, name))


def test_few_pictures_wait() -> None:
    film = Film(100, lambda _: {})
    grid = GridDetector(film.detect, GridConfig(grid_step=4), FPS)
    open_frames = most = 0
    for number, image in enumerate(film.images):
        open_frames += 1 - len(grid.add(image, number / FPS, picture_layout(image)))
        most = max(most, open_frames)
    assert most == 4 * 8 - 1
    assert open_frames == len(grid.finish())
    assert grid.finish() == []


def boxes_of(*boxes: tuple[float, ...]) -> Detections:
    return faces_at(list(boxes))


def test_matching_is_one_to_one_whatever_the_order() -> None:
    left = boxes_of((0, 0, 10, 10), (50, 0, 70, 20))
    right = boxes_of((52, 0, 71, 20), (1, 1, 11, 11))
    assert match_faces(left, right) == [1, 0]
    assert match_faces(left, left) == [0, 1]


@pytest.mark.parametrize(
    "right",
    [
        boxes_of((0, 0, 10, 10)),  # one is lost
        boxes_of((0, 0, 10, 10), (50, 0, 70, 20), (90, 0, 99, 9)),  # one is born
        boxes_of((0, 0, 10, 10), (66, 0, 86, 20)),  # moved too far
        boxes_of((0, 0, 10, 10), (50, 0, 76, 26)),  # grew too much
        boxes_of((0, 0, 10, 10), (1, 2, 11, 12)),  # both near one
    ],
)
def test_faces_without_a_clear_partner_do_not_match(right: Detections) -> None:
    left = boxes_of((0, 0, 10, 10), (50, 0, 70, 20))
    assert match_faces(left, right) is None
    assert match_faces(right, left) is None


def test_faces_that_overlap_do_not_match() -> None:
    near = boxes_of((0, 0, 20, 20), (15, 0, 35, 20))
    assert match_faces(near, near) is None


def test_values_follow_time_and_the_best_score_is_first() -> None:
    film = Film(4, still)
    before, after = film.truth[0], film.truth[3]
    before = Detections(before.boxes, np.array([0.9, 0.8], np.float32), before.landmarks)
    after = Detections(after.boxes, np.array([0.5, 0.8], np.float32), after.landmarks)
    seconds = np.array([0.0, 0.1, 0.3, 0.4])
    found = interpolate_faces(film.images[:4], seconds, before, after)
    assert found is not None
    np.testing.assert_allclose(found[0].scores, [0.8, 0.8], atol=1e-6)
    np.testing.assert_allclose(found[1].scores, [0.8, 0.6], atol=1e-6)
    middles: F32 = found[1].boxes.reshape(2, 2, 2).mean(axis=1)
    np.testing.assert_allclose(middles, [[140, 60], [50, 60]], atol=0.5)
    assert found[1].boxes.dtype == found[1].scores.dtype == found[1].landmarks.dtype == np.float32


def test_plain_faces_are_detected() -> None:
    """Where nothing is to be seen, as in the dark, any place looks like the face."""
    film = Film(9, still)
    for image in film.images:
        image[1:] = 5
    assert_near(film.find(), film, 1.0)
    assert film.detected[:3] == [0, 4, 8]
    assert sorted(film.detected) == list(range(9))


def test_a_face_beyond_the_edge_is_interpolated() -> None:
    film = Film(9, lambda n: {1: (2 + n, 60), 2: (198, 118)})
    found = film.find()
    assert_near(found, film, 0.8)
