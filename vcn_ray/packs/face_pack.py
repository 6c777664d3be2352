"""A pack and its three parts as the rest of the program uses them; it cannot load one.

A pack is a detector, an aligner and a face-ID encoder that belong together: the aligner expects
the detector's landmarks, and the encoder was trained on the aligner's crops.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from vcn_ray.core.pose import LandmarkOrder
from vcn_ray.core.prior import FacePrior
from vcn_ray.errors import PackError
from vcn_ray.models.backbones import Backbone
from vcn_ray.models.onnx_export import write_module
from vcn_ray.records import U8, Detections
from vcn_ray.redact import one_line

BUILT_IN = "built in"
"""Place of the pack that comes with the program."""

Progress = Callable[[float], None]
"""Called with the finished fraction of a piece of work, 0 to 1."""


def no_progress(fraction: float) -> None:
    """Show nothing."""


class Detector(Protocol):
    """Finds faces in frames."""

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
        ...


class Aligner(Protocol):
    """Turns detected faces into the upright square crops that an encoder takes.

    Attributes:
        input_pixels: Side p of the crops.
        landmark_order: What the five points of the pack's detector are.
    """

    input_pixels: int
    landmark_order: LandmarkOrder

    def align(self, frame: U8, detections: Detections) -> U8:
        """Cut the crops of one frame.

        Args:
            frame: (h, w, 3) uint8 RGB.
            detections: n faces of that frame, from the pack's own detector.

        Returns:
            (n, p, p, 3) uint8 RGB, in the order of the detections; black beyond the frame's edge.

        Raises:
            ShapeError: A face has another number of landmarks than the aligner expects.
        """
        ...


@dataclass(frozen=True)
class FacePack:
    """A loaded pack: detector and aligner are ready, and each call makes a new encoder."""

    name: str
    licence: str
    commercial_use: bool
    source: str
    detector: Detector
    aligner: Aligner
    encoder: str  # kind
    detector_hash: str  # hex; changes with everything that boxes and crops depend on
    encoder_hash: str  # hex; changes with everything that the people in given crops depend on
    make_encoder: Callable[[], Backbone]
    prior: FacePrior | None = None  # None: it was not measured
    write_onnx: Callable[[Backbone, Path], None] = write_module  # for an encoder of this pack

    def load_encoder(self) -> Backbone:
        """Load a new trainable encoder on the CPU, in eval mode; training it changes no other.

        Raises:
            PackError: The file does not hold such an encoder.
        """
        return self.make_encoder().cpu().eval()

    def check_encoder(self) -> None:
        """Build the encoder once and embed a picture of noise, before any work depends on it.

        Raises:
            PackError: The file does not hold such an encoder, or its weights give no numbers.
        """
        encoder, side = self.load_encoder(), self.aligner.input_pixels
        noise = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), np.uint8)
        try:
            embeddings = encoder.embed(torch.from_numpy(noise))
        except Exception as error:  # a graph of unknown origin can fail in any operator
            raise PackError(
                f"the encoder of pack {self.name} does not run ({one_line(error, 200)}): give "
                "another one"
            ) from error
        lengths = np.linalg.norm(np.asarray(embeddings, np.float64), axis=1)
        if not np.allclose(lengths, 1.0, atol=1e-3):  # embeddings are unit vectors
            raise PackError(
                f"the encoder of pack {self.name} gives no embedding of a picture, only zeros or "
                "no numbers: its weights are damaged, so fetch the pack again"
            )


@dataclass(frozen=True)
class PackInfo:
    """The description of a pack; making it loads no network."""

    name: str
    licence: str
    commercial_use: bool
    source: str
    detector: str  # kind
    encoder: str  # kind
    place: str  # the folder, or BUILT_IN
    detector_hash: str = ""  # hex, equal to that of the loaded pack; empty: unknown
    encoder_hash: str = ""  # hex, equal to that of the loaded pack; empty: unknown
    detector_bytes: int = 0  # size of the files; 0: unknown
    encoder_bytes: int = 0  # size of the file; 0: unknown
    prior: FacePrior | None = None  # None: it was not measured
    problem: str = ""  # why the pack cannot be used; empty if it can
