"""Retries of calls; the caller says which errors are transient."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

TRIES = 4
FIRST_WAIT_SECONDS = 0.5  # doubles with each attempt; random, because workers fail together


def retried(
    call: Callable[[], T], is_transient: Callable[[Exception], bool], tries: int = TRIES
) -> T:
    """Return the value of a call, and repeat the call after transient errors.

    Args:
        call: The call; repeating it must be harmless.
        is_transient: True for an error that another attempt may not meet.
        tries: Maximum number of attempts.

    Raises:
        Exception: The error of the last attempt, or the first permanent error.
    """
    for number in range(1, tries):
        try:
            return call()
        except Exception as error:
            if not is_transient(error):
                raise
        longest = FIRST_WAIT_SECONDS * 2 ** (number - 1)
        time.sleep(random.uniform(longest / 2, longest))
    return call()
