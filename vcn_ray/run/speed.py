"""How fast a run was: hours of video for an hour of a core, and what an hour of video takes.

Each step is measured against the length of the videos that it worked on, so that a resumed run,
which repeats nothing, has the same figures as a whole one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vcn_ray.config import PriceConfig, RunConfig
from vcn_ray.steps import STEPS

HOUR, DAY = 3600.0, 86_400.0
DIGITS = 4  # significant ones

Sums = Mapping[str, Mapping[str, float]]  # by step, as `Ledger.by_step` gives them


def speed_of(work: Sums, config: RunConfig) -> dict[str, Any]:
    """Sum up the speed of a run.

    Args:
        work: What it did, by step.
        config: Its settings: what each step reserves, and prices.

    Returns:
        `core_hours` and `gpu_hours` that an hour of video takes, by step, and `cost` likewise,
        where there are prices; `video_hours_per_core_hour` and `video_hours_per_gpu_day` of all
        steps that the run did; `limit_fraction`, the part of the cores' time in which they decoded
        or detected. None where nothing was measured.
    """
    done = {step.name: work[step.name] for step in STEPS if _length(work, step.name)}
    cores = {
        name: _rounded(sums["cpu_seconds"] / _length(work, name)) for name, sums in done.items()
    }
    gpus = {
        name: _rounded(sums["gpu_seconds"] / _length(work, name)) for name, sums in done.items()
    }
    core_hours, gpu_hours = sum(cores.values()), sum(gpus.values())
    detect, prices = done.get("detect"), config.prices
    return {
        "core_hours": cores,
        "gpu_hours": gpus,
        "cost": {name: _cost(cores[name], gpus[name], prices) for name in done}
        if prices.cpu_hour or prices.gpu_hour
        else None,
        "video_hours_per_core_hour": _rounded(1 / core_hours) if core_hours else None,
        "video_hours_per_gpu_day": _rounded(DAY / HOUR / gpu_hours) if gpu_hours else None,
        "limit_fraction": _rounded(detect["limit_seconds"] / _length(work, "detect") / core_hours)
        if detect and core_hours
        else None,
    }


def _length(work: Sums, step: str) -> float:
    """Seconds of video that a step worked on; 0 in records of older versions."""
    return work.get(step, {}).get("video_seconds", 0.0)


def _cost(core_hours: float, gpu_hours: float, prices: PriceConfig) -> float:
    return _rounded(core_hours * prices.cpu_hour + gpu_hours * prices.gpu_hour)


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
