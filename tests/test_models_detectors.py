"""YuNet and SCRFD on insightface's picture of six people."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from vcn_ray.errors import PackError, ShapeError
from vcn_ray.models.detectors import ScrfdDetector, YuNetDetector
from vcn_ray.models.pack_check import PICTURE_FACES, faces_in_boxes, read_picture
from vcn_ray.records import F32, Detections

Both = YuNetDetector | ScrfdDetector


@pytest.fixture(scope="module")
def yunet_file(shared: Path) -> Path:
    return shared / "models" / "yunet" / "yunet_n_dynamic.onnx"


@pytest.fixture(scope="module")
def scrfd_file(shared: Path) -> Path:
    return shared / "models" / "scrfd_500m" / "det_500m.onnx"


@pytest.fixture(scope="module", params=["yunet", "scrfd"])
def detector(request: pytest.FixtureRequest, yunet_file: Path, scrfd_file: Path) -> Both:
    if request.param == "yunet":
        return YuNetDetector(yunet_file, 0.5, 640)
    return ScrfdDetector(scrfd_file, 0.5, 640)


def overlap(one: F32, others: F32) -> F32:
    """IoU of a box with each of others."""
    low, high = np.maximum(one[:2], others[:, :2]), np.minimum(one[2:], others[:, 2:])
    common = np.clip(high - low, 0, None).prod(axis=1)
    area = (others[:, 2:] - others[:, :2]).prod(axis=1) + (one[2:] - one[:2]).prod()
    return common / (area - common)


def same_faces(one: Detections, other: Detections, least: float) -> bool:
    return len(one) == len(other) and all(
        overlap(box, other.boxes).max() >= least for box in one.boxes
    )


def test_finds_six_of_six(detector: Both) -> None:
    found = detector.detect(read_picture()[None])[0]
    hits = faces_in_boxes(found.boxes)
    assert hits.shape == (6, 6)
    assert (hits.sum(axis=0) == 1).all()
    assert (hits.sum(axis=1) == 1).all()
    assert (found.scores >= 0.5).all()
    assert (np.diff(found.scores) <= 0).all()


def test_arrays_are_contiguous_float32(detector: Both) -> None:
    found = detector.detect(read_picture()[None])[0]
    for array, shape in ((found.boxes, (6, 4)), (found.scores, (6,)), (found.landmarks, (6, 5, 2))):
        assert array.shape == shape
        assert array.dtype == np.float32
        assert array.flags.c_contiguous


def test_landmarks_come_image_left_first(detector: Both) -> None:
    found = detector.detect(read_picture()[None])[0]
    points = found.landmarks
    left_eye, right_eye, nose, left_mouth, right_mouth = points.transpose(1, 0, 2)
    assert (left_eye[:, 0] < right_eye[:, 0]).all()
    assert (left_mouth[:, 0] < right_mouth[:, 0]).all()
    assert (left_eye[:, 1] < nose[:, 1]).all()
    assert (nose[:, 1] < left_mouth[:, 1]).all()
    assert (points >= found.boxes[:, None, :2]).all()
    assert (points <= found.boxes[:, None, 2:]).all()


def test_a_batch_equals_frames_one_by_one(detector: Both) -> None:
    picture = read_picture()
    frames = np.stack([picture, np.zeros_like(picture), np.ascontiguousarray(picture[:, ::-1])])
    batch = detector.detect(frames)
    assert [len(found) for found in batch] == [6, 0, 6]
    assert batch[1].boxes.shape == (0, 4)
    assert batch[1].landmarks.shape == (0, 5, 2)
    for found, frame in zip(batch, frames, strict=True):
        np.testing.assert_array_equal(found.boxes, detector.detect(frame[None])[0].boxes)
    mirrored = batch[2].boxes.copy()
    mirrored[:, [0, 2]] = picture.shape[1] - mirrored[:, [2, 0]]
    turned = Detections(boxes=mirrored, scores=batch[2].scores, landmarks=batch[2].landmarks)
    assert same_faces(batch[0], turned, 0.8)


def test_boxes_are_in_pixels_of_the_frame_given(detector: Both) -> None:
    picture = read_picture()
    half = cv2.resize(picture, (640, 443), interpolation=cv2.INTER_AREA)
    large, small = detector.detect(picture[None])[0], detector.detect(half[None])[0]
    scaled = Detections(boxes=small.boxes * 2, scores=small.scores, landmarks=small.landmarks * 2)
    assert same_faces(large, scaled, 0.9)
    for box, landmarks in zip(large.boxes, large.landmarks, strict=True):
        twin = scaled.landmarks[overlap(box, scaled.boxes).argmax()]
        assert np.abs(twin - landmarks).max() < 8  # a tenth of a face's width


def test_tall_frames_are_searched_too(detector: Both) -> None:
    tall = np.ascontiguousarray(read_picture()[:, 700:1280])
    boxes = detector.detect(tall[None])[0].boxes
    boxes[:, [0, 2]] += 700
    assert faces_in_boxes(boxes).sum() == 3


def test_no_frames_give_no_detections(detector: Both) -> None:
    assert detector.detect(np.zeros((0, 40, 60, 3), np.uint8)) == []


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((40, 60, 3), np.uint8),
        np.zeros((1, 40, 60, 3), np.float32),
        np.zeros((1, 40, 60, 1), np.uint8),
        np.zeros((1, 0, 60, 3), np.uint8),
    ],
)
def test_other_shapes_are_refused(detector: Both, frames: np.ndarray) -> None:
    with pytest.raises(ShapeError, match="frames need"):
        detector.detect(frames)


def test_one_pixel_frames_hold_no_face(detector: Both) -> None:
    assert len(detector.detect(np.zeros((1, 1, 1, 3), np.uint8))[0]) == 0


def test_min_score_drops_faces(yunet_file: Path, scrfd_file: Path) -> None:
    picture = read_picture()[None]
    for strict in (YuNetDetector(yunet_file, 0.92, 640), ScrfdDetector(scrfd_file, 0.85, 640)):
        found = strict.detect(picture)[0]
        assert 0 < len(found) < len(PICTURE_FACES)


def test_scrfd_agrees_with_insightface(scrfd_file: Path) -> None:
    from insightface.model_zoo import get_model

    picture = read_picture()
    network = get_model(str(scrfd_file))
    network.prepare(ctx_id=-1, input_size=(640, 640), det_thresh=0.5)
    boxes, landmarks = network.detect(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    found = ScrfdDetector(scrfd_file, 0.5, 640).detect(picture[None])[0]
    for box, score, points in zip(found.boxes, found.scores, found.landmarks, strict=True):
        twin = overlap(box, boxes[:, :4]).argmax()
        assert overlap(box, boxes[twin : twin + 1, :4]).item() > 0.97
        assert score == pytest.approx(boxes[twin, 4], abs=0.02)
        assert np.abs(points - landmarks[twin]).max() < 1.5


def test_yunet_agrees_with_opencv(yunet_file: Path) -> None:
    picture = read_picture()
    size = (picture.shape[1], picture.shape[0])
    network = cv2.FaceDetectorYN.create(str(yunet_file), "", size, 0.5)
    rows = network.detect(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1]
    found = YuNetDetector(yunet_file, 0.5).detect(picture[None])[0]
    np.testing.assert_allclose(found.scores, rows[:, 14], atol=1e-6)
    np.testing.assert_allclose(found.boxes[:, 2:] - found.boxes[:, :2], rows[:, 2:4], atol=1e-3)
    np.testing.assert_allclose(found.landmarks.reshape(-1, 10), rows[:, 4:14], atol=1e-3)


def test_threads_reach_the_session(scrfd_file: Path) -> None:
    network = ScrfdDetector(scrfd_file, 0.5, 640, threads=3)._network
    assert network.session.get_session_options().intra_op_num_threads == 3


def test_threads_reach_opencv(yunet_file: Path) -> None:
    YuNetDetector(yunet_file, 0.5, threads=2)
    assert cv2.getNumThreads() == 2
    YuNetDetector(yunet_file, 0.5)
    assert cv2.getNumThreads() == 1


def test_nothing_is_written_to_the_terminal(
    yunet_file: Path, scrfd_file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    picture = read_picture()[None, ::2, ::2]
    frames = np.ascontiguousarray(picture)
    YuNetDetector(yunet_file, 0.5).detect(frames)
    ScrfdDetector(scrfd_file, 0.5).detect(frames)
    assert capfd.readouterr() == ("", "")


def test_another_graph_is_not_scrfd(shared: Path) -> None:
    encoder = shared / "models" / "mobilefacenet" / "mobilefacenet_arcface.onnx"
    with pytest.raises(PackError, match="not an SCRFD graph"):
        ScrfdDetector(encoder, 0.5)
