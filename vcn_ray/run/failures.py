"""What failed, how often a video or a segment is tried in one run, and what counts as permanent.

| reason | tries | permanent |
| --- | --- | --- |
| `decode_error`, `no_video_stream`, `encrypted`, `too_large` | 1 | yes: the bytes will not change |
| `crash`, `out_of_memory` of a decoder | 2 | yes: a fresh decoder ended alike |
| `crash` of a decoder killed from outside | 2 | no: the machine may lack memory |
| `timeout` while the decoder computed | 3 | yes |
| `timeout` while it waited | 3 | no: a slow disk, or an overloaded machine |
| the rest, such as `unreadable` | 1 | no: storage may be back next time |

A permanent failure is committed with its segment. Its title is finished without the segment and
marked `partial`; only `--retry-failed` tries the segment again, whatever the limits are by then.
Any other failure leaves its title unfinished in this run, and the next run tries again.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from vcn_ray.errors import MediaError, Reason
from vcn_ray.io.decoder import DecoderError
from vcn_ray.redact import one_line

T = TypeVar("T")

SEGMENT_ATTEMPTS = {"crash": 2, "out_of_memory": 2, "timeout": 3}
PLAN_ATTEMPTS = {"crash": 2, "out_of_memory": 2}
"""No second try after a timeout: a video that hangs would hold up the planning of all others."""

CONTENT_REASONS = ("decode_error", "no_video_stream", "encrypted", "too_large")
"""Faults in the bytes of a video, which its key stands for."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a video, a part of it or a title is missing: a row of the `failures` table."""

    uri: str
    step: str  # of STEPS, or plan
    segment: int | None
    reason: Reason
    message: str
    attempts: int = 1


def failure_of(where: str, step: str, error: Exception) -> Failure:
    """The failure of a title or video that an error ended.

    Args:
        where: Its uri or name.
        step: The step that failed.
        error: What it raised.
    """
    attempts = getattr(error, "attempts", 1)
    return Failure(where, step, None, reason_of(error), one_line(error), attempts)


def reason_of(error: Exception) -> Reason:
    """The entry of the closed list for an error."""
    if isinstance(error, MediaError):
        return error.reason
    if isinstance(error, MemoryError):
        return "out_of_memory"
    if isinstance(error, OSError):  # StorageError is one
        return "storage_error"
    return "internal_error"


def retry(work: Callable[[], T], attempts: Mapping[str, int]) -> T:
    """Call a function, and call it again where it failed for a reason that may pass.

    Args:
        work: Called once or several times.
        attempts: Maximum number of calls, by reason; 1 for any other.

    Raises:
        MediaError: Of the last call; its `attempts` is the number of calls.
    """
    for attempt in itertools.count(1):
        try:
            return work()
        except MediaError as error:
            error.attempts = attempt
            if attempt >= attempts.get(error.reason, 1):
                raise
            log.warning("attempt %d: %s", attempt, error.message)
    raise AssertionError("unreachable: attempts are counted without end")


def is_permanent(error: MediaError) -> bool:
    """True where the next try would fail alike, so that the failure can be committed."""
    by_decoder = isinstance(error, DecoderError) and error.content_fault
    return by_decoder or error.reason in CONTENT_REASONS
