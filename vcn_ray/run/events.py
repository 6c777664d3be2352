"""What a run tells whoever watches it: small records, the same locally and on Ray."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vcn_ray.run.plan import Failure
from vcn_ray.run.steps import TitleStatus
from vcn_ray.run.work import Work


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


@dataclass(frozen=True, slots=True)
class WorkDone:
    """A step was done."""

    work: Work


Event = StageProgress | TitleDone | Failed | WorkDone
Watch = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """All that a run did."""

    titles: tuple[TitleStatus, ...]
    failures: tuple[Failure, ...]
    work: dict[str, dict[str, Any]]  # by stage, as of Ledger
    gave_up: bool = False  # more failed than was allowed


class FailureLimit:
    """Says when so much has failed that a run should end.

    Args:
        most: Inputs that may fail; None: all of them.
    """

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._failed: set[str] = set()

    def add(self, failure: Failure) -> None:
        """Count a failure; several of one input count once."""
        self._failed.add(failure.uri)

    @property
    def passed(self) -> bool:
        """Whether more have failed than may."""
        return self._most is not None and len(self._failed) > self._most
