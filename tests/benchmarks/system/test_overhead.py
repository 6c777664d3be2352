"""The steady rate of several workers."""

from __future__ import annotations

import pytest


def test_only_the_time_while_all_workers_are_busy_counts():
    from benchmarks.system.overhead import Span, steady_pace  # Ray takes seconds to import

    # One starts late, and the other ends early: what counts lasts from 6 to 10.
    one = [Span(1, start, start + 2, cpu_seconds=3) for start in (0, 2, 4, 6, 8)]
    two = [Span(2, start, start + 3, cpu_seconds=3) for start in (3, 6, 9)]
    pace = steady_pace([*one, *two], workers=2)
    assert pace == (4, 2 + 1 + 1 / 3, pytest.approx(10))
    assert steady_pace(one, workers=1) == (8, 4, 12)
    for spans, workers in ((one, 2), ([one[0], two[0]], 2), (one[:1], 1)):
        with pytest.raises(SystemExit, match="too few"):
            steady_pace(spans, workers)
