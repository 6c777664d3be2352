"""What the rest of a catalog should take, by what finished titles took; with its error band.

A title's pace is seconds of work for a second of video, stage by stage. The paces of titles that
are done are drawn for the titles that are left, again and again (a bootstrap): the middle nine
tenths of the sums are the band. It covers how titles differ, not a machine that is another one.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import norm as normal
from scipy.stats import t as student

from vcn_ray.config import PriceConfig, RunConfig, select
from vcn_ray.io.storage import Storage
from vcn_ray.records import F64
from vcn_ray.run.state import TitleState
from vcn_ray.steps import RESULT_SETTINGS, STEPS

TITLES = 200  # that a pace is known from, at most
MOST_ASKED = 600  # for theirs
RUNS = 10  # the last ones, that are asked how much was done at a time
DRAWS = 1000
BAND = (5.0, 95.0)  # percent
ONE_BY_ONE = 500  # titles that are drawn for one by one; of more, the mean hardly scatters


class Band(NamedTuple):
    """A number and between what it should be; both ends are None where one title was measured."""

    likely: float
    low: float | None
    high: float | None

    def times(self, factor: float) -> Band:
        """All of it times a factor."""
        low, high = (None if end is None else factor * end for end in (self.low, self.high))
        return Band(factor * self.likely, low, high)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the rest should take.

    Attributes:
        seconds: From start to end, with as much at a time as in the last runs.
        cpu_seconds: Of CPUs that work, on all machines together; what is set aside and idle comes
            on top.
        gpu_seconds: Of GPUs, likewise.
        titles: Finished titles that this is known from.
        same_settings: Whether these were made under the same settings.
        at_a_time: Steps that were under way side by side.
    """

    seconds: Band
    cpu_seconds: Band
    gpu_seconds: Band
    titles: int
    same_settings: bool
    at_a_time: float

    def cost(self, prices: PriceConfig) -> Band:
        """The work in money; the band is that of CPUs and GPUs being off together."""
        cpu = self.cpu_seconds.times(prices.cpu_hour / 3600)
        gpu = self.gpu_seconds.times(prices.gpu_hour / 3600)
        if cpu.low is None or cpu.high is None or gpu.low is None or gpu.high is None:
            return Band(cpu.likely + gpu.likely, None, None)
        return Band(cpu.likely + gpu.likely, cpu.low + gpu.low, cpu.high + gpu.high)


class Left:
    """How much video is left for each stage, title by title; small enough for a whole catalog."""

    def __init__(self) -> None:
        self._seconds: list[tuple[float, ...]] = []

    def add(self, state: TitleState) -> None:
        """Count a title."""
        if state.finished:
            return
        share = 1 - state.segments_done / max(state.segments, 1)
        left = (share, not state.tracked, not state.adapted, True)
        self._seconds.append(tuple(state.seconds * float(part) for part in left))

    def seconds(self) -> F64:
        """Seconds of video by title and stage (n, 4)."""
        return np.array(self._seconds, dtype=np.float64).reshape(-1, len(STEPS))


def estimate(left: F64, config: RunConfig, storage: Storage, local: bool) -> Estimate | None:
    """What the rest should take.

    Args:
        left: Seconds of video by title and stage (n, 4), as of Left.
        config: Settings of the run.
        storage: The output, with what earlier runs took.
        local: Whether it is to be done without Ray.

    Returns:
        None where nothing was finished yet that would tell.
    """
    records = last_records(storage)
    measured = measured_paces(config, storage, records)
    if not len(measured.lengths):
        return None
    resources = config.resources
    cpus = tuple(step.cpus(resources) for step in STEPS)
    gpus = tuple(step.gpus(resources) for step in STEPS)
    at_a_time = steps_at_a_time(records, local)
    titles, likely = len(measured.lengths), _likely_work(measured, left)
    # One title tells nothing of how they differ; but that nothing is left is sure.
    drawn = _drawn_work(measured, left) if titles > 1 or not len(left) else None
    work, cpu, gpu = (_band(likely, drawn, w, titles) for w in ((1.0,) * len(STEPS), cpus, gpus))
    wall = work.times(1 / at_a_time)
    return Estimate(wall, cpu, gpu, titles, measured.same_settings, at_a_time)


class Measured(NamedTuple):
    """What finished titles took."""

    paces: F64  # seconds of work for a second of video, by title and stage (n, 4)
    lengths: F64  # seconds of video, by title (n,)
    same_settings: bool


