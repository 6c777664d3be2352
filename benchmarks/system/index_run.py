"""A run of `vcn index` in a process of its own, and the finished parts in its output folder."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class IndexRun:
    """Everything that a run needs except its output folder."""

    videos: list[str]
    pack: str
    address: str  # of the Ray cluster
    log: Path  # what the driver prints is appended here
    settings: tuple[str, ...]  # SECTION.KEY=VALUE

    def start(self, output: Path) -> subprocess.Popen[bytes]:
        """Start the driver."""
        words = ["index", *self.videos, "--output", str(output), "--pack", self.pack]
        words += [word for setting in self.settings for word in ("--set", setting)]
        with self.log.open("ab") as stream:
            return subprocess.Popen(
                [sys.executable, "-m", "vcn_ray", *words],
                env=os.environ | {"RAY_ADDRESS": self.address, "OMP_NUM_THREADS": "1"},
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )


def finished_segments(output: Path) -> list[Path]:
    """The committed segments."""
    return list(output.glob("videos/*/detect-*/seg-*.json"))


def finished_titles(output: Path) -> list[Path]:
    """The manifests of the finished titles."""
    return list(output.glob("titles/*/cluster-*/manifest.json"))
