"""Finds and removes what no newest result of any title needs.

A run that is in progress is not disturbed as far as time stamps can tell: what is not finished, and
what belongs to no result yet, stays until it is a day old. What a damaged title may need stays.
"""

from __future__ import annotations

import posixpath
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from vcn_ray.errors import DamagedError
from vcn_ray.io.committed import FILES
from vcn_ray.io.storage import MANIFEST, Storage
from vcn_ray.run.origins import LATEST, Origin, read_origins
from vcn_ray.run.parallel import THREADS, map_in_order
from vcn_ray.run.tombstones import HONOURED
from vcn_ray.upkeep.files import (
    DAY_SECONDS,
    StoredFile,
    files_below,
    files_in,
    is_temporary,
    remove_files,
    remove_folder,
)

KINDS = {
    "reviewed": "tables of corrections of older results",
    "cluster": "older results",
    "adapt": "adapted models of older results",
    "track": "tracks of older results",
    "detect": "detections of older results",
    "unfinished": "folders that a stopped run left unfinished, over a day old",
    "temporary": "temporary files, over a day old",
    "plan": "damaged plans of videos",
}
"""Kinds of what is removed, in this order: results go before what they are made of."""


BEGUN = "pruning.json"
"""Lists the folders that are being removed."""


class Garbage(NamedTuple):
    """A folder or some files that nothing needs."""

    kind: str
    folder: str  # below the output; empty: single files
    files: tuple[StoredFile, ...]


@dataclass(slots=True)
class TitleNeeds:
    """What a title says of the folders of its output.

    Attributes:
        needed: Folders of its newest result, or of all where the newest is not known.
        older: Folders that only its other results were made of.
        videos: Ids of videos of which all folders stay; None: of all videos.
        remarks: Lines for people.
        garbage: Its own folders and files that nothing needs.
    """

    needed: set[str] = field(default_factory=set)
    older: set[str] = field(default_factory=set)
    videos: set[str] | None = field(default_factory=set)
    remarks: list[str] = field(default_factory=list)
    garbage: list[Garbage] = field(default_factory=list)


@dataclass(slots=True)
class Prunable:
    """What can be removed from an output, and why something else stays."""

    garbage: list[Garbage] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    newest: list[Origin] = field(default_factory=list)
    videos: set[str] | None = field(default_factory=set)  # that stay as they are; None: all

    def totals(self) -> dict[str, dict[str, int]]:
        """Number of files, and bytes, by kind."""
        sums: dict[str, dict[str, int]] = {}
        for each in self.garbage:
            files = sums.setdefault(each.kind, {"files": 0, "bytes": 0})
            files["files"] += len(each.files)
            files["bytes"] += sum(file.size for file in each.files)
        return {kind: sums[kind] for kind in KINDS if kind in sums}


def find_garbage(storage: Storage, now: float | None = None) -> Prunable:
    """Find what no newest result needs; this changes nothing.

    Args:
        storage: The output.
        now: Time stamp from which ages are counted; None: the present.

    Raises:
        StorageError: Something cannot be read at the moment.
    """
    now, found = time.time() if now is None else now, Prunable()
    begun = _Begun.read(storage)
    needed: set[str] = set()
    older: set[str] = set()
    kept_videos: set[str] | None = set()
    for needs, newest in map_in_order(
        partial(_judge_title, storage, now, begun), storage.names("titles"), THREADS
    ):
        needed |= needs.needed
        older |= needs.older
        both = kept_videos is not None and needs.videos is not None
        kept_videos = kept_videos | needs.videos if both else None  # type: ignore[operator]
        found.remarks += needs.remarks
        found.garbage += needs.garbage
        found.newest += newest
    found.videos = kept_videos
    uses = _Uses(needed, older - needed, kept_videos, begun)
    for garbage in map_in_order(
        partial(_judge_video, storage, now, uses), storage.names("videos"), THREADS
    ):
        found.garbage += garbage
    for folder in ("", *(f"runs/{name}" for name in storage.names("runs"))):
        found.garbage += _temporary(files_in(folder, storage), now)
    order = list(KINDS)
    found.garbage.sort(key=lambda each: (order.index(each.kind), each.folder))
    return found


def remove_garbage(garbage: list[Garbage], storage: Storage) -> None:
    """Remove what was found; after a kill, the rest is found again."""
    folders = [each.folder for each in garbage if each.folder]
    if folders:
        # A folder that is half removed looks like work in flight, and names no others any more.
        storage.write_json(BEGUN, {"folders": folders})
    for each in garbage:
        if each.folder:
            remove_folder(each.folder, storage)
            storage.tidy(posixpath.dirname(each.folder))
        else:
            remove_files(each.files, storage)
    storage.delete(BEGUN)


class _Begun(NamedTuple):
    """What an earlier call began to remove, if it was killed."""

    folders: frozenset[str]
    changed: float  # time stamp: what was written later is not meant

    @classmethod
    def read(cls, storage: Storage) -> _Begun:
        noted = storage.find_sound_json(BEGUN)
        entry = storage.entries("").get(BEGUN)
        if noted is None or entry is None:
            return cls(frozenset(), 0.0)
        return cls(frozenset(noted["folders"]), entry.changed)

    def holds(self, folder: str, files: tuple[StoredFile, ...]) -> bool:
        """True where a folder was being removed, and nothing was written there since."""
        newest = max((file.changed for file in files), default=0.0)
        return folder in self.folders and newest <= self.changed


