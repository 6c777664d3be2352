"""The catalog as a stream of planned titles: several videos are looked at at a time, in order.

However long the catalog is, only a few titles are planned ahead of who takes them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from vcn_ray.config import RunConfig
from vcn_ray.io.catalog import CatalogVideo
from vcn_ray.io.decoder import decoders_kept
from vcn_ray.io.identity import digest
from vcn_ray.io.storage import Storage
from vcn_ray.run.devices import count_cpus
from vcn_ray.run.plan import (
    PackHashes,
    PlannedTitle,
    TitleInputs,
    TitlePlan,
    plan_input,
    plan_title,
)
from vcn_ray.run.side_by_side import map_in_order
from vcn_ray.run.sources import PlanCache
from vcn_ray.run.state import FoundResult, find_result

AT_A_TIME = min(8, 2 * count_cpus())
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
    titles: list[TitleInputs], config: RunConfig, pack: PackHashes, cache: PlanCache | None = None
) -> Iterator[PlannedTitle]:
    """Look at the videos of all titles and say what belongs where.

    Args:
        titles: As of group_titles.
        config: Settings of the run.
        pack: Hashes of the pack's two halves.
        cache: Of what videos on S3 hold, so that they are not read again.

    Yields:
        Each title as soon as its videos, and those of all before it, have been looked at; videos
        that cannot be read are failures, never errors.
    """
    known: set[str] = set()
    with decoders_kept(AT_A_TIME):
        videos = (video for group in titles for video in group.videos)
        looks = map_in_order(partial(plan_input, config, pack, cache), videos, AT_A_TIME)
        for group in titles:
            looked = list(itertools.islice(looks, len(group.videos)))
            planned = plan_title(group, looked, config, pack)
            name = planned.title.title_id if planned.title else ""
            yield replace(planned, again=name in known)
            known.update([name] if name else [])


class LookedUp(NamedTuple):
    """A planned title, and whether there is anything left to do of it."""

    planned: PlannedTitle
    found: FoundResult | Exception | None
    """Its result, if it was there before, or why that cannot be told."""

    @property
    def title(self) -> TitlePlan | None:
        """The title, unless none of its videos can be read or it was planned before."""
        return None if self.planned.again else self.planned.title


def look_up(titles: Iterator[PlannedTitle], storage: Storage) -> Iterator[LookedUp]:
    """Look for results of titles, several at a time."""
    return map_in_order(partial(_look_up, storage), titles, AT_A_TIME)


def _look_up(storage: Storage, planned: PlannedTitle) -> LookedUp:
    if planned.title is None or planned.again:
        return LookedUp(planned, None)
    try:
        return LookedUp(planned, find_result(planned.title, storage))
    except Exception as error:  # one damaged result must not stop the others
        return LookedUp(planned, error)
