"""Tries again what may go right the next time; what that is, its callers say."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

TRIES = 4
FIRST_WAIT_SECONDS = 0.5  # doubled with every try, and shortened by chance: workers fail together


def retried(
    call: Callable[[], T], is_transient: Callable[[Exception], bool], tries: int = TRIES
) -> T:
    """The value of a call that is made again after transient errors.

    Args:
        call: What to do; doing it twice must be harmless.
        is_transient: True of an error that may be over by the next try.
        tries: How often at most.

    Raises:
        Exception: The last try's error, or the first that is not transient.
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
