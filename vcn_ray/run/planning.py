"""The catalog as a stream of planned titles: several videos are planned in parallel, in order.

However long the catalog is, only a few titles are planned ahead of the caller. The same threads
look up in storage what each title lacks, so that the driver of a cluster makes no requests itself.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from vcn_ray.config import RetentionConfig, RunConfig
from vcn_ray.edits.constraints import teaching_edits
from vcn_ray.edits.store import EditLog, edit_names, edited_titles
from vcn_ray.errors import StorageError
from vcn_ray.io.catalog import CatalogVideo
from vcn_ray.io.decoder import decoders_kept
from vcn_ray.io.identity import digest, slug
from vcn_ray.io.paths import file_name
from vcn_ray.io.storage import Storage
from vcn_ray.run.damage import Inspector
from vcn_ray.run.events import RunLog
from vcn_ray.run.failures import Failure, failure_of
from vcn_ray.run.parallel import THREADS, map_in_order
from vcn_ray.run.plan import (
    PackHashes,
    PlannedTitle,
    SegmentJob,
    TitleInputs,
    TitlePlan,
    plan_input,
    plan_title,
    with_edits,
)
from vcn_ray.run.retention import expire_finished
from vcn_ray.run.sources import PlanCache
from vcn_ray.run.state import FoundResult, find_result, untracked_videos
from vcn_ray.run.tombstones import ErasedVideos
from vcn_ray.steps import CLUSTER, DETECT

log = logging.getLogger(__name__)

MIN_SAMPLE = 3
"""Titles in a sample of a catalog, at least: fewer would not show how titles differ."""


def group_titles(videos: list[CatalogVideo]) -> list[TitleInputs]:
    """The titles of a catalog, in the order in which they are first named."""
    groups: dict[tuple[bool, str], list[CatalogVideo]] = {}
    for video in videos:
        # Two files of one name are two titles, and a title may have the name of a file.
        groups.setdefault((bool(video.title), video.title or video.uri), []).append(video)
    return [
        TitleInputs(name if named else Path(file_name(name)).stem, named, tuple(members))
        for (named, name), members in groups.items()
    ]


def sample_titles(titles: list[TitleInputs], fraction: float, seed: int) -> list[TitleInputs]:
    """A random sample of the titles; a larger sample contains every smaller one.

    Args:
        titles: All titles of the catalog.
        fraction: From 0 to 1; at least MIN_SAMPLE titles are sampled.
        seed: Of the sample.
    """
    size = max(math.ceil(fraction * len(titles)), MIN_SAMPLE)
    order = {title: digest("draw", seed, [v.uri for v in title.videos]) for title in titles}
    sample = set(sorted(titles, key=lambda title: order[title])[:size])
    return [title for title in titles if title in sample]


def plan_titles(
    titles: list[TitleInputs],
    config: RunConfig,
    pack: PackHashes,
    cache: PlanCache | None = None,
    erased: ErasedVideos | None = None,
) -> Iterator[PlannedTitle]:
    """Probe the videos of all titles and say where their outputs belong.

    Args:
        titles: As returned by group_titles.
        config: Settings of the run.
        pack: Hashes of the pack's two halves.
        cache: Remembers the content of videos on S3, so that they are not read again. Its storage
            is asked for the corrections of titles too: once, and once for each title that has any.
        erased: Videos that have tombstones of erased persons.

    Yields:
        Each title as soon as its videos, and those of all titles before it, are probed; a video
        that cannot be read is a failure, never an error.
    """
    planned = _plan_titles(titles, config, pack, cache, erased)
    edited = edited_titles(cache.storage) if cache else frozenset()
    if cache and edited:
        known = partial(_with_edits, cache.storage, edited, config, pack)
        planned = map_in_order(known, planned, THREADS)
    yield from planned


def _with_edits(
    storage: Storage,
    edited: frozenset[str],
    config: RunConfig,
    pack: PackHashes,
    planned: PlannedTitle,
) -> PlannedTitle:
    """A planned title with the names of its corrections."""
    title = planned.title
    if title is None or title.title_id not in edited:
        return planned
    try:
        names = tuple(edit_names(storage, title.title_id))
        teaching = _teaching(storage, title.title_id, names) if config.review.teach else ()
    except StorageError as error:  # one title must never stop the others
        failure = failure_of(title.where, "plan", error)
        return PlannedTitle(None, {}, (*planned.failures, failure))
    return replace(planned, title=with_edits(title, names, teaching, config, pack))


def _teaching(storage: Storage, title_id: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the corrections that a title learns from."""
    edits = EditLog(storage, title_id)
    teaching = tuple(edit.file_name for edit in teaching_edits(edits.read(names)))
    for problem in edits.damaged.values():
        log.warning("a correction does not count: %s", problem)
    return teaching


