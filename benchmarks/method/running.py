"""The command line of the benchmarks that measure on films, and what they run with."""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.command import add_pack, make_parser
from vcn_ray.config import RunConfig, profile_config
from vcn_ray.core.prior import FacePrior
from vcn_ray.models.backbones import Backbone
from vcn_ray.packs.load import load_pack

PROFILES = ("default", "head-only", "paper")
"""The package's profiles "default" and "paper", and the default with a frozen encoder."""

QUICK = {
    "augmented_views": 2,
    "outputs": 64,
    "rounds": 2,
    "epochs": 1,
    "encoder_epochs": 1,
    "encoder_crops": 2,
    "encoder_batch_pairs": 8,
    "quality_passes": 4,
}
"""Settings that end a measurement soon; its rows mean nothing."""


@dataclass(frozen=True)
class Bench:
    """What a measurement runs with."""

    encoder: Backbone  # on its device, in eval mode
    encoder_hash: str
    seed: int
    cache: Path | None
    quick: bool
    prior: FacePrior | None = None  # of the pack

    @property
    def device(self) -> torch.device:
        """Where everything is computed."""
        return next(self.encoder.parameters()).device

    @property
    def machine(self) -> str:
        """The processor, as far as the last bits of a result depend on it."""
        cuda = self.device.type == "cuda"
        return torch.cuda.get_device_name(self.device) if cuda else "cpu"

    def profile(self, name: str) -> RunConfig:
        """All settings of a profile."""
        config = profile_config("default" if name == "head-only" else name)
        changes: dict[str, Any] = dict(QUICK) if self.quick else {}
        if name == "head-only":
            changes["encoder"] = "frozen"
        return replace(config, adapt=replace(config.adapt, **changes))

    def clock(self) -> float:
        """Seconds of a monotonic clock, read once the device has finished its work."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def film_parser(about: str | None, file: str, one_profile: bool = False) -> argparse.ArgumentParser:
    """The options that every benchmark on films has, and --profile where it measures one.

    Args:
        about: The docstring of the script.
        file: The file of the script.
        one_profile: Whether the script measures one profile only.
    """
    parser = make_parser(about, file)
    parser.add_argument("films", nargs="+", type=Path, metavar="FILE.npz")
    add_pack(parser)
    parser.add_argument(
        "--threads", type=int, default=1, help="CPU threads; another number changes the rounding"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, metavar="DIR", help="keep encodings and models here")
    parser.add_argument("--quick", action="store_true", help="for smoke tests: rows mean nothing")
    if one_profile:
        parser.add_argument("--profile", choices=PROFILES, default="default")
    return parser


def open_bench(options: argparse.Namespace) -> Bench:
    """Load the pack's encoder onto the requested device."""
    torch.set_num_threads(options.threads)
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    pack = load_pack(options.pack, options.threads)
    encoder = pack.load_encoder().to(device)
    return Bench(encoder, pack.encoder_hash, options.seed, options.cache, options.quick, pack.prior)
