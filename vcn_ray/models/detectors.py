"""Face detectors behind ONNX graphs: YuNet by OpenCV, SCRFD by insightface and onnxruntime.

Both take RGB frames of one size and give boxes and five landmarks in pixels of the frame given,
image-left eye first. They know no pack file, no filter and no track.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
from insightface.model_zoo import get_model
from insightface.model_zoo.scrfd import SCRFD

from vcn_ray.errors import PackError, ShapeError
from vcn_ray.records import F32, U8, Detections

SCRFD_STRIDE = 32
"""Sides of the picture that SCRFD takes are multiples of this."""

ORT_ERRORS_ONLY = 3
"""Severity of onnxruntime's messages from which on they are shown."""


def check_frames(frames: U8) -> None:
    """Raise ShapeError unless `frames` is (b, h, w, 3) uint8 with at least one pixel a frame."""
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8:
        raise ShapeError(
            f"frames need shape (b, h, w, 3) and dtype uint8, got {frames.shape} {frames.dtype}"
        )
    if 0 in frames.shape[1:3]:
        raise ShapeError(f"frames need at least one pixel, got {frames.shape}")


def fit_within(height: int, width: int, longest: int | None) -> tuple[int, int]:
    """Height and width shrunk, in proportion, until no side is over `longest`; never enlarged."""
    if longest is None or max(height, width) <= longest:
        return height, width
    scale = longest / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def round_up(side: int) -> int:
    """The smallest multiple of SCRFD's stride that holds `side` pixels."""
    return -(-side // SCRFD_STRIDE) * SCRFD_STRIDE


def to_detections(boxes: F32, scores: F32, landmarks: F32) -> Detections:
    """Faces in any order as a record: best score first, contiguous float32."""
    order = np.argsort(-scores, kind="stable")
    return Detections(
        boxes=np.ascontiguousarray(boxes[order], np.float32),
        scores=np.ascontiguousarray(scores[order], np.float32),
        landmarks=np.ascontiguousarray(landmarks[order], np.float32),
    )


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Keep OpenCV to errors: version 5 warns about targets each time YuNet is opened."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)


class YuNetDetector:
    """YuNet (Wu et al., 2023) through `cv2.FaceDetectorYN`.

    Args:
        path: The ONNX file with dynamic sizes.
        min_score: Faces under this score are not reported.
        input_pixels: Longest side that the network sees; larger frames are shrunk to it first.
            None: frames as they come.
        threads: Threads of OpenCV, in the whole process: it has no setting for one network.
    """

    def __init__(
        self, path: Path, min_score: float, input_pixels: int | None = None, threads: int = 1
    ) -> None:
        cv2.setNumThreads(threads)
        with quiet_opencv():
            self._network = cv2.FaceDetectorYN.create(str(path), "", (320, 320), min_score)
        self._input_pixels = input_pixels

    def detect(self, frames: U8) -> list[Detections]:
        """Faces of each frame of (b, h, w, 3) uint8 RGB, best score first."""
        check_frames(frames)
        height, width = fit_within(frames.shape[1], frames.shape[2], self._input_pixels)
        self._network.setInputSize((width, height))
        return [self._detect_one(frame, (width, height)) for frame in frames]

    def _detect_one(self, frame: U8, size: tuple[int, int]) -> Detections:
        scale = np.array([frame.shape[1] / size[0], frame.shape[0] / size[1]], np.float32)
        picture = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
        if scale.max() > 1:
            picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        found = self._network.detect(picture)[1]
        rows = np.empty((0, 15), np.float32) if found is None else found
        corner, extent = rows[:, :2] * scale, rows[:, 2:4] * scale
        return to_detections(
            boxes=np.hstack([corner, corner + extent]),
            scores=rows[:, 14],
            landmarks=rows[:, 4:14].reshape(-1, 5, 2) * scale,
        )


class ScrfdDetector:
    """SCRFD (Guo et al., 2022) through insightface and onnxruntime.

    Args:
        path: The ONNX file, one with landmarks.
        min_score: Faces under this score are not reported.
        input_pixels: Longest side that the network sees; larger frames are shrunk to it first.
            None: frames as they come. A graph of one fixed size keeps that.
        threads: Threads of one onnxruntime operator.

    Raises:
        PackError: The graph is not SCRFD with landmarks.
    """

    def __init__(
        self, path: Path, min_score: float, input_pixels: int | None = None, threads: int = 1
    ) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # One session serves all frame sizes, else each size would keep a copy of the network; the
        # graph declares the outputs of one size, and onnxruntime would warn at each other one.
        options.log_severity_level = ORT_ERRORS_ONLY
        network = get_model(str(path), sess_options=options, static_shape_sessions=False)
        if not isinstance(network, SCRFD) or not network.use_kps:
            raise PackError(f"{path.name} is not an SCRFD graph with landmarks: choose one that is")
        network.prepare(ctx_id=0, det_thresh=min_score)
        self._network = network
        self._input_pixels = input_pixels

    def detect(self, frames: U8) -> list[Detections]:
        """Faces of each frame of (b, h, w, 3) uint8 RGB, best score first."""
        check_frames(frames)
        size = self._network_size(frames.shape[1], frames.shape[2])
        return [self._detect_one(frame, size) for frame in frames]

    def _network_size(self, height: int, width: int) -> tuple[int, int]:
        """Width and height of the network's picture: no more padding than its strides ask for."""
        if self._network.static_input_size is not None:
            fixed_width, fixed_height = self._network.static_input_size
            return int(fixed_width), int(fixed_height)
        height, width = fit_within(height, width, self._input_pixels)
        return round_up(width), round_up(height)

    def _detect_one(self, frame: U8, size: tuple[int, int]) -> Detections:
        picture = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
        boxes, landmarks = self._network.detect(picture, input_size=size)
        return to_detections(boxes[:, :4], boxes[:, 4], landmarks)
