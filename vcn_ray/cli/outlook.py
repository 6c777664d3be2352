"""The report of `vcn plan`: what index would do with each title, how long, and at what cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from vcn_ray.config import PriceConfig
from vcn_ray.console import count, minutes, say, show_table
from vcn_ray.io.storage import Storage
from vcn_ray.run.estimate import Band, Estimate, Left
from vcn_ray.run.failures import Failure, failure_of
from vcn_ray.run.plan import PlannedTitle
from vcn_ray.run.state import TitleState, read_state
from vcn_ray.steps import STEPS

MAX_LINES = 200  # titles listed; of a longer catalog only counts are shown


class PlannedState(NamedTuple):
    """How much of a planned title is finished."""

    inputs: int
    failures: tuple[Failure, ...]
    state: TitleState | None  # None: it cannot be read, or the title was planned before


def read_planned(storage: Storage, planned: PlannedTitle) -> PlannedState:
    """Read how much of a planned title is finished."""
    inputs = len(planned.inputs) + len(planned.failures)
    title = None if planned.again else planned.title
    if title is None:
        return PlannedState(inputs, planned.failures, None)
    try:
        return PlannedState(inputs, planned.failures, read_state(title, storage))
    except Exception as error:  # one damaged result must not stop the others
        failure = failure_of(title.where, "cluster", error)
        return PlannedState(inputs, (*planned.failures, failure), None)


@dataclass(slots=True)
class Outlook:
    """Sums over a catalog, and lines on its first titles."""

    left: Left = field(default_factory=Left)
    lines: list[list[str]] = field(default_factory=list)
    actions: Counter[str] = field(default_factory=Counter)
    inputs: int = 0
    videos: int = 0
    segments: int = 0
    seconds: float = 0.0
    failures: int = 0

    def add(self, planned: PlannedState) -> None:
        """Add a title."""
        self.inputs += planned.inputs
        self.failures += len(planned.failures)
        state = planned.state
        if state is None:
            return
        self.left.add(state)
        self.actions[state.action] += 1
        self.videos += len(state.title.videos)
        self.segments += state.segments
        self.seconds += state.title.seconds
        if len(self.lines) < MAX_LINES:
            self.lines.append(
                [
                    state.title.title,
                    str(len(state.title.videos)),
                    minutes(state.title.seconds),
                    f"{state.segments_done}/{state.segments}",
                    f"{state.action}: {state.why}",
                ]
            )

    @property
    def titles(self) -> int:
        """Number of titles."""
        return self.actions.total()

    def summary(self, rest: Estimate | None) -> dict[str, Any]:
        """The sums as JSON."""
        return {
            "titles": self.titles,
            "titles_finished": self.actions["nothing"],
            "titles_by_action": dict(self.actions),
            "videos": self.videos,
            "video_seconds": round(self.seconds, 3),
            "segments": self.segments,
            "unreadable": self.failures,
            "estimated_from_titles": rest.titles if rest else 0,
            **_ends("estimated_seconds", rest.seconds if rest else None),
            **_ends("estimated_cpu_seconds", rest.cpu_seconds if rest else None),
            **_ends("estimated_gpu_seconds", rest.gpu_seconds if rest else None),
        }


def _ends(name: str, band: Band | None) -> dict[str, float | None]:
    ends = zip(("", "_low", "_high"), band or (None, None, None), strict=True)
    return {f"{name}{which}": None if end is None else round(end, 1) for which, end in ends}


def show_outlook(
    outlook: Outlook,
    rest: Estimate | None,
    speed: Mapping[str, Any] | None,
    prices: PriceConfig,
) -> None:
    """Print the sums, the first titles, the estimate, and how fast the last run was."""
    columns = ["title", "videos", "length", "segments done", "what index would do"]
    show_table("Titles", columns, outlook.lines)
    if outlook.titles > len(outlook.lines):
        say(f"... and {count(outlook.titles - len(outlook.lines), 'more title')}")
    for action, many in outlook.actions.most_common():
        say(f"{action}: {count(many, 'title')}")
    say(f"{count(outlook.videos, 'video')} of {minutes(outlook.seconds)} in all")
    for line in [*_estimate_lines(outlook, rest, prices), *speed_lines(speed)]:
        say(line)


def speed_lines(speed: Mapping[str, Any] | None) -> list[str]:
    """Say how fast a run was; nothing where it did no work.

    Args:
        speed: As `run.speed` gives it; None: it is not known.
    """
    if not speed or not speed["video_hours_per_core_hour"]:
        return []
    steps = [step.name for step in STEPS if step.name in speed["core_hours"]]
    cores, whole = speed["core_hours"], sum(speed["core_hours"].values())
    parts = ", ".join(f"{name} {cores[name] / whole:.0%}" for name in steps)
    lines = [
        f"speed: {speed['video_hours_per_core_hour']:.2f} hours of video a core-hour ({parts})"
    ]
    if speed["limit_fraction"]:
        lines.append(f"       {speed['limit_fraction']:.0%} of it is decoding and detection alone")
    if speed["video_hours_per_gpu_day"]:
        lines.append(f"       {speed['video_hours_per_gpu_day']:.0f} hours of video a GPU-day")
    if speed["cost"]:
        costs = ", ".join(f"{name} {speed['cost'][name]:.4f}" for name in steps)
        lines.append(f"cost:  {sum(speed['cost'].values()):.4f} an hour of video ({costs})")
    return lines


def _estimate_lines(outlook: Outlook, rest: Estimate | None, prices: PriceConfig) -> list[str]:
    if outlook.titles == outlook.actions["nothing"]:
        return ["time: none, there is nothing to do"]
    if rest is None:
        return [
            "time: unknown until a title is finished; vcn index with the same arguments and "
            "--sample 0.01 does a hundredth of the titles first"
        ]
    settings = "these settings" if rest.same_settings else "other settings of this pack"
    lines = [
        f"time: {_between(rest.seconds, minutes)}, {rest.parallel_steps:.1f} steps in parallel; "
        f"estimated from {count(rest.titles, 'title')} with {settings}",
        f"work: {_between(rest.cpu_seconds, _hours)} of CPUs, idle time excluded",
    ]
    if rest.gpu_seconds.likely:
        lines.append(f"      {_between(rest.gpu_seconds, _hours)} of GPUs")
    if prices.cpu_hour or prices.gpu_hour:
        lines.append(f"cost: {_between(rest.cost(prices), '{:.2f}'.format)}")
    return lines


def _between(band: Band, words: Callable[[float], str]) -> str:
    if band.low is None or band.high is None:
        return f"about {words(band.likely)} (the error is unknown from one title)"
    return f"about {words(band.likely)} ({words(band.low)} to {words(band.high)})"


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.2f} h"
