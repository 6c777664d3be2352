"""Numbers and codes in plain words for people; it knows nothing of tables or pages."""

from __future__ import annotations

import math

REJECTED_WORDS = {
    "small": (
        "Too small",
        "The face covers too few pixels to recognise anybody, as in wide shots.",
    ),
    "crowd": (
        "Part of a crowd",
        "The frame shows more faces than are tracked at once; only the largest are kept.",
    ),
    "blurred": (
        "Blurred",
        "Motion or poor focus blurs the features, so the face says little about the person.",
    ),
    "short": (
        "Seen too briefly",
        "The face was tracked for only a few frames, too few to compare it with others.",
    ),
}
"""Reason code -> heading and explanation: METHOD 1.3, and the tracks too short to use."""

REASON_WORDS = {
    "unrecognisable": "too small, blurred or turned to tell who it is",
    "ambiguous": "like no person, or like several",
    "low_score": "hardly a face to the detector",
    "reviewer": "decided by a reviewer",
    "conflict": "between two people whom a reviewer locked",
}
"""Reason why a track is of nobody -> how it looks."""

MISSING_WORDS = {
    "unread": "not read here",
    "deleted": "not in the output any more",
    "changed": "changed since the registry was built",
}
"""Why times of a found person are not known -> in words."""

MARK_WORDS = {"locked": "locked", "nobody": "nobody you know"}
"""What corrections say of a person -> as a mark on the page."""

RULE_WORDS = {
    "must_link": "Begins with the tracks that a reviewer's corrections say are one person.",
    "closure": "Merges all groups whose distance is below the limit of either group, all at once.",
    "title_cut": (
        "Merges groups whose distance is below one limit for the whole title, nearest first."
    ),
}
"""Merge rule -> which groups it merges."""


def clock(seconds: float, tenths: bool = False) -> str:
    """Write a time as `m:ss` or `h:mm:ss`, with tenths of a second on request."""
    ticks = round(max(seconds, 0.0) * (10 if tenths else 1))
    whole, tenth = divmod(ticks, 10) if tenths else (ticks, 0)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
    return f"{text}.{tenth}" if tenths else text


def clock_range(start: float, end: float, tenths: bool = False) -> str:
    """Write a range of time, both ends in seconds."""
    return f"{clock(start, tenths)}\u2009\u2013\u2009{clock(end, tenths)}"


def length(seconds: float) -> str:
    """Write a length of time with its units: `48 s`, `3 min 5 s`, `1 h 52 min`."""
    whole = round(max(seconds, 0.0))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def brief(seconds: float) -> str:
    """Write a length of time as `length` does, with tenths below ten seconds."""
    return length(seconds) if seconds >= 10 else f"{max(seconds, 0.0):.1f} s"


def percent(fraction: float) -> str:
    """Write a fraction in [0, 1] as per cent; only 0 becomes 0 %, and only 1 becomes 100 %."""
    if 0 < fraction < 0.01:
        return "under 1\u2009%"
    if 0.99 < fraction < 1:
        return "over 99\u2009%"
    return f"{round(100 * fraction)}\u2009%"


def number(value: float) -> str:
    """Write a distance or limit with three significant digits, or `none` if it is not finite."""
    if not math.isfinite(value):
        return "none"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def count(value: int, singular: str, plural: str | None = None) -> str:
    """Write a count with its noun: `1 track`, `2,310 tracks`."""
    return f"{value:,} {singular if value == 1 else plural or singular + 's'}"


def missing_words(why: str | None) -> str:
    """Say why the times of a found person are not shown."""
    return MISSING_WORDS.get(why or "", "")


def readable(code: str) -> str:
    """Write an unknown code as words: `cover_track` becomes `Cover track`."""
    return capitalised(code.replace("_", " ").strip())


def capitalised(text: str) -> str:
    """Write a text with a capital first letter; the other letters stay."""
    return text[:1].upper() + text[1:]


def sentence(text: str) -> str:
    """Write a message as a sentence: a capital first letter, and a full stop at the end."""
    return capitalised(text) if text.endswith((".", "!", "?")) else f"{capitalised(text)}."


def rejected_words(reason: str) -> tuple[str, str]:
    """Return heading and explanation of the reason why faces were not used."""
    return REJECTED_WORDS.get(reason, (readable(reason), "Marked with this reason by the filter."))


def reason_words(reason: str | None) -> str:
    """Return how a track of nobody looks; empty for a track without a reason."""
    return REASON_WORDS.get(reason, readable(reason).lower()) if reason else ""


def rule_words(rule: str) -> str:
    """Return which groups a merge rule merges."""
    return RULE_WORDS.get(rule, f"Merges by the rule “{readable(rule).lower()}”.")
