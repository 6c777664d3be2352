"""Face detectors behind ONNX graphs, for batches of frames: YuNet, SCRFD, RetinaFace.

They take RGB frames of one size and give boxes and five landmarks in pixels of the frame given,
image-left eye first. Boxes are those of `cv2.FaceDetectorYN` and of insightface's `SCRFD.detect`,
which take one frame at a time. They know no pack file, no filter and no track.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np

from vcn_ray.errors import PackError, ShapeError
from vcn_ray.models.anchors import (
    Candidates,
    decode_distances,
    decode_yunet,
    join,
    suppress,
)
from vcn_ray.models.letterbox import check_frames, fit_within, inside, pad, round_up, to_planes
from vcn_ray.models.onnx_session import BatchSession
from vcn_ray.models.tiles import place, tile_frame
from vcn_ray.records import U8, Detections

YUNET_STRIDES = (8, 16, 32)
YUNET_HEADS = ("cls", "obj", "bbox", "kps")
YUNET_MOST = 5000  # faces of a frame before suppression: OpenCV's

SCRFD_STRIDES = {9: (8, 16, 32), 15: (8, 16, 32, 64, 128)}
"""By the count of outputs: three for each level of a graph with landmarks."""


class OnnxDetector(ABC):
    """A detector as a graph: batches in, records out, and tiles where they are asked for.

    Args:
        path: The ONNX file.
        min_score: Faces under this score are not reported.
        input_pixels: Longest side that the network sees; larger frames are shrunk to it first.
            None: frames as they come. A graph of one fixed size keeps that, unless its kind says
            otherwise.
        threads: Threads of one onnxruntime operator, and of OpenCV in the whole process.
        device: cpu, cuda or tensorrt.
        tiles: Besides the whole frame, so many overlapping tiles along each side are searched, each
            at the network's full size. 1: the whole frame alone.

    Attributes:
        kind: What the graph has to be, with its article.
        overlap: Intersection over union above which two faces are one.
        any_size: Whether a size that the graph fixes is freed.

    Raises:
        PackError: The graph is of another kind, there is no such device, or `tiles` is under 1.
    """

    kind: ClassVar[str]
    overlap: ClassVar[float]
    any_size: ClassVar[bool] = False

    def __init__(
        self,
        path: Path,
        min_score: float,
        input_pixels: int | None = None,
        threads: int = 1,
        device: str = "cpu",
        tiles: int = 1,
    ) -> None:
        if tiles < 1:
            raise PackError(f"a detector needs at least 1 tile, got {tiles}: 1 switches tiles off")
        cv2.setNumThreads(threads)  # it has no setting for one call
        self._session = BatchSession(path, threads, device, any_size=self.any_size)
        self._min_score = min_score
        self._input_pixels = input_pixels
        self._tiles = tiles
        if not self._knows(self._session.output_names):
            raise PackError(f"{path.name} is not {self.kind} graph with landmarks: choose one")
        try:
            self._find(np.zeros((1, 1, 1, 3), np.uint8))
        except ShapeError as error:
            raise PackError(
                f"{path.name} is not {self.kind} graph with landmarks ({error})"
            ) from error

    def detect(self, frames: U8) -> list[Detections]:
        """Faces of each frame of (b, h, w, 3) uint8 RGB, best score first."""
        check_frames(frames)
        if not len(frames):
            return []
        found = self._find(frames)
        if self._tiles > 1:
            found = self._add_tiles(frames, found)
        return found.split(len(frames))

    def _add_tiles(self, frames: U8, found: Candidates) -> Candidates:
        height, width = frames.shape[1:3]
        parts = [found]
        for tile in tile_frame(height, width, self._tiles):
            x, y, wide, tall = tile
            part = self._find(frames[:, y : y + tall, x : x + wide])
            parts.append(place(part, tile, height, width))
        together = join(parts)
        return suppress(together, together.boxes, self.overlap)

    @abstractmethod
    def _knows(self, outputs: tuple[str, ...]) -> bool:
        """Whether a graph of these outputs is of this kind, and which of them is what."""

    @abstractmethod
    def _find(self, frames: U8) -> Candidates:
        """Faces of frames, each once; the frames' rows need not be contiguous."""


class YuNetDetector(OnnxDetector):
    """YuNet (Wu et al., 2023), as `cv2.FaceDetectorYN` reads it."""

    kind = "a YuNet"
    overlap = 0.3  # OpenCV's
    any_size = True

    def _knows(self, outputs: tuple[str, ...]) -> bool:
        names = [f"{head}_{stride}" for head in YUNET_HEADS for stride in YUNET_STRIDES]
        known = sorted(names) == sorted(outputs)
        self._order = [outputs.index(name) for name in names] if known else []
        return known

    def _find(self, frames: U8) -> Candidates:
        height, width = frames.shape[1:3]
        within = self._within(height, width)
        size = self._session.input_size or (
            round_up(within[0], YUNET_STRIDES[-1]),
            round_up(within[1], YUNET_STRIDES[-1]),
        )
        pictures = pad(frames, within, size, cv2.INTER_AREA)
        outputs = self._session.run(to_planes(pictures, (2, 1, 0), 0, 1))
        ordered = [outputs[number] for number in self._order]
        found = decode_yunet(ordered, YUNET_STRIDES, size, self._min_score)
        found = best_of_each(found, YUNET_MOST)
        # OpenCV measures overlap on corners and sides cut to whole pixels.
        low, extent = found.boxes[:, :2], found.boxes[:, 2:] - found.boxes[:, :2]
        low = np.trunc(low.astype(np.float64))
        whole = np.hstack([low, low + np.trunc(extent)])
        shrunk = np.array([within[1] / width, within[0] / height], np.float32)
        return suppress(found, whole, self.overlap).enlarged(shrunk)

    def _within(self, height: int, width: int) -> tuple[int, int]:
        """Height and width that a frame is shrunk to."""
        fixed = self._session.input_size
        if fixed is None or (height <= fixed[0] and width <= fixed[1]):
            return fit_within(height, width, self._input_pixels)
        return inside(height, width, fixed)


class ScrfdDetector(OnnxDetector):
    """SCRFD (Guo et al., 2022), and RetinaFace as insightface exports it."""

    kind = "an SCRFD"
    overlap = 0.4  # insightface's

    def _knows(self, outputs: tuple[str, ...]) -> bool:
        self._strides = SCRFD_STRIDES.get(len(outputs), ())
        return bool(self._strides)

    def network_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the network's picture of a frame: no more padding than it needs."""
        if self._session.input_size is not None:
            return self._session.input_size
        height, width = fit_within(height, width, self._input_pixels)
        return round_up(height, self._strides[-1]), round_up(width, self._strides[-1])

    def _find(self, frames: U8) -> Candidates:
        height, width = frames.shape[1:3]
        size = self.network_size(height, width)
        within = inside(height, width, size)
        pictures = pad(frames, within, size, cv2.INTER_LINEAR)
        outputs = self._session.run(to_planes(pictures, (0, 1, 2), 127.5, 128))
        found = decode_distances(outputs, self._strides, size, self._min_score)
        # One factor for both axes, that of the height, and overlap in pixels of the frame with
        # corners as last pixels inside: insightface's.
        found = found.enlarged(within[0] / height)
        return suppress(found, found.boxes, self.overlap, edge=1)


def best_of_each(found: Candidates, most: int) -> Candidates:
    """At most so many faces of each picture, the best."""
    first = np.searchsorted(found.picture, found.picture)
    return found.take(np.flatnonzero(np.arange(len(found)) - first < most))
