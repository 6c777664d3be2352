"""How often a video or a segment is tried in one run, and when it is the video's own fault.

| reason | tries | committed with the segment |
| --- | --- | --- |
| `decode_error`, `no_video_stream`, `too_large` | 1 | yes: the bytes say so, each time anew |
| `crash`, `out_of_memory` of a decoder | 2 | yes: a fresh decoder ended alike |
| `crash` where the decoder was killed from outside | 2 | no: as by a machine out of memory |
| `timeout` while the decoder computed | 3 | yes |
| `timeout` while it waited | 3 | no: a disk, or a machine with too much to do |
| the rest, such as `unreadable` | 1 | no: storage may be back next time |

What is committed is part of a finished title, which is marked `partial`, and is not tried again
under the same key, whatever the limits are by then, unless `--retry-failed` asks for it. What is
not committed keeps its title from being finished in this run; the next run tries.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping
from typing import TypeVar

from vcn_ray.errors import MediaError
from vcn_ray.io.decoder import DecoderError

T = TypeVar("T")

SEGMENT_ATTEMPTS = {"crash": 2, "out_of_memory": 2, "timeout": 3}
PLAN_ATTEMPTS = {"crash": 2, "out_of_memory": 2}
"""A video that hangs when it is planned holds up all others, and the next run plans it anew."""

CONTENT_REASONS = ("decode_error", "no_video_stream", "too_large")
"""Faults that lie in the bytes of a video, so that they are part of what its key stands for."""

log = logging.getLogger(__name__)


def try_again(work: Callable[[], T], attempts: Mapping[str, int]) -> T:
    """Do something, and do it again where it failed for a reason that may pass.

    Args:
        work: Is called once or several times.
        attempts: The most calls, by reason; 1 for any other.

    Raises:
        MediaError: The last one; its `attempts` tells how many there were.
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


def is_content_fault(error: MediaError) -> bool:
    """True where a video would fail alike the next time, so that its failure can be committed."""
    by_decoder = isinstance(error, DecoderError) and error.content_fault
    return by_decoder or error.reason in CONTENT_REASONS
