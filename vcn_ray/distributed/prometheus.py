"""A run's counters on Ray's metrics port, for Prometheus, and so for dashboards and alarms.

Only the driver counts, from what workers report, so that a number means the same however many
machines come and go. Ray puts `ray_` before each name, and `_total` after it where it is missing.
"""

from __future__ import annotations

from ray.util.metrics import Counter, Gauge

from vcn_ray.run.events import Event, Failed, StepProgress, TitleDone, WorkDone
from vcn_ray.run.failures import Failure
from vcn_ray.run.ledger import Work

COUNTERS = {
    "vcn_steps_total": ("Finished calls, by step", ("run", "step")),
    "vcn_seconds_total": ("Seconds of workers, by step", ("run", "step")),
    "vcn_gpu_seconds_total": ("Seconds times fraction of a GPU, by step", ("run", "step")),
    "vcn_frames_total": ("Frames decoded", ("run",)),
    "vcn_faces_total": ("Faces found", ("run",)),
    "vcn_bytes_read_total": ("Bytes read from storage, by step", ("run", "step")),
    "vcn_bytes_written_total": ("Bytes written to storage, by step", ("run", "step")),
    "vcn_titles_total": ("Finished titles, reused or new", ("run", "reused")),
    "vcn_failures_total": ("Failures, by step and reason", ("run", "step", "reason")),
}
"""By name: what is counted, and its labels."""

GAUGES = {
    "vcn_videos_planned": ("Planned videos of the catalog", ("run",)),
    "vcn_videos_open": ("Videos of titles in progress that are not tracked yet", ("run",)),
    "vcn_segments_open": ("Segments of titles in progress that are not decoded yet", ("run",)),
}


class RunMetrics:
    """The counters of one run.

    Args:
        run_id: Its name, a label of each counter.
    """

    def __init__(self, run_id: str) -> None:
        self._run = {"run": run_id}
        self._counters = {name: Counter(name, *about) for name, about in COUNTERS.items()}
        self._gauges = {name: Gauge(name, *about) for name, about in GAUGES.items()}

    def __call__(self, event: Event) -> None:
        """Count an event."""
        match event:
            case StepProgress("plan", _, done, _):
                self.set("vcn_videos_planned", done)
            case WorkDone(work):
                self._work(work)
            case TitleDone(status):
                self._add("vcn_titles_total", 1, reused=str(status.reused).lower())
            case Failed(failure):
                self._failure(failure)

    def set(self, name: str, value: float) -> None:
        """Set a gauge of GAUGES."""
        self._gauges[name].set(value, self._run)

    def _work(self, work: Work) -> None:
        step = {"step": work.step}
        self._add("vcn_steps_total", 1, **step)
        self._add("vcn_seconds_total", work.seconds, **step)
        self._add("vcn_gpu_seconds_total", work.gpu_seconds, **step)
        self._add("vcn_bytes_read_total", work.bytes_read, **step)
        self._add("vcn_bytes_written_total", work.bytes_written, **step)
        self._add("vcn_frames_total", work.frames)
        self._add("vcn_faces_total", work.faces)

    def _failure(self, failure: Failure) -> None:
        self._add("vcn_failures_total", 1, step=failure.step, reason=failure.reason)

    def _add(self, name: str, value: float, **labels: str) -> None:
        if value > 0:  # Ray refuses to add 0
            self._counters[name].inc(value, self._run | labels)
