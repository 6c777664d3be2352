"""A run's counters on Ray's metrics port, for Prometheus, and so for dashboards and alarms.

Only the driver counts, from what workers report, so that a number means the same however many
machines come and go. Ray puts `ray_` before each name, and `_total` after it where it is missing.
"""

from __future__ import annotations

from ray.util.metrics import Counter, Gauge

from vcn_ray.run.events import Event, Failed, StageProgress, TitleDone, WorkDone
from vcn_ray.run.ledger import Work
from vcn_ray.run.plan import Failure

COUNTERS = {
    "vcn_steps_total": ("Finished calls, by step", ("run", "stage")),
    "vcn_seconds_total": ("Seconds of workers, by step", ("run", "stage")),
    "vcn_gpu_seconds_total": ("Seconds times fraction of a GPU, by step", ("run", "stage")),
    "vcn_frames_total": ("Frames decoded", ("run",)),
    "vcn_faces_total": ("Faces found", ("run",)),
    "vcn_bytes_read_total": ("Bytes read from storage, by step", ("run", "stage")),
    "vcn_bytes_written_total": ("Bytes written to storage, by step", ("run", "stage")),
    "vcn_titles_total": ("Finished titles, reused or new", ("run", "reused")),
    "vcn_failures_total": ("Failures, by step and reason", ("run", "stage", "reason")),
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
            case StageProgress("plan", _, done, _):
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
        stage = {"stage": work.stage}
        self._add("vcn_steps_total", 1, **stage)
        self._add("vcn_seconds_total", work.seconds, **stage)
        self._add("vcn_gpu_seconds_total", work.gpu_seconds, **stage)
        self._add("vcn_bytes_read_total", work.bytes_read, **stage)
        self._add("vcn_bytes_written_total", work.bytes_written, **stage)
        self._add("vcn_frames_total", work.frames)
        self._add("vcn_faces_total", work.faces)

    def _failure(self, failure: Failure) -> None:
        self._add("vcn_failures_total", 1, stage=failure.stage, reason=failure.reason)

    def _add(self, name: str, value: float, **labels: str) -> None:
        if value > 0:  # Ray refuses to add 0
            self._counters[name].inc(value, self._run | labels)
