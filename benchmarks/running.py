"""What all measuring programs ask for on the command line, and what they make of it."""

from __future__ import annotations

import argparse
import resource
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from vcn_ray.config import RunConfig, profile_config
from vcn_ray.models.backbones import Backbone
from vcn_ray.packs.load import load_pack

PROFILES = ("default", "head-only", "paper")
"""What the package calls "default" and "paper", and the default with its encoder left as it is."""

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
"""Settings under which a measurement ends soon and means nothing."""


@dataclass(frozen=True)
class Bench:
    """What a measurement runs with."""

    encoder: Backbone  # on its device, in eval mode
    encoder_hash: str
    seed: int
    cache: Path | None
    quick: bool

    @property
    def device(self) -> torch.device:
        """Where everything is computed."""
        return next(self.encoder.parameters()).device

    @property
    def machine(self) -> str:
        """What computes, as far as the last bits of a result depend on it."""
        cuda = self.device.type == "cuda"
        return torch.cuda.get_device_name(self.device) if cuda else "cpu"

    def profile(self, name: str) -> RunConfig:
        """All settings of a way to run the method."""
        config = profile_config("default" if name == "head-only" else name)
        changes: dict[str, Any] = dict(QUICK) if self.quick else {}
        if name == "head-only":
            changes["encoder"] = "frozen"
        return replace(config, finetune=replace(config.finetune, **changes))

    def clock(self) -> float:
        """Seconds that rise, once the device has done what it was told."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def make_parser(about: str | None, one_profile: bool = False) -> argparse.ArgumentParser:
    """The options that every program has, and --profile where it measures one."""
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("films", nargs="+", type=Path, metavar="FILE.npz")
    parser.add_argument("--pack", required=True, help="built-in name or folder")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU; others round otherwise")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="OUT", help="the rows as data")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="keep encodings and models here")
    parser.add_argument("--quick", action="store_true", help="smoke tests only: rows mean nothing")
    if one_profile:
        parser.add_argument("--profile", choices=PROFILES, default="default")
    return parser


def open_bench(options: argparse.Namespace) -> Bench:
    """Load the pack's encoder on the device that is asked for."""
    torch.set_num_threads(options.threads)
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    pack = load_pack(options.pack, options.threads)
    encoder = pack.load_encoder().to(device)
    return Bench(encoder, pack.encoder_hash, options.seed, options.cache, options.quick)


def say(text: str) -> None:
    """A line for who watches; the table alone goes to standard output."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def peak_resident() -> float:
    """MiB of this process that were in memory at most, those before it was started not counted."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (line,) = [line for line in lines if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


def resident() -> float:
    """MiB of this process that are in memory now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / (1 << 20)
