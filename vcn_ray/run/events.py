"""Events of a run for its observers: small records, the same locally and on Ray."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vcn_ray.run.failures import Failure
from vcn_ray.run.ledger import Ledger, Work
from vcn_ray.run.plan import InputNote, PlannedTitle
from vcn_ray.run.state import FoundResult
from vcn_ray.run.status import TitleStatus


@dataclass(frozen=True, slots=True)
class StepProgress:
    """Progress of a step on a video or title."""

    step: str  # of STEPS, or plan
    subject: str  # video or title name; empty where the whole catalog is meant
    done: float
    total: float


@dataclass(frozen=True, slots=True)
class TitlePlanned:
    """A title of the catalog can be read."""

    title_id: str
    seconds: float  # of video
    videos: tuple[str, ...]  # their ids


@dataclass(frozen=True, slots=True)
class TitleDone:
    """A title has a result."""

    status: TitleStatus


@dataclass(frozen=True, slots=True)
class Failed:
    """A part of a video, a video or a title will not be in the results."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class WorkDone:
    """A step was done."""

    work: Work


@dataclass(frozen=True, slots=True)
class DamageFound:
    """A stored file is damaged; what it belongs to is done again."""

    message: str  # one line for people, which names the file


Event = StepProgress | TitlePlanned | TitleDone | Failed | WorkDone | DamageFound
Observer = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """Everything that a run did."""

    titles: tuple[TitleStatus, ...]
    failures: tuple[Failure, ...]
    inputs: dict[str, InputNote]  # by uri; those that could be read
    work: dict[str, dict[str, Any]]  # by step, from Ledger
    gave_up: bool = False  # more failed than allowed
    damaged: tuple[str, ...] = ()  # a line for each file that was damaged, and done again
    span_seconds: float = 0.0  # from the start of the first step to the end of the last


class RunLog:
    """The finished titles and failures of a run so far; it passes each event on to observers.

    Args:
        watches: Called with every event.
        inputs: Number of videos in the catalog.
        max_failures: Inputs that may fail before the run gives up; None: all of them.

    Attributes:
        titles: How finished titles went.
        failures: What will be missing in the results.
        damaged: A line for each stored file that was found damaged.
    """

    def __init__(self, *watches: Observer, inputs: int, max_failures: int | None = None) -> None:
        self.titles: list[TitleStatus] = []
        self.failures: list[Failure] = []
        self.damaged: list[str] = []
        self._inputs: dict[str, InputNote] = {}
        self._planned, self._all = 0, inputs
        self._watches = watches
        self._max_failures = max_failures
        self._failed: set[str] = set()  # inputs, in this run
        self._ledger = Ledger()
        self._first, self._last = math.inf, 0.0  # start and end of steps

    def emit(self, event: Event) -> None:
        """Pass an event on."""
        for watch in self._watches:
            watch(event)

    def watch(self, watch: Observer) -> None:
        """Add an observer; it receives the failures and titles so far, and then every event."""
        for failure in self.failures:
            watch(Failed(failure))
        for status in self.titles:
            watch(TitleDone(status))
        self._watches = (*self._watches, watch)

    def plan(self, planned: PlannedTitle) -> None:
        """Record a planned title."""
        self._inputs |= planned.inputs
        self._planned += len(planned.inputs) + len(planned.failures)
        self.emit(StepProgress("plan", "", self._planned, self._all))
        if planned.title and not planned.again:
            videos = tuple(video.video_id for video in planned.title.videos)
            self.emit(TitlePlanned(planned.title.title_id, planned.title.seconds, videos))
        for failure in planned.failures:
            self.fail(failure)

    def reuse(self, found: FoundResult) -> None:
        """Record a title with a result of an earlier run, and the segments that it lacks."""
        for failure in found.failures:
            self.fail(failure, new=False)
        self.finish(found.status)

    def finish(self, status: TitleStatus) -> None:
        """Record a title that has a result."""
        self.titles.append(status)
        self.emit(TitleDone(status))

    def fail(self, failure: Failure, new: bool = True) -> None:
        """Record a failure; one of an earlier run is not `new` and does not count for giving up."""
        self.failures.append(failure)
        if new:
            self._failed.add(failure.uri)
        self.emit(Failed(failure))

    def redo(self, damage: str) -> None:
        """Record a damaged file, and that what it belongs to is done again."""
        self.damaged.append(damage)
        self.emit(DamageFound(damage))

    def count(self, work: Work | None) -> None:
        """Record a step, if it did any work."""
        if work is not None:
            self._last = time.monotonic()
            self._first = min(self._first, self._last - work.seconds)
            self._ledger.add(work)
            self.emit(WorkDone(work))

    @property
    def gave_up(self) -> bool:
        """Whether more inputs failed than allowed."""
        return self._max_failures is not None and len(self._failed) > self._max_failures

    def outcome(self) -> RunOutcome:
        """Everything that the run did."""
        return RunOutcome(
            tuple(self.titles),
            tuple(self.failures),
            self._inputs,
            self._ledger.by_step(),
            self.gave_up,
            tuple(self.damaged),
            max(0.0, self._last - self._first),
        )
