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

Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
