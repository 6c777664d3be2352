"""An estimate of the time and work that the rest of a catalog takes, with a 90 % interval.

A title's pace is the seconds of work per second of video, step by step. A bootstrap draws the paces
of finished titles for the open ones; the interval holds the middle nine tenths of the sums. It
covers how titles differ, and not how machines differ.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy import special

from vcn_ray.config import PriceConfig, RunConfig, select
from vcn_ray.errors import StorageError
from vcn_ray.io.storage import Storage
from vcn_ray.records import F64
from vcn_ray.run.state import TitleState
from vcn_ray.run.stored import LatestResult, latest_result
from vcn_ray.steps import RESULT_SETTINGS, STEPS

MAX_TITLES = 200  # whose pace is used
MAX_READ = 600  # titles whose result is read for that
RUNS = 10  # last runs, from which the number of parallel steps is known
DRAWS = 1000
INTERVAL = (5.0, 95.0)  # percent
MAX_SINGLE = 500  # open titles with draws of their own; the sum of more hardly scatters


class Band(NamedTuple):
    """An estimate and its 90 % interval, which is unknown where only one title was measured."""

    likely: float
    low: float | None
    high: float | None

    def times(self, factor: float) -> Band:
        """The estimate and its interval, times a factor."""
        low, high = (None if end is None else factor * end for end in (self.low, self.high))
        return Band(factor * self.likely, low, high)


@dataclass(frozen=True, slots=True)
class Estimate:
    """Time and work that the rest of a catalog takes.

    Attributes:
        seconds: From start to end, with as many parallel steps as in the last runs.
        cpu_seconds: Of working CPUs on all machines together; reserved but idle CPUs are excluded.
        gpu_seconds: Of GPUs, likewise.
        titles: Number of finished titles behind the estimate.
        same_settings: Whether these were made with the same settings.
        parallel_steps: Mean number of steps that ran in parallel.
    """

    seconds: Band
    cpu_seconds: Band
    gpu_seconds: Band
    titles: int
    same_settings: bool
    parallel_steps: float

    def cost(self, prices: PriceConfig) -> Band:
        """The price of the work; the interval assumes that errors of CPUs and GPUs add up."""
        cpu = self.cpu_seconds.times(prices.cpu_hour / 3600)
        gpu = self.gpu_seconds.times(prices.gpu_hour / 3600)
        if cpu.low is None or cpu.high is None or gpu.low is None or gpu.high is None:
            return Band(cpu.likely + gpu.likely, None, None)
        return Band(cpu.likely + gpu.likely, cpu.low + gpu.low, cpu.high + gpu.high)


class Left:
    """Seconds of video that are open for each step, title by title; small, for whole catalogs."""

    def __init__(self) -> None:
        self._seconds: list[tuple[float, ...]] = []

    def add(self, state: TitleState) -> None:
        """Count a title."""
        if state.finished:
            return
        undetected = 1 - state.segments_done / max(state.segments, 1)
        left = (undetected, not state.tracked, not state.adapted, True)
        self._seconds.append(tuple(state.title.seconds * float(part) for part in left))

    def seconds(self) -> F64:
        """Open seconds of video by title and step (n, 4)."""
        return np.array(self._seconds, dtype=np.float64).reshape(-1, len(STEPS))


def estimate(left: F64, config: RunConfig, storage: Storage, local: bool) -> Estimate | None:
    """Estimate time and work of the rest of a catalog.

    Args:
        left: Open seconds of video by title and step (n, 4), from Left.
        config: Settings of the run.
        storage: The output, with the records of earlier runs.
        local: Whether the run is without Ray.

    Returns:
        None where no title is finished yet.
    """
    records = last_records(storage)
    measured = measured_paces(config, storage, records)
    if not len(measured.lengths):
        return None
    resources = config.resources
    cpus = tuple(step.cpus(resources) for step in STEPS)
    gpus = tuple(step.gpus(resources) for step in STEPS)
    parallel = parallel_steps(records, local)
    titles, likely = len(measured.lengths), _likely_work(measured, left)
    # One title does not show how titles differ; an empty rest is certain all the same.
    drawn = _sampled_work(measured, left) if titles > 1 or not len(left) else None
    work, cpu, gpu = (_band(likely, drawn, w, titles) for w in ((1.0,) * len(STEPS), cpus, gpus))
    wall = work.times(1 / parallel)
    return Estimate(wall, cpu, gpu, titles, measured.same_settings, parallel)


class Measured(NamedTuple):
    """The paces of finished titles."""

    paces: F64  # seconds of work for a second of video, by title and step (n, 4)
    lengths: F64  # seconds of video, by title (n,)
    same_settings: bool


def measured_paces(config: RunConfig, storage: Storage, records: list[dict[str, Any]]) -> Measured:
    """The paces of titles made with these settings, or else of those made with the same pack."""
    wanted = json.loads(json.dumps(select(config, RESULT_SETTINGS)))
    same: list[tuple[float, ...]] = []
    others: list[tuple[float, ...]] = []
    for title in itertools.islice(_candidates(storage, records), MAX_READ):
        latest = _readable(title, storage)
        if latest is None or not (row := _pace(latest.summary)):
            continue
        if latest.summary["config"] == wanted:
            same.append(row)
        elif latest.summary["config"].get("pack") == config.pack:
            others.append(row)
        if len(same) == MAX_TITLES:
            break
    rows = np.array(same or others[:MAX_TITLES], dtype=np.float64).reshape(-1, len(STEPS) + 1)
    return Measured(rows[:, :-1], rows[:, -1], bool(same))


def last_records(storage: Storage) -> list[dict[str, Any]]:
    """The records of the last runs, newest first; a killed run leaves none."""
    names = storage.names("runs")[::-1][:RUNS]
    records = [storage.find_sound_json(f"runs/{name}/run.json") for name in names]
    return [record for record in records if record]


def last_speed(config: RunConfig, storage: Storage) -> dict[str, Any] | None:
    """The speed of the last run with the same pack that did all steps; None where there is none."""
    for record in last_records(storage):
        speed = record.get("speed") or {}
        pack = tomllib.loads(record.get("config", "")).get("pack")
        if pack == config.pack and len(speed.get("core_hours", ())) == len(STEPS):
            return {**speed, "run_id": record["run_id"]}
    return None


def parallel_steps(records: list[dict[str, Any]], local: bool) -> float:
    """The mean number of parallel steps in runs of the same kind, from first step to last."""
    done = passed = 0.0
    for record in records:
        if record.get("local") == local and record.get("work_span_seconds"):
            done += sum(work["seconds"] for work in record["work"].values())
            passed += record["work_span_seconds"]
    return max(1.0, done / passed) if passed else 1.0


def _candidates(storage: Storage, records: list[dict[str, Any]]) -> Iterator[str]:
    """Ids of titles: those of the last runs first, then all others in a fixed random order."""
    recent = dict.fromkeys(
        title["title_id"] for record in records for title in record["titles"] if not title["reused"]
    )
    yield from recent
    yield from (name for name in _shuffled(storage.names("titles")) if name not in recent)


def _likely_work(measured: Measured, left: F64) -> F64:
    """Seconds of work by step (4,) for the rest (n, 4); a long title weighs more in the pace."""
    paces: F64 = measured.lengths @ measured.paces / measured.lengths.sum()
    work: F64 = paces * left.sum(axis=0)
    return work


def _sampled_work(measured: Measured, left: F64) -> F64:
    """Seconds of work by step (draws, 4).

    Each draw resamples the measured titles first, so that draws scatter where these are few.
    """
    rng = np.random.default_rng(0)
    largest = np.argsort(-left.sum(axis=1), kind="stable")
    single, rest = left[largest[:MAX_SINGLE]], left[largest[MAX_SINGLE:]].sum(axis=0)
    work = np.empty((DRAWS, len(STEPS)))
    for draw in range(DRAWS):
        known = rng.integers(0, len(measured.lengths), len(measured.lengths))
        upto = np.cumsum(measured.lengths[known])
        mean = np.diff(upto, prepend=0.0) @ measured.paces[known] / upto[-1]
        chosen = np.searchsorted(upto, upto[-1] * rng.random(len(single)), side="right")
        work[draw] = (measured.paces[known[chosen]] * single).sum(axis=0) + mean * rest
    return work


def _band(likely: F64, drawn: F64 | None, weights: tuple[float, ...], titles: int) -> Band:
    """A weighted sum over steps of likely (4,) and drawn (draws, 4) work.

    The interval from few titles is widened as Student's t is wider than the normal distribution.
    """
    middle = float(likely @ np.array(weights))
    if drawn is None:
        return Band(middle, None, None)
    low, high = np.percentile(drawn @ np.array(weights), INTERVAL)
    wider = 1.0
    if titles > 1:
        quantile = INTERVAL[1] / 100
        wider = float(special.stdtrit(titles - 1, quantile) / special.ndtri(quantile))
        wider *= math.sqrt(titles / (titles - 1))
    return Band(middle, max(0.0, middle - wider * (middle - low)), middle + wider * (high - middle))


def _shuffled(names: list[str]) -> list[str]:
    """In a fixed order that is independent of the alphabet."""
    return sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())


def _readable(title_id: str, storage: Storage) -> LatestResult | None:
    """The newest result of a title; None where there is none, or it is damaged."""
    try:
        return latest_result(title_id, storage)
    except (ValueError, StorageError):  # UsageError, of another version, is a ValueError
        return None


def _pace(summary: dict[str, Any]) -> tuple[float, ...] | None:
    length = sum(video["duration_seconds"] for video in summary["videos"])
    if not length:
        return None
    return (*(summary["seconds"].get(step.name, 0.0) / length for step in STEPS), length)
