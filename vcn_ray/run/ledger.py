"""What a run did and what that took, by step; it does nothing itself."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, fields
from typing import Any

from vcn_ray.io.meter import bytes_so_far
from vcn_ray.steps import STEPS, StepName


@dataclass(frozen=True, slots=True)
class Work:
    """One call of a step that did work: its output was not there before."""

    step: StepName
    subject: str  # id of the video or title
    seconds: float
    gpu_seconds: float  # seconds times the fraction of a GPU reserved for it
    cpu_seconds: float = 0.0  # that its process and its decoder computed
    limit_seconds: float = (
        0.0  # of these, those of decoder and detector, which no run can do without
    )
    video_seconds: float = 0.0  # length of the part of the video, the video or the title
    frames: int = 0  # decoded
    faces: int = 0  # found
    bytes_read: int = 0
    bytes_written: int = 0


class Stopwatch:
    """Measures one step, from its making to `done`."""

    def __init__(self) -> None:
        self._began, self._before = time.monotonic(), bytes_so_far()
        self._computed = time.process_time()

    @property
    def seconds(self) -> float:
        """So far, to the millisecond."""
        return round(time.monotonic() - self._began, 3)

    def done(self, step: StepName, subject: str, video_seconds: float, gpus: float = 0.0) -> Work:
        """What the step was, but for what only `detect` does.

        Args:
            step: Its name.
            subject: Id of the video or title.
            video_seconds: Length of the part of the video, the video or the title.
            gpus: Reserved for it.
        """
        moved = bytes_so_far().since(self._before)
        seconds, computed = self.seconds, time.process_time() - self._computed
        return Work(
            step=step,
            subject=subject,
            seconds=seconds,
            gpu_seconds=gpus * seconds,
            cpu_seconds=computed,
            video_seconds=video_seconds,
            bytes_read=moved.read,
            bytes_written=moved.written,
        )


@dataclass(slots=True)
class Ledger:
    """Sums of the work of a run."""

    _sums: dict[str, dict[str, float]] = field(default_factory=dict)

    def add(self, work: Work) -> None:
        """Count one step."""
        sums = self._sums.setdefault(work.step, {"steps": 0})
        sums["steps"] += 1
        for name in (f.name for f in fields(Work) if f.name not in ("step", "subject")):
            sums[name] = sums.get(name, 0) + getattr(work, name)

    def by_step(self) -> dict[str, dict[str, Any]]:
        """For each step that did anything: sums of Work's fields, and the number of `steps`."""
        return {
            step.name: {
                name: round(value, 3) if isinstance(value, float) else value
                for name, value in self._sums[step.name].items()
            }
            for step in STEPS
            if step.name in self._sums
        }
