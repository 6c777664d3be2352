"""The catalog as a stream of planned titles: several videos are looked at at a time, in order.

However long the catalog is, only a few titles are planned ahead of who takes them.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from vcn_ray.config import RunConfig
from vcn_ray.io.catalog import CatalogVideo
from vcn_ray.io.decoder import side_by_side
from vcn_ray.io.identity import digest
from vcn_ray.run.plan import (
    Failure,
    PackHashes,
    PlannedTitle,
    TitleInputs,
    VideoPlan,
    look_at_input,
    plan_title,
)
from vcn_ray.run.sources import Memory

AT_A_TIME = min(8, 2 * (os.cpu_count() or 1))
"""Videos that are looked at side by side: most of the time is waiting for storage."""

LEAST_DRAWN = 3
"""Titles that a share of a catalog has at least: fewer would not tell how titles differ."""


def group_titles(videos: list[CatalogVideo]) -> list[TitleInputs]:
    """The titles of a catalog, in the order in which they are first named."""
    groups: dict[tuple[bool, str], list[CatalogVideo]] = {}
    for video in videos:
        # Two files of one name are two titles, and a title may be called as a file is.
        groups.setdefault((bool(video.title), video.title or video.uri), []).append(video)
    return [
        TitleInputs(name if named else Path(name).stem, named, tuple(members))
        for (named, name), members in groups.items()
    ]


def draw_titles(titles: list[TitleInputs], share: float, seed: int) -> list[TitleInputs]:
    """A share of the titles, drawn by lot; a larger share holds all of a smaller one.

    Args:
        titles: All of them.
        share: From 0 to 1; at least LEAST_DRAWN titles are drawn.
        seed: Of the lot.
    """
    many = max(math.ceil(share * len(titles)), LEAST_DRAWN)
    lot = {title: digest("draw", seed, [v.uri for v in title.videos]) for title in titles}
    drawn = set(sorted(titles, key=lambda title: lot[title])[:many])
    return [title for title in titles if title in drawn]


def plan_titles(
    titles: list[TitleInputs], config: RunConfig, pack: PackHashes, memory: Memory | None = None
) -> Iterator[PlannedTitle]:
    """Look at the videos of all titles and say what belongs where.

    Args:
        titles: As of group_titles.
        config: Settings of the run.
        pack: Hashes of the pack's two halves.
        memory: Where it is remembered what videos on S3 hold, so that they are not read again.

    Yields:
        Each title as soon as its videos, and those of all before it, have been looked at; videos
        that cannot be read are failures, never errors.

    Raises:
        StorageError: What was found cannot be written down.
    """
    known: set[str] = set()
    ahead: deque[tuple[TitleInputs, list[Future[VideoPlan | Failure]]]] = deque()
    left = deque(titles)
    with side_by_side(AT_A_TIME), _pool() as pool:
        while left or ahead:
            while left and sum(len(looks) for _, looks in ahead) < 2 * AT_A_TIME:
                group = left.popleft()
                looks = [pool.submit(look_at_input, v, config, pack, memory) for v in group.videos]
                ahead.append((group, looks))
            group, looks = ahead.popleft()
            planned = plan_title(group, [look.result() for look in looks], config, pack)
            name = planned.title.title_id if planned.title else ""
            yield replace(planned, again=name in known)
            known.update([name] if name else [])


@contextmanager
def _pool() -> Iterator[ThreadPoolExecutor]:
    """Threads to look at videos in; who leaves early waits for no more than is under way."""
    pool = ThreadPoolExecutor(AT_A_TIME, thread_name_prefix="plan")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
