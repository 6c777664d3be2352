"""Removes persons from an output: tombstones first, then everything that shows or describes them.

The order of work is stored before anything is removed, and each step can be repeated. So after a
kill at any moment the same command, or `vcn erase OUT --resume`, finishes what is left; until then
no run starts in this output.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np

from vcn_ray.edits.record import boxes_of_text
from vcn_ray.errors import DamagedError
from vcn_ray.io.committed import FILES, record_of
from vcn_ray.io.s3_objects import HiddenVersion
from vcn_ray.io.storage import MANIFEST, Storage
from vcn_ray.registry.decisions import Decision
from vcn_ray.registry.stored import REGISTRY
from vcn_ray.report.pages import write_reports
from vcn_ray.rows.tombstones import Span, erased_faces, span_from_json
from vcn_ray.run.listed_pages import CATALOG_PAGE, PAGES
from vcn_ray.run.origins import LATEST
from vcn_ray.run.rewrite import BEFORE, manifest_before
from vcn_ray.run.tombstones import MARKERS, tombstone_folder
from vcn_ray.upkeep.edits import Anchor, scrub_log
from vcn_ray.upkeep.files import files_below, files_in, remove_files, remove_folder
from vcn_ray.upkeep.holdings import EDITS, read_holding
from vcn_ray.upkeep.order import Order, order_as_json
from vcn_ray.upkeep.registry_copies import (
    erased_decisions,
    is_top_page,
    remove_registry,
    replace_decisions,
    top_pages,
)
from vcn_ray.upkeep.rewriting import (
    rewrite_adapted,
    rewrite_detections,
    rewrite_result,
    rewrite_tracks,
)
from vcn_ray.upkeep.search import Traces
from vcn_ray.upkeep.tracing import MIN_OVERLAP

KEPT_OF_VIDEO = ("plan-", "erased")


@dataclass(frozen=True, slots=True)
class Receipt:
    """What an erasure did.

    Attributes:
        path: Of the receipt, below the output.
        content: What it holds.
    """

    path: str
    content: dict[str, Any]

    @property
    def found(self) -> list[str]:
        """What the search has found: nothing, if all is well."""
        return list(self.content["search"]["found"])

    @property
    def versions_left(self) -> list[dict[str, str]]:
        """Hidden versions of objects that could not be deleted."""
        return list(self.content["versions_left"])


def erase(order: Order, storage: Storage, names: Sequence[str] = ()) -> Receipt:
    """Carry out an erasure, or what is left of it.

    Args:
        order: From `plan_erasure`, or stored by an interrupted call.
        storage: The output.
        names: Texts to search for at the end, as the person's name; they are not stored.

    Raises:
        StorageError: Something cannot be read or written; call it again.
    """
    storage.write_json(order.path, order_as_json(order))
    _write_tombstones(order, storage)
    _remove_pages(order, storage, names)
    remove_registry(storage)
    replace_decisions(order_decisions(order, storage), storage)
    for title_id in order.holders:
        _clear_title(order, title_id, storage)
    for video_id in order.videos:
        _clear_video(order, video_id, storage)
    damaged = _rewrite(order, storage)
    if order.pages and any(_has_result(name, storage) for name in storage.names("titles")):
        write_reports(storage)
    versions = _purge(order, storage)
    receipt = _receipt(order, storage, versions, _search(order, storage, names))
    receipt["remarks"] += damaged
    storage.write_json(order.receipt, receipt)
    storage.delete(order.path)
    storage.purge(order.path)
    return Receipt(order.receipt, receipt)


def _has_result(title_id: str, storage: Storage) -> bool:
    return storage.exists(f"titles/{title_id}/{LATEST}")


def _write_tombstones(order: Order, storage: Storage) -> None:
    for stone in order.tombstones:
        path = f"{tombstone_folder(stone.video_id)}/{stone.name}.json"
        content = {"video_id": stone.video_id, "spans": stone.spans}
        if storage.find_sound_json(path) != content:
            storage.write_json(path, content)
        marker = f"{MARKERS}/{stone.video_id}.json"
        if not storage.exists(marker):
            storage.write_json(marker, {"video_id": stone.video_id})


def _remove_pages(order: Order, storage: Storage, names: Sequence[str]) -> None:
    """Remove the pages that show the erased; the index lists all pages, so it goes with them."""
    reports = (f"titles/{title_id}/report.html" for title_id in order.holders)
    for path in (PAGES, "index.html", CATALOG_PAGE, *reports):
        storage.delete(path)
    for path in showing_pages(order, storage, names):
        storage.delete(path)


def showing_pages(order: Order, storage: Storage, names: Sequence[str]) -> list[str]:
    """Pages directly in the output that show the erased, such as one of a search."""
    traces = Traces(set(order.pictures), order.drop, [name for name in names if name])
    return [path for path in top_pages(storage) if any(traces.find(path, storage))]


def order_decisions(order: Order, storage: Storage) -> dict[str, Decision | None]:
    """Decisions about people of the catalog that name the erased, and what is left of each."""
    spans = {stone.video_id: spans_of(stone.spans) for stone in order.tombstones}
    return erased_decisions(storage, partial(_is_erased, order.drop, spans), order.persons)


def _clear_title(order: Order, title_id: str, storage: Storage) -> None:
    """Remove what of a title may show the erased and is not rewritten."""
    home, holding = f"titles/{title_id}", read_holding(storage, title_id)
    works = [work for work in order.titles if work.title_id == title_id]
    rewritten = {folder for work in works for folder in (work.cluster, work.adapt)}
    for name in holding.names:
        folder = f"{home}/{name}"
        if name not in holding.videos or folder in rewritten:
            continue
        if holding.holds(name, order.videos) or works or title_id in order.lost:
            remove_folder(folder, storage)
    if title_id in order.lost:
        storage.delete(f"{home}/{LATEST}")
    remove_files(
        [f for f in files_in(home, storage) if posixpath.basename(f.path).startswith(".")],
        storage,
    )
    for folder in rewritten:
        _remove_extras(folder, storage)
    edits = storage.names(f"{home}/{EDITS}")
    _scrub_edits(order, f"{home}/{EDITS}", storage)
    # Tables after corrections of a title that has nothing to do with the erased stay.
    concerned = bool(works or title_id in order.lost or holding.touched(order.videos))
    if concerned or storage.names(f"{home}/{EDITS}") != edits:
        for name in holding.names:
            if name.startswith("reviewed-"):
                remove_folder(f"{home}/{name}", storage)


def _clear_video(order: Order, video_id: str, storage: Storage) -> None:
    """Remove what of a video is not rewritten."""
    home = f"videos/{video_id}"
    works = [work for work in order.tracks if work.video_id == video_id]
    rewritten = {folder for work in works for folder in (work.track, work.detect)}
    plain = {posixpath.basename(file.path) for file in files_in(home, storage)}
    for name in storage.names(home):
        if name.startswith(KEPT_OF_VIDEO) or f"{home}/{name}" in rewritten:
            continue
        if name in plain:
            storage.delete(f"{home}/{name}")
        else:
            remove_folder(f"{home}/{name}", storage)
    for folder in rewritten:
        _remove_extras(folder, storage)


def _remove_extras(folder: str, storage: Storage) -> None:
    """Remove the files of a committed folder that its manifest does not list, as checkpoints."""
    manifest = manifest_before(folder, storage)
    if manifest is None:  # not committed: nobody knows what is in it
        remove_folder(folder, storage)
        return
    known = {MANIFEST, BEFORE, *manifest[FILES]}
    extras = [f for f in files_in(folder, storage) if posixpath.basename(f.path) not in known]
    remove_files(extras, storage)


def _scrub_edits(order: Order, folder: str, storage: Storage) -> None:
    """Remove the erased from the corrections of a title."""
    edits: dict[str, dict[str, Any]] = {}
    for name in storage.names(folder):
        try:
            edits[name] = storage.read_json(f"{folder}/{name}")
        except DamagedError:  # nobody can tell whom it is about
            storage.delete(f"{folder}/{name}")
    spans = {stone.video_id: spans_of(stone.spans) for stone in order.tombstones}
    for name, change in scrub_log(edits, partial(_is_erased, order.drop, spans)).items():
        if change is not None:
            storage.write_json(f"{folder}/{change[0]}", change[1])
        if change is None or change[0] != name:
            storage.delete(f"{folder}/{name}")


def spans_of(listed: Sequence[dict[str, Any]]) -> list[Span]:
    """The spans of a tombstone."""
    return [span_from_json(span) for span in listed]


def _is_erased(drop: frozenset[str], spans: dict[str, list[Span]], anchor: Anchor) -> bool:
    """Whether an anchor is of an erased track, by its id or by where its face is seen."""
    if anchor["track_id"] in drop:
        return True
    seen = spans.get(str(anchor.get("video_id")))
    boxes = boxes_of_text(anchor.get("boxes", ""))
    if not seen or not boxes:
        return False
    rows = np.array(boxes, np.float64).reshape(-1, 5)
    matched = erased_faces(seen, rows[:, 0], rows[:, 1:].astype(np.float32))
    return bool(matched.mean() >= MIN_OVERLAP)


def _rewrite(order: Order, storage: Storage) -> list[str]:
    """Rewrite all folders, each after those that it is made of; returns remarks on damage."""
    remarks: list[str] = []
    stones = order.stone
    spans = {stone.video_id: spans_of(stone.spans) for stone in order.tombstones}
    for detect in dict.fromkeys(work.detect for work in order.tracks):
        works = [work for work in order.tracks if work.detect == detect]
        video_id = works[0].video_id
        call = partial(rewrite_detections, works, spans[video_id], stones[video_id], storage)
        remarks += _or_remove(detect, call, storage)
    for work in order.tracks:
        call = partial(rewrite_tracks, work, stones[work.video_id], storage)
        remarks += _or_remove(work.track, call, storage)
    for title in order.titles:
        remarks += _or_remove(title.adapt, partial(rewrite_adapted, title, storage), storage)
        lost = _or_remove(title.cluster, partial(rewrite_result, title, storage), storage)
        if lost:
            storage.delete(f"titles/{title.title_id}/{LATEST}")
        remarks += lost
    return remarks


def _or_remove(folder: str, rewrite: Callable[[], None], storage: Storage) -> list[str]:
    """Rewrite a folder; one that is damaged is removed, since nobody can tell what is in it."""
    try:
        rewrite()
    except DamagedError as error:
        remove_folder(folder, storage)
        return [f"{folder} was removed, so index its title again: {error}"]
    return []


def _purge(order: Order, storage: Storage) -> tuple[list[HiddenVersion], list[HiddenVersion]]:
    """Delete the hidden versions of all that was concerned."""
    homes = [f"titles/{title_id}/" for title_id in order.holders]
    homes += [f"videos/{video_id}/" for video_id in order.videos]
    pages = {"index.html", CATALOG_PAGE, *filter(is_top_page, order.before)}
    prefixes = (*homes, f"{REGISTRY}/", *sorted(pages), PAGES)
    purged = [storage.purge(prefix) for prefix in prefixes]
    deleted = [version for each in purged for version in each.deleted]
    return deleted, [version for each in purged for version in each.left]


def _search(order: Order, storage: Storage, names: Sequence[str]) -> dict[str, Any]:
    """Search all that was concerned, and the other files at the top, for what is left."""
    homes = [f"titles/{title_id}" for title_id in order.holders]
    homes += [f"videos/{video_id}" for video_id in order.videos]
    paths = [file.path for home in homes for file in files_below(home, storage)]
    paths += [file.path for file in files_in("", storage)]
    paths += [file.path for top in ("runs", REGISTRY) for file in files_below(top, storage)]
    traces = Traces(set(order.pictures), _ids_gone(order, storage), [n for n in names if n])
    found = sorted({line for path in paths for line in traces.find(path, storage)})
    return {"files": len(paths), "found": found, "names": len(traces.names)}


def _ids_gone(order: Order, storage: Storage) -> set[str]:
    """Ids of tracks that must not be found: of parts, and of what has no part left."""
    left: set[str] = set()
    for work in order.tracks:
        if storage.is_committed(work.track):
            tracks = storage.read_table(f"{work.track}/tracks.parquet", ["track_id"])
            left |= set(tracks["track_id"].to_pylist())
    bases = {part.track_id for work in order.tracks for part in work.ranges}
    return (set(order.drop) | bases) - left


def _receipt(
    order: Order,
    storage: Storage,
    versions: tuple[list[HiddenVersion], list[HiddenVersion]],
    search: dict[str, Any],
) -> dict[str, Any]:
    """What was done, by whom and why: no name, no picture, no track."""
    deleted, left = versions
    hidden: dict[str, list[str]] = {}
    for version in deleted:
        hidden.setdefault(version.path, []).append(version.version)
    return {
        "erasure": order.erasure_id,
        "persons": [{"title_id": t, "person_id": p} for t, p in order.persons],
        "by": order.by,
        "reason": order.reason,
        "began": order.began,
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        "tombstones": [f"{tombstone_folder(s.video_id)}/{s.name}.json" for s in order.tombstones],
        "tracks": len(order.drop),
        "pictures": len(order.pictures),
        "objects": _objects(order, storage, hidden),
        "versions_left": [version._asdict() for version in left],
        "search": search,
        "remarks": list(order.remarks),
    }


def _objects(order: Order, storage: Storage, hidden: dict[str, list[str]]) -> list[dict[str, Any]]:
    """The files that were rewritten or removed, with their hashes before and after."""
    objects = []
    for path in sorted({*order.before, *hidden}):
        before = order.before.get(path)
        data = storage.find_bytes(path)
        after = None if data is None else record_of(data)
        versions = {"versions": hidden[path]} if path in hidden else {}
        if after == before and not versions:
            continue
        what = "removed" if after is None else "kept" if after == before else "rewritten"
        objects.append(
            {
                "path": path,
                "action": what,
                "sha256_before": before["sha256"] if before else None,
                "sha256_after": after["sha256"] if after else None,
                **versions,
            }
        )
    return objects
