"""Times at which somebody is seen, joined over short gaps; exports and searches do it alike."""

from __future__ import annotations

from collections.abc import Iterable

JOIN_SLACK = 1e-6  # seconds; ends are sums of rounded numbers

Span = tuple[str, float, float]
"""Video id, start and end in seconds."""


def is_joined(end_seconds: float, start_seconds: float, gap_seconds: float) -> bool:
    """True where a time that starts so late belongs to one that ends so early."""
    return start_seconds - end_seconds <= gap_seconds + JOIN_SLACK


def join_spans(spans: Iterable[Span], gap_seconds: float) -> list[Span]:
    """Join spans of one video with at most so many seconds between them.

    Args:
        spans: Of one person, the videos one after another, each in order of time.
        gap_seconds: 0 joins those that touch.
    """
    joined: list[Span] = []
    for video, start, end in spans:
        if joined and joined[-1][0] == video and is_joined(joined[-1][2], start, gap_seconds):
            joined[-1] = (video, joined[-1][1], max(joined[-1][2], end))
        else:
            joined.append((video, start, end))
    return joined
