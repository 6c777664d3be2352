"""Removes pictures and embeddings of results that are older than they need be kept.

Pictures of a video go once they are due for the youngest result that shows them.
"""

from __future__ import annotations

import time
from collections import Counter
from functools import partial

from vcn_ray.config import RetentionConfig
from vcn_ray.errors import DamagedError
from vcn_ray.io.storage import Storage
from vcn_ray.run.origins import Origin
from vcn_ray.run.parallel import THREADS, map_in_order
from vcn_ray.run.retention import EMBEDDINGS, PICTURES, ResultFolders, due, expire
from vcn_ray.upkeep.prune import Prunable


def expire_results(
    found: Prunable,
    retention: RetentionConfig,
    storage: Storage,
    dry_run: bool,
    now: float | None = None,
) -> dict[str, int]:
    """Remove what is due, of all newest results.

    Args:
        found: Of the output; damaged files are remarked there.
        retention: For how long pictures and embeddings are kept.
        storage: The output.
        dry_run: Change nothing.
        now: Time stamp from which ages are counted; None: the present.

    Returns:
        Number of titles of which something was removed, by what it is.
    """
    if found.videos is None or retention == RetentionConfig():
        return {}
    now = time.time() if now is None else now
    made = dict(
        zip(
            [origin.folder for origin in found.newest],
            map_in_order(partial(_made, storage), found.newest, THREADS),
            strict=True,
        )
    )
    what = {folder: due(retention, now - when) for folder, when in made.items()}
    kept = {  # of a video that a younger result shows, or a damaged one may
        folder
        for origin in found.newest
        for folder in (*origin.detect, *origin.track)
        if PICTURES not in what[origin.folder] or folder.split("/")[1] in found.videos
    }
    counts: Counter[str] = Counter()
    for origin in found.newest:
        try:
            folders = _folders(origin, kept)
            counts.update(expire(folders, what[origin.folder], storage, dry_run))
        except DamagedError as error:
            found.remarks.append(f"not removed: {error}; use vcn verify --repair, then prune again")
    return {name: counts[name] for name in (PICTURES, EMBEDDINGS) if counts[name]}


def _made(storage: Storage, origin: Origin) -> float:
    """When a result was made: its other files are written again when something is removed."""
    entry = storage.entries(origin.folder).get("result.json")
    return entry.changed if entry else origin.changed


def _folders(origin: Origin, kept: set[str]) -> ResultFolders:
    """The folders of a result but for those that are kept."""
    detect, track = (
        tuple(folder for folder in folders if folder not in kept)
        for folders in (origin.detect, origin.track)
    )
    return ResultFolders(detect, track, origin.adapt, origin.folder)
