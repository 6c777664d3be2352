"""What a run leaves in `runs/<run_id>/` for those who look later; it runs nothing."""

from __future__ import annotations

import platform
import secrets
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from vcn_ray.config import RunConfig, dump_config
from vcn_ray.io.catalog import Catalog
from vcn_ray.io.committed import FolderWriter
from vcn_ray.io.storage import Storage
from vcn_ray.io.tables import make_table
from vcn_ray.redact import redact
from vcn_ray.run.devices import count_cpus
from vcn_ray.run.events import RunOutcome
from vcn_ray.run.failures import Failure
from vcn_ray.run.speed import speed_of
from vcn_ray.run.status import TitleStatus
from vcn_ray.schema import FAILURES, RUN_VIDEOS

RECORD = "run.json"
"""The file of a run's folder that lists the others."""


@dataclass(frozen=True, slots=True)
class RunClock:
    """Start, name and kind of a run."""

    run_id: str
    began: datetime
    local: bool  # without Ray
    sample: float | None  # fraction of the catalog's titles that were sampled; None: all

    @classmethod
    def start(cls, local: bool, sample: float | None) -> RunClock:
        """Start now; the name is unique and sorts by time."""
        now = datetime.now(UTC)
        return cls(f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}", now, local, sample)

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return (datetime.now(UTC) - self.began).total_seconds()


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What is known of a run that has ended.

    Attributes:
        content: Of `run.json`.
        videos: Schema RUN_VIDEOS.
        failures: Schema FAILURES.
    """

    content: dict[str, Any]
    videos: pa.Table
    failures: pa.Table

    def write(self, storage: Storage) -> None:
        """Write it below the output.

        Raises:
            StorageError: The output cannot be written.
        """
        writer = FolderWriter(storage, f"runs/{self.content['run_id']}")
        writer.write_table("videos.parquet", self.videos)
        writer.write_table("failures.parquet", self.failures)
        writer.commit(self.content, RECORD)


def make_record(
    clock: RunClock,
    catalog: Catalog,
    outcome: RunOutcome,
    config: RunConfig,
    output: str,
) -> RunRecord:
    """Sum up a run.

    Args:
        clock: When and how it began.
        catalog: What it was to do.
        outcome: What it did.
        config: Its settings.
        output: Where its results are.
    """
    failures = sorted(outcome.failures, key=lambda f: (f.uri, f.step, f.segment or 0))
    videos = _video_rows(catalog, outcome, failures)
    told = [(f, redact(f.uri), redact(f.message)) for f in failures]
    rows = [asdict(f) | {"uri": uri, "message": message} for f, uri, message in told]
    fresh = {title.title_id for title in outcome.titles if not title.reused}
    seconds = {
        (note.title_id, note.video_id): note.duration_seconds
        for note in outcome.inputs.values()
        if note.title_id in fresh
    }
    content = {
        "run_id": clock.run_id,
        "output": output,
        "began": clock.began.isoformat(timespec="seconds"),
        "seconds": round(clock.seconds, 3),
        "video_seconds": round(sum(seconds.values()), 3),
        "videos": {
            s: [v["status"] for v in videos].count(s)
            for s in ("done", "reused", "partial", "failed", "open")
        },
        "skipped": dict(sorted(catalog.skipped.items())),
        "work": outcome.work,
        "work_span_seconds": round(outcome.span_seconds, 3),
        "speed": speed_of(outcome.work, config),
        "local": clock.local,
        "sample": clock.sample,
        "titles": [_title_row(title) for title in outcome.titles],
        "failures": len(failures),
        "misfits": sum(title.misfits for title in outcome.titles),
        "damaged": [redact(line) for line in outcome.damaged],
        "gave_up": outcome.gave_up,
        "machine": {"cpus": count_cpus(), "platform": platform.platform()},
        "config": dump_config(config),
    }
    return RunRecord(content, make_table(videos, RUN_VIDEOS), make_table(rows, FAILURES))


def _title_row(title: TitleStatus) -> dict[str, Any]:
    return {
        "title": title.title,
        "title_id": title.title_id,
        "result": title.result,
        "people": title.people,
        "tracks": title.tracks,
        "unknown": title.unknown,
        "no_face": title.no_face,
        "warnings": list(title.warnings),
        "reused": title.reused,
        "corrections": title.corrections,
        "misfits": title.misfits,
    }


def _video_rows(
    catalog: Catalog, outcome: RunOutcome, failures: list[Failure]
) -> list[dict[str, Any]]:
    finished = {title.title_id: title for title in outcome.titles}
    failed = {failure.uri for failure in failures}
    lost_segments = Counter(f.uri for f in failures if f.segment is not None)
    rows = []
    for source in sorted(catalog):
        note = outcome.inputs.get(source.uri)
        lost = lost_segments[source.uri]
        done = finished.get(note.title_id) if note else None
        told = {source.uri, note.title if note else source.uri} & failed
        status = "reused" if done and done.reused else "done"
        if lost and done:
            status = "partial"
        elif done is None:
            # Not reached: the run gave up or broke off before it; the next one goes on there.
            status = "open" if not told and (note is None or outcome.gave_up) else "failed"
        rows.append(
            {
                "uri": redact(source.uri),
                "video_id": note.video_id if note else None,
                "title_id": note.title_id if note else None,
                "title": note.title if note else source.title,
                "status": status,
                "segments": note.segments if note else 0,
                "segments_failed": lost,
                "duration_seconds": note.duration_seconds if note else None,
            }
        )
    return rows
