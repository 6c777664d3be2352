"""Numbers and codes in plain words for people; it knows nothing of tables or pages."""

from __future__ import annotations

import math

REJECTED_WORDS = {
    "small": (
        "Too small",
        "The face covers too few pixels to tell whose it is, as in wide shots or far away.",
    ),
    "crowd": (
        "Lost in a crowd",
        "The picture shows more faces than are followed at once; the largest ones were kept.",
    ),
    "blurred": (
        "Blurred",
        "Motion or focus has washed out the features, so the face says little about the person.",
    ),
    "short": (
        "Seen too briefly",
        "The face could be followed for a few frames only, too few to compare it with others.",
    ),
}
"""Reason code -> (heading, explanation): METHOD 1.3 and the tracks too short to use."""

WARNING_WORDS = {
    "collapsed": "Learning this title's faces did not work out",
    "encoder_collapsed": "Learning this title's faces worked out in part",
    "over_merging": "Different people may be taken for one",
    "seen_twice": "Some faces are in a frame twice",
    "partial": "Parts of the title could not be read",
    "empty": "Nobody was found",
}
"""Warning code -> heading; other codes get a general one."""

RULE_WORDS = {
    "closure": "All groups nearer to each other than the limit of either are joined at once.",
    "title_cut": "Groups nearer than a limit worked out for the whole title, the nearest first.",
}
"""Merge rule -> what it joins."""


def clock(seconds: float, tenths: bool = False) -> str:
    """Write a time as `m:ss` or `h:mm:ss`, with tenths of a second on request."""
    ticks = round(max(seconds, 0.0) * (10 if tenths else 1))
    whole, fraction = divmod(ticks, 10) if tenths else (ticks, 0)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
    return f"{text}.{fraction}" if tenths else text


def clock_range(start: float, end: float, tenths: bool = False) -> str:
    """Write a range of time, both ends in seconds."""
    return f"{clock(start, tenths)}\u2009\u2013\u2009{clock(end, tenths)}"


def length(seconds: float) -> str:
    """Write a length of time the way one says it: `48 s`, `3 min 5 s`, `1 h 52 min`."""
    whole = round(max(seconds, 0.0))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def percent(share: float) -> str:
    """Write a share in [0, 1] as per cent, never rounding something down to nothing."""
    if 0 < share < 0.01:
        return "under 1\u2009%"
    return f"{round(100 * share)}\u2009%"


def number(value: float) -> str:
    """Write a distance or limit with three digits that matter, or `none` where it is not finite."""
    if not math.isfinite(value):
        return "none"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def count(value: int, singular: str, plural: str | None = None) -> str:
    """Write a count with its noun: `1 track`, `2,310 tracks`."""
    return f"{value:,} {singular if value == 1 else plural or singular + 's'}"


def readable(code: str) -> str:
    """Write an unknown code as words: `cover_track` becomes `Cover track`."""
    text = code.replace("_", " ").strip()
    return text[:1].upper() + text[1:]


def rejected_words(reason: str) -> tuple[str, str]:
    """Return heading and explanation of the reason why faces were not used."""
    return REJECTED_WORDS.get(
        reason, (readable(reason), "Marked so while the faces were filtered.")
    )


def warning_words(code: str) -> str:
    """Return the heading of a warning."""
    return WARNING_WORDS.get(code, f"Please note: {readable(code).lower()}")


def rule_words(rule: str) -> str:
    """Return what a merge rule joins."""
    return RULE_WORDS.get(rule, f"By the rule “{readable(rule).lower()}”.")
