"""Bounds of settings, to stand beside the fields that they bound.

A settings class is a frozen pydantic dataclass, so that no value out of bounds can enter it:

    @dataclass(frozen=True, kw_only=True, config=STRICT)
    class ShotConfig:
        min_shot_seconds: NonNegative = 0.4
"""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)
"""Of every settings class: no unknown names, no infinities, no values in errors: one may be a
password in an address."""

MAX_COUNT = 1_000_000_000
MAX_NATURAL = (1 << 53) - 1  # every reader of TOML and JSON keeps it exact
MAX_NUMBER = 1e100  # far from where sums and products overflow
MAX_THREADS = 1024
MAX_SECONDS = 1_000_000.0  # 11 days; the system's timers overflow at 24

Count = Annotated[int, Field(ge=1, le=MAX_COUNT)]
Natural = Annotated[int, Field(ge=0, le=MAX_NATURAL)]
Threads = Annotated[int, Field(ge=1, le=MAX_THREADS)]
Positive = Annotated[float, Field(gt=0, le=MAX_NUMBER)]
NonNegative = Annotated[float, Field(ge=0, le=MAX_NUMBER)]
Seconds = Annotated[float, Field(ge=0.01, le=MAX_SECONDS)]
"""Time after which something is given up."""
Fraction = Annotated[float, Field(ge=0, le=1)]