def measured_paces(config: RunConfig, storage: Storage, records: list[dict[str, Any]]) -> Measured:
    """What titles took that were made under these settings, or at least with the same pack."""
    wanted = json.loads(json.dumps(select(config, RESULT_SETTINGS)))
    same: list[tuple[float, ...]] = []
    others: list[tuple[float, ...]] = []
    for title in itertools.islice(_worth_asking(storage, records), MOST_ASKED):
        summary = _newest(title, storage)
        if summary is None or not (row := _pace(summary)):
            continue
        if summary["config"] == wanted:
            same.append(row)
        elif summary["config"].get("pack") == config.pack:
            others.append(row)
        if len(same) == TITLES:
            break
    rows = np.array(same or others[:TITLES], dtype=np.float64).reshape(-1, len(STEPS) + 1)
    return Measured(rows[:, :-1], rows[:, -1], bool(same))


def last_records(storage: Storage) -> list[dict[str, Any]]:
    """The records of the last runs, newest first; one that was killed left none."""
    names = storage.names("runs")[::-1][:RUNS]
    found = (_read(f"runs/{name}/run.json", storage) for name in names)
    return [record for record in found if record]


def steps_at_a_time(records: list[dict[str, Any]], local: bool) -> float:
    """How many steps runs of the same kind had under way side by side, from first to last."""
    done = passed = 0.0
    for record in records:
        if record.get("local") == local and record.get("work_span_seconds"):
            done += sum(work["seconds"] for work in record["work"].values())
            passed += record["work_span_seconds"]
    return max(1.0, done / passed) if passed else 1.0


def _worth_asking(storage: Storage, records: list[dict[str, Any]]) -> Iterator[str]:
    """Ids of titles, those first that the last runs made, then all in an order of no meaning."""
    recent = dict.fromkeys(
        title["title_id"] for record in records for title in record["titles"] if not title["reused"]
    )
    yield from recent
    yield from (name for name in _by_lot(storage.names("titles")) if name not in recent)


def _likely_work(measured: Measured, left: F64) -> F64:
    """Seconds of work by stage (4,) for what is left (n, 4); a long title tells more of a pace."""
    paces: F64 = measured.lengths @ measured.paces / measured.lengths.sum()
    work: F64 = paces * left.sum(axis=0)
    return work


def _drawn_work(measured: Measured, left: F64) -> F64:
    """Seconds of work by stage (draws, 4).

    Each draw is made of a draw of the titles measured, so that they scatter where these are few.
    """
    rng = np.random.default_rng(0)
    largest = np.argsort(-left.sum(axis=1), kind="stable")
    one_by_one, rest = left[largest[:ONE_BY_ONE]], left[largest[ONE_BY_ONE:]].sum(axis=0)
    work = np.empty((DRAWS, len(STEPS)))
    for draw in range(DRAWS):
        known = rng.integers(0, len(measured.lengths), len(measured.lengths))
        upto = np.cumsum(measured.lengths[known])
        mean = np.diff(upto, prepend=0.0) @ measured.paces[known] / upto[-1]
        chosen = np.searchsorted(upto, upto[-1] * rng.random(len(one_by_one)), side="right")
        work[draw] = (measured.paces[known[chosen]] * one_by_one).sum(axis=0) + mean * rest
    return work


def _band(likely: F64, drawn: F64 | None, weights: tuple[float, ...], titles: int) -> Band:
    """A weighted sum over stages of likely (4,) and drawn (draws, 4) work, by so many titles.

    Few titles differ less among themselves than from what is to come, so their band is widened, as
    Student's t is wider than the normal distribution.
    """
    middle = float(likely @ np.array(weights))
    if drawn is None:
        return Band(middle, None, None)
    low, high = np.percentile(drawn @ np.array(weights), BAND)
    wider = 1.0
    if titles > 1:
        share = BAND[1] / 100
        wider = float(student.ppf(share, titles - 1) / normal.ppf(share))
        wider *= math.sqrt(titles / (titles - 1))
    return Band(middle, max(0.0, middle - wider * (middle - low)), middle + wider * (high - middle))


def _by_lot(names: list[str]) -> list[str]:
    """In an order that has nothing to do with the names, but is always the same."""
    return sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())


def _newest(title: str, storage: Storage) -> dict[str, Any] | None:
    latest = _read(f"titles/{title}/latest.json", storage)
    return _read(f"titles/{title}/{latest['result']}/result.json", storage) if latest else None


def _read(path: str, storage: Storage) -> dict[str, Any] | None:
    """A JSON object, or None where it is not there or damaged."""
    try:
        return storage.find_json(path)
    except ValueError:
        return None


def _pace(summary: dict[str, Any]) -> tuple[float, ...] | None:
    length = sum(video["duration_seconds"] for video in summary["videos"])
    if not length:
        return None
    return (*(summary["seconds"].get(step.name, 0.0) / length for step in STEPS), length)
