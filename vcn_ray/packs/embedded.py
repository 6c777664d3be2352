"""The built-in pack `dlib`: its detector, aligner and encoder put together.

The weights come with the package face_recognition_models (CC0), so a first run downloads nothing.
The networks run in torch; the five landmarks come from dlib's own regression trees. This module
knows nothing of other packs.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch

from vcn_ray.models.align import CHIP_PADDING, CHIP_PIXELS, DlibAligner
from vcn_ray.models.dlib_detector import THRESHOLD, DlibDetector
from vcn_ray.models.dlib_resnet import DlibResNet
from vcn_ray.models.dlib_weights import (
    LANDMARK_FILE,
    MMOD_FILE,
    RESNET_FILE,
    SHA256,
    model_file,
)
from vcn_ray.packs.describe import settings_hash
from vcn_ray.packs.face_pack import BUILT_IN, FacePack, PackInfo

NAME = "dlib"
LICENCE = "CC0-1.0"
SOURCE = "PyPI package face_recognition_models 0.3: models by Davis King"
DETECTOR = "dlib-mmod"
ENCODER = "dlib-resnet"

DETECTOR_HASH = settings_hash(
    {
        "detector": DETECTOR,
        "weights": SHA256[MMOD_FILE],
        "landmarks": SHA256[LANDMARK_FILE],
        "threshold": THRESHOLD,
        "chip": [CHIP_PIXELS, CHIP_PADDING],
    }
)
ENCODER_HASH = settings_hash({"encoder": ENCODER, "weights": SHA256[RESNET_FILE]})


def load_dlib_pack(threads: int = 1, device: str = "cpu") -> FacePack:
    """Load the built-in pack.

    Args:
        threads: Threads of torch in the whole process; torch has no setting for a single network.
        device: Where the detector runs. The encoder is loaded on the CPU, as for every pack.

    Raises:
        PackError: The weights are missing or have another checksum, or the device is missing.
    """
    torch.set_num_threads(threads)
    return FacePack(
        name=NAME,
        licence=LICENCE,
        commercial_use=True,
        source=SOURCE,
        detector=DlibDetector(device),
        aligner=DlibAligner(),
        encoder=ENCODER,
        detector_hash=DETECTOR_HASH,
        encoder_hash=ENCODER_HASH,
        make_encoder=partial(_make_encoder, model_file(RESNET_FILE)),
    )


def describe_dlib_pack() -> PackInfo:
    """Describe the built-in pack and check its files.

    Raises:
        PackError: The package with the weights is missing, or a file has another checksum.
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
        detector_hash=DETECTOR_HASH,
        encoder_hash=ENCODER_HASH,
        detector_bytes=size[MMOD_FILE] + size[LANDMARK_FILE],
        encoder_bytes=size[RESNET_FILE],
    )


def _make_encoder(path: Path) -> DlibResNet:
    return DlibResNet(path.read_bytes())
