"""A small film and what a benchmark runs with, for tests of the benchmarks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.method.films import Film
from benchmarks.method.running import Bench
from tests.helpers.synth import PEOPLE, TinyBackbone, title_of

NO_PAIRS = np.zeros((0, 2), np.int64)


def film_of(people=PEOPLE, crops: int = 4) -> Film:
    """A film whose track t shows `people[t]`, with two pairs of tracks in one frame."""
    people = np.asarray(people)
    title = replace(title_of(people, crops), cannot_link=np.array([[0, 1], [1, 2]]))
    return Film("made", title, people, np.arange(len(people)) // 2)


def bench_of(cache: Path | None = None) -> Bench:
    """A tiny encoder with quick settings."""
    return Bench(TinyBackbone(), "tiny", seed=0, cache=cache, quick=True)
