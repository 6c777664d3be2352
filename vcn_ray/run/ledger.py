"""What was done in a run and what it took, by stage; it does nothing itself."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, fields
from typing import Any

from vcn_ray.io.meter import bytes_so_far

STAGES = ("faces", "tracks", "adapt", "result")
DETECT, TRACK, ADAPT, CLUSTER = STAGES


@dataclass(frozen=True, slots=True)
class Work:
    """One step that was done: not one whose output was there already."""

    stage: str  # faces | tracks | adapt | result
    subject: str  # id of the video or title
    seconds: float
    gpu_seconds: float  # seconds times the share of a GPU that was set aside
    frames: int = 0  # decoded
    faces: int = 0  # found
    bytes_read: int = 0
    bytes_written: int = 0


class Stopwatch:
    """Runs from when it is made until a step is done."""

    def __init__(self) -> None:
        self._began, self._before = time.monotonic(), bytes_so_far()

    @property
    def seconds(self) -> float:
        """So far, to the millisecond."""
        return round(time.monotonic() - self._began, 3)

    def done(
        self, stage: str, subject: str, gpus: float = 0.0, frames: int = 0, faces: int = 0
    ) -> Work:
        """What the step was.

        Args:
            stage: Of STAGES.
            subject: Id of the video or title.
            gpus: How many were set aside for it.
            frames: Decoded.
            faces: Found.
        """
        moved = bytes_so_far().since(self._before)
        seconds = self.seconds
        return Work(
            stage, subject, seconds, gpus * seconds, frames, faces, moved.read, moved.written
        )


@dataclass(slots=True)
class Ledger:
    """Sums of the work of a run."""

    _sums: dict[str, dict[str, float]] = field(default_factory=dict)

    def add(self, work: Work) -> None:
        """Count one step."""
        sums = self._sums.setdefault(work.stage, {"steps": 0})
        sums["steps"] += 1
        for name in (f.name for f in fields(Work) if f.name not in ("stage", "subject")):
            sums[name] = sums.get(name, 0) + getattr(work, name)

    def by_stage(self) -> dict[str, dict[str, Any]]:
        """For each stage that did anything: steps, seconds, GPU seconds, frames, faces, bytes."""
        return {
            stage: {
                name: round(value, 3) if isinstance(value, float) else value
                for name, value in self._sums[stage].items()
            }
            for stage in STAGES
            if stage in self._sums
        }
