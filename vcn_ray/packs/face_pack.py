"""A pack and its parts as the rest of the program uses them; it does not know how one is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from vcn_ray.models.backbones import Backbone
from vcn_ray.models.onnx_export import write_module
from vcn_ray.records import U8, Detections

BUILT_IN = "built in"
"""Place of a pack that comes with the program."""


class Detector(Protocol):
    """Finds faces in frames."""

    def detect(self, frames: U8) -> list[Detections]:
        """Faces of each frame, best score first.

        Args:
            frames: (b, h, w, 3) uint8 RGB, contiguous.

        Returns:
            One Detections a frame, float32, boxes and landmarks in pixels of that frame.
        """
        ...


class Aligner(Protocol):
    """Turns detected faces into the upright square crops that an encoder takes.

    Attributes:
        input_pixels: Side p of the crops.
    """

    input_pixels: int

    def align(self, frame: U8, detections: Detections) -> U8:
        """Crops of one frame.

        Args:
            frame: (h, w, 3) uint8 RGB.
            detections: n faces of that frame, from the pack's own detector.

        Returns:
            (n, p, p, 3) uint8 RGB, in the order of the detections.
        """
        ...


@dataclass(frozen=True)
class FacePack:
    """A loaded pack: detector and aligner are ready, the encoder is made anew on each request."""

    name: str
    licence: str
    commercial_use: bool
    source: str
    detector: Detector
    aligner: Aligner
    encoder: str  # kind
    detector_hash: str  # hex; of the files, kinds and settings that boxes and crops depend on
    encoder_hash: str  # hex; of the files, kind and settings that embeddings depend on
    make_encoder: Callable[[], Backbone]
    write_onnx: Callable[[Backbone, Path], None] = write_module  # of an encoder that it made

    def load_encoder(self) -> Backbone:
        """A fresh trainable encoder on the CPU, in eval mode; training it changes no other."""
        return self.make_encoder().cpu().eval()


@dataclass(frozen=True)
class PackInfo:
    """What is known of a pack before any network is loaded."""

    name: str
    licence: str
    commercial_use: bool
    source: str
    detector: str  # kind
    encoder: str  # kind
    place: str  # the folder, or BUILT_IN
    detector_bytes: int = 0  # of its files; 0: unknown
    encoder_bytes: int = 0  # likewise
    problem: str = ""  # why it cannot be used as it is; empty where it can
