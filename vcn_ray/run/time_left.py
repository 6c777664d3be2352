"""How long a run still takes, from what it has done so far.

Decoding and detection cost as much as the video is long, whoever is in it. Adapting and clustering
cost as much as faces were found, so a title without faces ends sooner than one full of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from vcn_ray.run.events import Event, StepProgress, TitleDone, TitlePlanned, WorkDone
from vcn_ray.run.ledger import Work

ASSUMED_ADAPT = 0.5
"""What the steps of a title take, over what those of its videos take, until one was measured."""

LATE = 0.1
"""What is left of a step that takes longer than expected, over the time that it has taken."""


@dataclass(slots=True)
class _Open:
    """A title that is not finished."""

    seconds: float  # of video
    detected: float = 0.0  # of these
    faces: int = 0
    tracked: bool = False  # one of its videos, at least


class TimeLeft:
    """Watches the events of a run and estimates its end.

    Args:
        now: A clock, in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._open: dict[str, _Open] = {}  # by title
        self._title: dict[str, str] = {}  # of each video
        self._planned = 1.0  # fraction of the catalog
        self._first: float | None = None  # when the first step began
        self._last = 0.0  # when the last step ended
        self._adapts_since = 0.0  # when the title could begin that is adapted now, if there is one
        self._worked = 0.0  # seconds of all steps, which may run in parallel
        self._detecting = self._detected = 0.0  # seconds of work, and of video
        self._found = 0  # faces
        self._adapting, self._adapted = 0.0, 0  # seconds of work, and faces of adapted titles

    def __call__(self, event: Event) -> None:
        """Note an event."""
        match event:
            case StepProgress("plan", _, done, total):
                self._planned = done / total if total else 1.0
            case TitlePlanned(title_id, seconds, videos):
                self._open[title_id] = _Open(seconds)
                self._title |= dict.fromkeys(videos, title_id)
            case WorkDone(work):
                self._count(work)
            case TitleDone(status):
                self._open.pop(status.title_id, None)

    def _count(self, work: Work) -> None:
        began = self._now() - work.seconds
        self._first = began if self._first is None else min(self._first, began)
        self._worked += work.seconds
        self._last = began + work.seconds
        title = self._open.get(self._title.get(work.subject, work.subject))
        if work.step in ("detect", "track"):
            self._detecting += work.seconds
        else:
            self._adapting += work.seconds
            self._adapts_since = self._last
        if work.step == "detect":
            self._detected += work.video_seconds
            self._found += work.faces
            if title:
                title.detected += work.video_seconds
                title.faces += work.faces
        elif work.step == "track" and title:
            if not self._any_tracked():
                self._adapts_since = self._last
            title.tracked = True
        elif work.step == "adapt" and title:
            self._adapted += title.faces

    def seconds(self) -> float | None:
        """Estimate the time until the run ends; None before the first segment was detected."""
        if self._first is None or not self._detected:
            return None
        pace = self._detecting / self._detected  # for a second of video
        faces = self._found / self._detected  # in a second of video
        if self._adapted:
            each = self._adapting / self._adapted  # for a face
        else:
            each = ASSUMED_ADAPT * pace / faces if faces else 0.0
        detect = adapt = 0.0
        for title in self._open.values():
            undetected = max(0.0, title.seconds - title.detected)
            detect += undetected * pace
            adapt += (title.faces + undetected * faces) * each
        parallel = max(1.0, self._worked / max(self._last - self._first, 1e-9))
        left = detect / parallel + self._adapt_left(adapt) / min(parallel, max(1, len(self._open)))
        return left / max(self._planned, 1e-9)

    def _adapt_left(self, seconds: float) -> float:
        """What is left of the steps of all titles, of which one has begun if a title is ready."""
        if not self._any_tracked():
            return seconds
        spent = self._now() - self._adapts_since
        return max(seconds - spent, LATE * spent)

    def _any_tracked(self) -> bool:
        return any(title.tracked for title in self._open.values())
