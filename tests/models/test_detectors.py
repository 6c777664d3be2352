"""YuNet and SCRFD on insightface's picture of six people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest
from insightface.model_zoo.retinaface import RetinaFace
from insightface.model_zoo.scrfd import SCRFD

from tests.helpers.detector_graphs import fix_size, write_distance_graph
from vcn_ray.errors import PackError, ShapeError
from vcn_ray.models.detector_inputs import fit_within
from vcn_ray.models.detectors import ScrfdDetector, YuNetDetector
from vcn_ray.packs.check import PICTURE_FACES, faces_in_boxes, read_picture
from vcn_ray.records import F32, U8, Detections

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


def looks(picture: U8) -> U8:
    """(6, h, w, 3): a picture as it is, mirrored, blurred, noisy, dark, and coarse."""
    rng = np.random.default_rng(4)
    noise = rng.integers(-40, 40, picture.shape)
    size = picture.shape[1::-1]
    return np.stack(
        [
            picture,
            picture[:, ::-1],
            cv2.GaussianBlur(picture, (0, 0), 3),
            np.clip(picture + noise, 0, 255).astype(np.uint8),
            picture // 3,
            cv2.resize(cv2.resize(picture, (300, 200)), size),
        ]
    )


def assert_same_faces(found: Detections, boxes: F32, scores: F32, landmarks: F32) -> None:
    """The same faces, of which near-equal scores may come in another order."""
    assert len(found) == len(boxes)
    free = np.ones(len(boxes), bool)
    for box, score, points in zip(found.boxes, found.scores, found.landmarks, strict=True):
        twin = np.where(free, overlap(box, boxes), -1).argmax()
        free[twin] = False
        assert overlap(box, boxes[twin : twin + 1]).item() >= 0.999
        assert score == pytest.approx(scores[twin], abs=1e-5)
        np.testing.assert_allclose(points, landmarks[twin], atol=1e-3)


def open_plain(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def open_original(path: Path, least: float) -> SCRFD:
    """Insightface's detector of a file, on one thread."""
    original = SCRFD(str(path), open_plain(path), static_shape_sessions=False)
    original.prepare(ctx_id=0, det_thresh=least)
    return original


def assert_as_insightface(original: Any, ours: ScrfdDetector, frames: U8) -> int:
    """Compare with a detector of insightface, a frame at a time; gives the count of faces."""
    height, width = ours.network_size(*frames.shape[1:3])
    found = ours.detect(frames)
    for frame, faces in zip(frames, found, strict=True):
        bgr = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
        boxes, landmarks = original.detect(bgr, input_size=(width, height))
        assert_same_faces(faces, boxes[:, :4], boxes[:, 4], landmarks)
    return sum(len(faces) for faces in found)


@pytest.mark.parametrize(
    ("network", "pixels", "count"),
    [
        ("scrfd_500m/det_500m.onnx", None, 2),
        ("scrfd_500m/det_500m.onnx", 640, 6),
        ("scrfd_500m/det_500m.onnx", 320, 6),
        ("scrfd_2.5g/det_2.5g.onnx", 640, 2),
        ("scrfd_2.5g/det_2.5g.onnx", 320, 6),
    ],
)
def test_scrfd_equals_insightface(
    shared: Path, network: str, pixels: int | None, count: int
) -> None:
    path = shared / "models" / network
    ours = ScrfdDetector(path, 0.5, pixels)
    frames = looks(read_picture())[:count]
    assert assert_as_insightface(open_original(path, 0.5), ours, frames) == 6 * count
    tall = np.ascontiguousarray(frames[:, :, 700:])
    assert assert_as_insightface(open_original(path, 0.5), ours, tall) == 3 * count


@pytest.mark.parametrize("least", [0.1, 0.03])
def test_scrfd_equals_insightface_on_doubtful_faces(scrfd_file: Path, least: float) -> None:
    ours = ScrfdDetector(scrfd_file, least, 320)
    frames = looks(read_picture())
    assert assert_as_insightface(open_original(scrfd_file, least), ours, frames) > 40


