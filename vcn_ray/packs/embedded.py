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

import torch

from vcn_ray.models.dlib_align import CHIP_PADDING, CHIP_PIXELS, DlibAligner
from vcn_ray.models.dlib_detector import DlibDetector
from vcn_ray.models.dlib_mmod import THRESHOLD
from vcn_ray.models.dlib_resnet import DlibResNet
from vcn_ray.models.dlib_weights import (
    LANDMARK_FILE,
    MMOD_FILE,
    RESNET_FILE,
    SHA256,
    model_file,
)
from vcn_ray.packs.face_pack import BUILT_IN, FacePack, PackInfo

NAME = "dlib"
LICENCE = "CC0-1.0"
SOURCE = "PyPI package face_recognition_models 0.3: models by Davis King"
DETECTOR = "dlib-mmod"
ENCODER = "dlib-resnet"


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


def dlib_info() -> PackInfo:
    """What the embedded pack is made of; checks its files.

    Raises:
        PackError: The package with its weights is missing or another one.
    """
    size = {file: model_file(file).stat().st_size for file in SHA256}
    return PackInfo(
        name=NAME,
        licence=LICENCE,
        commercial_use=True,
        source=SOURCE,
        detector=DETECTOR,
        encoder=ENCODER,
        place=BUILT_IN,
        detector_bytes=size[MMOD_FILE] + size[LANDMARK_FILE],
        encoder_bytes=size[RESNET_FILE],
    )


def _make_encoder(path: Path) -> DlibResNet:
    return DlibResNet(path.read_bytes())


def _settings_hash(**settings: object) -> str:
    """Hex sha256 of all that a result depends on."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
