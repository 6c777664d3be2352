"""What a check of a machine or place has found; it checks nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from vcn_ray.redact import clean, one_line

State = Literal["ok", "warning", "fault"]
"""A fault keeps a run from working; a warning may, or costs time or safety."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked."""

    subject: str  # such as "disk"
    state: State
    text: str  # what is there
    advice: str = ""  # what to do; empty where all is well
    node: str = ""  # of a cluster; empty: this machine


def ok(subject: str, text: str) -> Finding:
    """All is well."""
    return Finding(subject, "ok", clean(text))


def warning(subject: str, text: str, advice: str) -> Finding:
    """Something costs time or safety, or may fail."""
    return Finding(subject, "warning", clean(text), clean(advice))


def fault(subject: str, text: str, advice: str) -> Finding:
    """A run cannot work."""
    return Finding(subject, "fault", clean(text), clean(advice))


def checked(subject: str, check: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """The findings of a check; a check that itself fails is a fault of its subject."""
    try:
        yield from check()
    except Exception as error:  # a broken machine can raise anything, and the rest counts too
        reason = f"{type(error).__name__}: {one_line(error, 200)}"
        yield fault(subject, f"cannot be checked ({reason})", "repair what the message names")


def count_faults(findings: Iterable[Finding]) -> int:
    """How many findings are faults."""
    return sum(finding.state == "fault" for finding in findings)