def _plan_titles(
    titles: list[TitleInputs],
    config: RunConfig,
    pack: PackHashes,
    cache: PlanCache | None,
    erased: ErasedVideos | None,
) -> Iterator[PlannedTitle]:
    known: set[str] = set()
    names = shared_names(titles)
    with decoders_kept(THREADS):
        videos = (video for group in titles for video in group.videos)
        probed = map_in_order(partial(plan_input, config, pack, cache, erased), videos, THREADS)
        for group in titles:
            members = list(itertools.islice(probed, len(group.videos)))
            planned = plan_title(group, members, config, pack)
            name = planned.title.title_id if planned.title else ""
            yield replace(_with_shared(planned, names), again=name in known)
            known.update([name] if name else [])


def shared_names(titles: list[TitleInputs]) -> frozenset[str]:
    """Names of videos, as ids hold them, that several titles list: these may be one video."""
    held = Counter(
        name for title in titles for name in {_id_name(video.uri) for video in title.videos}
    )
    return frozenset(name for name, number in held.items() if number > 1)


def _id_name(uri: str) -> str:
    return slug(Path(file_name(uri)).stem)


def _with_shared(planned: PlannedTitle, names: frozenset[str]) -> PlannedTitle:
    """The same title, with the videos that other titles may hold too."""
    if planned.title is None or not names:
        return planned
    videos = planned.title.videos
    shared = tuple(v.video_id for v in videos if v.video_id.rpartition("-")[0] in names)
    return replace(planned, title=replace(planned.title, shared=shared))


class LookedUp(NamedTuple):
    """A planned title, and what storage held of it when it was planned.

    The look-up may be stale by the time it is used. That is harmless: `commit_detect` returns None
    for a segment that is committed by then, and a segment that is done twice gives the same rows.
    """

    planned: PlannedTitle
    found: FoundResult | Failure | None = None  # its result, or why storage cannot be read
    jobs: tuple[SegmentJob, ...] = ()  # segments that are missing, of videos without tracks
    damage: tuple[str, ...] = ()  # a line for each file that is damaged, and done again

    @property
    def title(self) -> TitlePlan | None:
        """The title, if there is anything left to do for it."""
        done = self.planned.again or self.found is not None
        return None if done else self.planned.title


def look_up(
    titles: Iterator[PlannedTitle], storage: Storage, retention: RetentionConfig | None = None
) -> Iterator[LookedUp]:
    """Look up the results of titles, or else their missing segments, several titles in parallel.

    Args:
        titles: The planned titles.
        storage: The output.
        retention: What a title that has its result need not keep.
    """
    call = partial(_look_up, storage, retention or RetentionConfig())
    return map_in_order(call, titles, THREADS)


def _look_up(storage: Storage, retention: RetentionConfig, planned: PlannedTitle) -> LookedUp:
    title = planned.title
    if title is None or planned.again:
        return LookedUp(planned)
    step, inspector = CLUSTER.name, Inspector(storage, mend=True)
    try:
        found = find_result(title, storage, inspector)
        if found is not None:
            expire_finished(title, retention, storage)
            return LookedUp(planned, found)
        step = DETECT.name
        untracked = untracked_videos(title, inspector)
        jobs = tuple(job for video in untracked for job in inspector.open_jobs(video))
        inspector.usable(title.adapt_folder, title.erased)  # or it is done again
        return LookedUp(planned, jobs=jobs, damage=tuple(map(str, inspector.damage.values())))
    except Exception as error:  # one damaged title must not stop the others
        log.debug("%s cannot be looked up", title.title_id, exc_info=True)
        return LookedUp(planned, failure_of(title.where, step, error))


def log_planned(looked: LookedUp, run_log: RunLog) -> bool:
    """Report a planned title, and its result or failure; False where too much has failed."""
    run_log.plan(looked.planned)
    if run_log.gave_up:
        return False
    for line in looked.damage:
        run_log.redo(line)
    if isinstance(looked.found, FoundResult):
        run_log.reuse(looked.found)
    elif looked.found:
        run_log.fail(looked.found)
    return not run_log.gave_up


def skip_finished(titles: Iterator[LookedUp], run_log: RunLog) -> Iterator[LookedUp] | None:
    """Report titles up to the first that has something left to do.

    Returns:
        That title and all after it; None where there is none, or too much has failed.
    """
    for looked in titles:
        if looked.title:
            return itertools.chain([looked], titles)
        if not log_planned(looked, run_log):
            return None
    return None