class _Uses(NamedTuple):
    needed: set[str]
    older: set[str]
    videos: set[str] | None  # of which everything stays; None: of all
    begun: _Begun


def _judge_title(
    storage: Storage, now: float, begun: _Begun, title_id: str
) -> tuple[TitleNeeds, list[Origin]]:
    home, needs = f"titles/{title_id}", TitleNeeds()
    names = storage.names(home)
    pointer, problem = _pointer(home, names, storage)
    origins = [
        origin
        for name in names
        if name.startswith("cluster-")
        for origin in read_origins(
            title_id, name, name == pointer, _manifest(f"{home}/{name}", storage), storage
        )
    ]
    newest = [origin for origin in origins if origin.latest]
    if pointer and not newest:
        problem = f"{pointer} cannot be read"
    elif origins and not pointer and not problem:
        problem = f"its {LATEST} is missing"
    if problem:
        needs.needed = {folder for origin in origins for folder in origin.folders}
        needs.videos = _videos_of(home, origins, storage)
        which = "its videos" if needs.videos is not None else "all videos"
        needs.remarks.append(
            f"kept all of {home} and of {which}: {problem}; index it again, or use vcn verify "
            "--repair"
        )
        return needs, []
    for origin in origins:
        if origin.latest:
            needs.needed |= origin.folders
        else:
            needs.older |= origin.folders
    needs.older -= needs.needed
    for name in names:
        uses = _Uses(needs.needed, needs.older, set(), begun)
        needs.garbage += _judge_folder(storage, now, f"{home}/{name}", uses, pointer)
    needs.garbage += _temporary(files_in(home, storage), now)
    return needs, newest


def _pointer(home: str, names: list[str], storage: Storage) -> tuple[str, str]:
    """The name of a title's newest result, and what is wrong with its pointer."""
    if LATEST not in names:
        return "", ""
    try:
        return str(storage.read_json(f"{home}/{LATEST}")["result"]), ""
    except DamagedError as error:
        return "", str(error)


def _manifest(folder: str, storage: Storage) -> dict[str, Any] | None:
    return storage.find_sound_json(f"{folder}/{MANIFEST}")


def _videos_of(home: str, origins: list[Origin], storage: Storage) -> set[str] | None:
    """Ids of the videos that a title of unknown state may need; None: nobody knows."""
    latest = storage.find_sound_json(f"{home}/{LATEST}")
    videos = set(latest["uris"]) if latest else set()
    videos |= {folder.split("/")[1] for o in origins for folder in (*o.detect, *o.track)}
    return videos or None


def _judge_folder(
    storage: Storage, now: float, folder: str, uses: _Uses, pointer: str
) -> Iterator[Garbage]:
    """What of a title's folder nothing needs."""
    kind = posixpath.basename(folder).partition("-")[0]
    if kind not in ("reviewed", "cluster", "adapt"):
        return
    if kind != "reviewed":
        yield from _judge(storage, now, folder, uses)
        return
    manifest = _manifest(folder, storage)
    files = tuple(files_below(folder, storage))
    if manifest is not None and manifest.get("result") != pointer:
        yield Garbage(kind, folder, files)
    elif manifest is None and files and (_is_old(files, now) or uses.begun.holds(folder, files)):
        yield Garbage("unfinished", folder, files)


def _judge_video(storage: Storage, now: float, uses: _Uses, video_id: str) -> list[Garbage]:
    home, garbage = f"videos/{video_id}", []
    kept = uses.videos is None or video_id in uses.videos
    for file in files_in(home, storage):
        name = posixpath.basename(file.path)
        if name.startswith("plan-") and _is_damaged(file.path, storage):
            garbage.append(Garbage("plan", "", (file,)))
        elif is_temporary(name):
            garbage += _temporary([file], now)
    for name in storage.names(home):
        if name.startswith(("detect-", "track-")) and not kept:
            garbage += _judge(storage, now, f"{home}/{name}", uses)
        elif name == HONOURED:
            garbage += _temporary(files_in(f"{home}/{name}", storage), now)
    return garbage


def _judge(storage: Storage, now: float, folder: str, uses: _Uses) -> Iterator[Garbage]:
    """What of a step's folder nothing needs: all of it, or some files in it."""
    files = tuple(files_below(folder, storage))
    names = {posixpath.basename(file.path) for file in files}
    manifest = _manifest(folder, storage)
    if folder in uses.needed:
        known = {MANIFEST, *(manifest[FILES] if manifest else names)}
        extra = [file for file in files if posixpath.basename(file.path) not in known]
        yield from _aged(extra, now)
    elif not files:
        return
    elif MANIFEST not in names:
        if _is_old(files, now) or uses.begun.holds(folder, files):
            yield Garbage("unfinished", folder, files)
    elif folder in uses.older or _is_old(files, now) or uses.begun.holds(folder, files):
        yield Garbage(posixpath.basename(folder).partition("-")[0], folder, files)


def _temporary(files: list[StoredFile], now: float) -> Iterator[Garbage]:
    yield from _aged([file for file in files if is_temporary(file.path)], now)


def _aged(files: list[StoredFile], now: float) -> Iterator[Garbage]:
    old = tuple(file for file in files if _is_old([file], now))
    if old:
        yield Garbage("temporary", "", old)


def _is_old(files: list[StoredFile] | tuple[StoredFile, ...], now: float) -> bool:
    return max(file.changed for file in files) < now - DAY_SECONDS


def _is_damaged(path: str, storage: Storage) -> bool:
    try:
        storage.find_json(path)
    except DamagedError:
        return True
    return False