def test_scrfd_of_one_size_equals_insightface(scrfd_file: Path, tmp_path: Path) -> None:
    path = fix_size(scrfd_file, tmp_path / "fixed.onnx", 640, 640)
    original = open_original(scrfd_file, 0.5)
    ours = ScrfdDetector(path, 0.5, 320)  # the graph's size stands
    assert ours.network_size(100, 100) == (640, 640)
    frames = looks(read_picture())[:2]
    assert assert_as_insightface(original, ours, frames) == 12
    turned = np.ascontiguousarray(frames.transpose(0, 2, 1, 3))
    assert_as_insightface(original, ours, turned)


@pytest.mark.parametrize("kind", [SCRFD, RetinaFace])
@pytest.mark.parametrize(
    ("strides", "anchors"), [((8, 16, 32), 2), ((8, 16, 32, 64, 128), 1)], ids=["9", "15"]
)
def test_other_heads_equal_insightface(
    tmp_path: Path, kind: type, strides: tuple[int, ...], anchors: int
) -> None:
    path = write_distance_graph(tmp_path / "d.onnx", strides, anchors)
    original = kind(model_file=str(path), session=open_plain(path))
    original.prepare(ctx_id=-1, det_thresh=0.97)
    frames = looks(cv2.resize(read_picture(), (320, 222)))[:3]
    assert assert_as_insightface(original, ScrfdDetector(path, 0.97), frames) > 30


@pytest.mark.parametrize(("pixels", "least"), [(None, 0.5), (640, 0.5), (640, 0.05), (320, 0.1)])
def test_yunet_equals_opencv(yunet_file: Path, pixels: int | None, least: float) -> None:
    frames = looks(read_picture())[: 6 if pixels else 2]
    height, width = fit_within(*frames.shape[1:3], pixels)
    network = cv2.FaceDetectorYN.create(str(yunet_file), "", (width, height), least)
    scale = np.array([frames.shape[2] / width, frames.shape[1] / height], np.float32)
    for frame, found in zip(
        frames, YuNetDetector(yunet_file, least, pixels).detect(frames), strict=True
    ):
        bgr = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
        if pixels:
            bgr = cv2.resize(bgr, (width, height), interpolation=cv2.INTER_AREA)
        rows = network.detect(bgr)[1]
        corner, points = rows[:, :2] * scale, rows[:, 4:14].reshape(-1, 5, 2) * scale
        boxes = np.hstack([corner, corner + rows[:, 2:4] * scale])
        assert_same_faces(found, boxes, rows[:, 14], points)


def test_yunet_of_one_size_takes_all(yunet_file: Path, tmp_path: Path) -> None:
    path = fix_size(yunet_file, tmp_path / "fixed.onnx", 640, 640)
    frames = looks(read_picture())[:2]
    for found, expected in zip(
        YuNetDetector(path, 0.5).detect(frames),
        YuNetDetector(yunet_file, 0.5).detect(frames),
        strict=True,
    ):
        np.testing.assert_array_equal(found.boxes, expected.boxes)


def test_frames_need_not_be_contiguous(detector: Both) -> None:
    frames = looks(read_picture())
    whole = detector.detect(np.ascontiguousarray(frames[:, 10:800, 300:]))
    for found, expected in zip(detector.detect(frames[:, 10:800, 300:]), whole, strict=True):
        np.testing.assert_array_equal(found.boxes, expected.boxes)


def test_threads_reach_the_session(scrfd_file: Path) -> None:
    session = ScrfdDetector(scrfd_file, 0.5, 640, threads=3)._session._session
    assert session.get_session_options().intra_op_num_threads == 3


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


def test_another_graph_is_neither(shared: Path, yunet_file: Path, scrfd_file: Path) -> None:
    encoder = shared / "models" / "mobilefacenet" / "mobilefacenet_arcface.onnx"
    for other in (encoder, yunet_file):
        with pytest.raises(PackError, match="not an SCRFD graph"):
            ScrfdDetector(other, 0.5)
    for other in (encoder, scrfd_file):
        with pytest.raises(PackError, match="not a YuNet graph"):
            YuNetDetector(other, 0.5)


def test_heads_of_other_sizes_are_not_scrfd(tmp_path: Path) -> None:
    path = write_distance_graph(tmp_path / "d.onnx", strides=(16, 32, 64))
    with pytest.raises(PackError, match="not an SCRFD graph"):
        ScrfdDetector(path, 0.5)
