"""The embedded pack "dlib": its detector, aligner and encoder put together.

The weights come with the package face_recognition_models (CC0), so a first run downloads nothing.
The networks run in torch; the five landmarks come from dlib's own regression trees. It does not
know how other packs are found.
"""

from __future__ import annotations

import hashlib
import json
from functools import partial
from pathlib import Path

import dlib
import numpy as np
import torch

from vcn_ray.errors import PackError
from vcn_ray.models.dlib_align import CHIP_PADDING, CHIP_PIXELS, DlibAligner
from vcn_ray.models.dlib_mmod import THRESHOLD, Boxes, Mmod
from vcn_ray.models.dlib_resnet import DlibResNet
from vcn_ray.models.dlib_weights import (
    LANDMARK_FILE,
    MMOD_FILE,
    RESNET_FILE,
    SHA256,
    model_file,
)
from vcn_ray.models.packs import FacePack
from vcn_ray.records import F32, U8, Detections

NAME = "dlib"
LICENCE = "CC0-1.0"
SOURCE = "PyPI package face_recognition_models 0.3: models by Davis King"
DETECTOR = "dlib-mmod"
ENCODER = "dlib-resnet"


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


def load_dlib_pack(threads: int = 1, device: str = "cpu") -> FacePack:
    """Load the embedded pack.

    Args:
        threads: CPU threads of torch, in the whole process: it has no setting for one network.
        device: Where the detector runs. The encoder is made on the CPU, as every pack's.

    Raises:
        PackError: The weights are absent or other ones, or there is no such device.
    """
    torch.set_num_threads(threads)
    return FacePack(
        name=NAME,
        licence=LICENCE,
        commercial_use=True,
        source=SOURCE,
        detector=DlibDetector(device=device),
        aligner=DlibAligner(),
        encoder=ENCODER,
        detector_hash=_settings_hash(
            detector=DETECTOR,
            weights=SHA256[MMOD_FILE],
            landmarks=SHA256[LANDMARK_FILE],
            threshold=THRESHOLD,
            chip=[CHIP_PIXELS, CHIP_PADDING],
        ),
        encoder_hash=_settings_hash(encoder=ENCODER, weights=SHA256[RESNET_FILE]),
        make_encoder=partial(_make_encoder, model_file(RESNET_FILE)),
    )


def _make_encoder(path: Path) -> DlibResNet:
    return DlibResNet(path.read_bytes())


def _settings_hash(**settings: object) -> str:
    """Hex sha256 of all that a result depends on."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
