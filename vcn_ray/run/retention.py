"""Removes pictures and embeddings that need not be kept once a title has its result.

The tables keep their rows, with nulls instead of pictures, and their manifests say what was removed
and when. A report, scores and a reused result need no more. A step that would read what was removed
does not run on it: its folder counts as not made, and it is made again from the video.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from vcn_ray.config import RetentionConfig
from vcn_ray.errors import StorageError
from vcn_ray.io.committed import FileRecords
from vcn_ray.io.storage import Storage, table_bytes
from vcn_ray.redact import one_line
from vcn_ray.rows.without import without_pictures
from vcn_ray.run.damage import REMOVED
from vcn_ray.run.listed_pages import mark_stale
from vcn_ray.run.plan import PlannedTitle, TitlePlan
from vcn_ray.run.rewrite import manifest_before, rewrite_folder

log = logging.getLogger(__name__)

PICTURES = "pictures"
EMBEDDINGS = "embeddings"
LOST = {
    PICTURES: "its page shows no faces, and other settings of any step need the video again",
    EMBEDDINGS: "other settings of [cluster] fine-tune it again, and its model cannot be exported",
}
"""What is no longer possible with a title of which something was removed."""

DAY_SECONDS = 24 * 3600.0


class ResultFolders(NamedTuple):
    """The folders that a result is made of, below the output."""

    detect: tuple[str, ...]
    track: tuple[str, ...]
    adapt: str
    cluster: str


def folders_of(title: TitlePlan, apart: Iterable[str] = ()) -> ResultFolders:
    """The folders of a planned title.

    Args:
        title: The title.
        apart: Ids of videos that other titles still need; their folders are left out.
    """
    videos = [video for video in title.videos if video.video_id not in set(apart)]
    return ResultFolders(
        tuple(video.detect_folder for video in videos),
        tuple(video.track_folder for video in videos),
        title.adapt_folder,
        title.cluster_folder,
    )


def due(retention: RetentionConfig, age_seconds: float) -> frozenset[str]:
    """What of a result of some age need not be kept."""
    limits = {PICTURES: retention.crops_days, EMBEDDINGS: retention.embeddings_days}
    return frozenset(
        what
        for what, days in limits.items()
        if days is not None and age_seconds >= days * DAY_SECONDS
    )


def expire(
    folders: ResultFolders, what: Iterable[str], storage: Storage, dry_run: bool = False
) -> frozenset[str]:
    """Remove pictures or embeddings of a result; after a kill, the next call finishes it.

    Pages that show the pictures are marked, and it is the caller's to write them again.

    Args:
        folders: Of the result; of pictures, only those that no other title needs.
        what: Some of PICTURES and EMBEDDINGS.
        storage: The output.
        dry_run: Change nothing.

    Returns:
        What was there until now.

    Raises:
        DamagedError: A file is damaged; its folder counts as not committed.
    """
    removed: set[str] = set()
    if PICTURES in what:
        for folder in (*folders.track, *folders.detect):
            if _is_there(folder, PICTURES, storage):
                if not (removed or dry_run):
                    mark_stale(storage)
                removed.add(PICTURES)
                if not dry_run:
                    _rewrite(folder, PICTURES, _without_pictures(folder, storage), storage)
    if EMBEDDINGS in what:
        for folder in (folders.cluster, folders.adapt):
            if _is_there(folder, EMBEDDINGS, storage):
                removed.add(EMBEDDINGS)
                if not dry_run:
                    _rewrite(folder, EMBEDDINGS, _without_arrays, storage)
    return frozenset(removed)


def _is_there(folder: str, what: str, storage: Storage) -> bool:
    """Whether a folder still holds something, or its removal was interrupted."""
    manifest = manifest_before(folder, storage)
    if manifest is None:
        return False
    return what not in manifest.get(REMOVED, {}) or not storage.is_committed(folder)


def _rewrite(folder: str, what: str, change: Callable[..., bytes | None], storage: Storage) -> None:
    when = datetime.now(UTC).isoformat(timespec="seconds")

    def amend(content: dict[str, Any]) -> dict[str, Any]:
        return content | {REMOVED: {what: when} | content.get(REMOVED, {})}

    rewrite_folder(folder, storage, change, amend)


def expire_finished(
    title: TitlePlan,
    retention: RetentionConfig,
    storage: Storage,
) -> None:
    """Remove at once what a title need not keep once it has its result.

    What cannot be removed now, `vcn prune` removes later. Videos that other titles of the run may
    hold too wait for the end of the run.
    """
    what = due(retention, 0.0)
    if not what:
        return
    try:
        expire(folders_of(title, title.shared), what, storage)
    except StorageError as error:
        log.warning("%s: not removed, so run vcn prune: %s", title.title_id, one_line(error))


class SharedVideos:
    """Removes the pictures of videos that several titles of a run hold, once all have ended.

    Args:
        retention: For how long they are kept.
        storage: The output.
    """

    def __init__(self, retention: RetentionConfig, storage: Storage) -> None:
        self._titles: list[TitlePlan] = []
        self._active = PICTURES in due(retention, 0.0)
        self._storage = storage

    def pass_on(self, titles: Iterator[PlannedTitle]) -> Iterator[PlannedTitle]:
        """Note the titles that hold such videos."""
        for planned in titles:
            if self._active and planned.title and planned.title.shared:
                self._titles.append(planned.title)
            yield planned

    def expire(self, finished: Iterable[str]) -> None:
        """Remove the pictures of those that no unfinished title needs.

        Args:
            finished: Ids of the titles that have their result.
        """
        done = set(finished)
        needed = {
            video_id
            for title in self._titles
            if title.title_id not in done
            for video_id in title.shared
        }
        for title in self._titles:
            others = {video.video_id for video in title.videos} - set(title.shared)
            try:
                folders = folders_of(title, others | needed)
                expire(folders, [PICTURES], self._storage)
            except StorageError as error:
                log.warning("%s: not removed: %s", title.title_id, one_line(error))


def _without_pictures(folder: str, storage: Storage) -> Callable[..., bytes | None]:
    def change(name: str, data: bytes, files: FileRecords) -> bytes | None:
        if name.endswith(".json"):
            return None  # of a segment: what is left of it must not count as detected
        if name != "crops.parquet" and not name.startswith("seg-"):
            return data
        return table_bytes(without_pictures(storage.parse_table(f"{folder}/{name}", data)))

    return change


def _without_arrays(name: str, data: bytes, files: FileRecords) -> bytes | None:
    return None if name.endswith(".safetensors") else data


def removed_from(manifests: Sequence[dict[str, Any]]) -> dict[str, str]:
    """What retention has removed of some folders, and when."""
    return {
        what: when for manifest in manifests for what, when in manifest.get(REMOVED, {}).items()
    }
