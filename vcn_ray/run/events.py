"""What a run tells whoever watches it: small records, the same locally and on Ray."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vcn_ray.run.plan import Failure
from vcn_ray.run.steps import TitleStatus


@dataclass(frozen=True, slots=True)
class StageProgress:
    """How far a stage of a video or title is."""

    stage: str  # faces | tracks | adapt | result
    subject: str  # video or title name
    done: float
    total: float


@dataclass(frozen=True, slots=True)
class TitleDone:
    """A title has a result."""

    status: TitleStatus


@dataclass(frozen=True, slots=True)
class Failed:
    """A part of a video, a video or a title will not be in the results."""

    failure: Failure


Event = StageProgress | TitleDone | Failed
Watch = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """All that a run did."""

    titles: tuple[TitleStatus, ...]
    failures: tuple[Failure, ...]
