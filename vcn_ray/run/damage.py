"""Which committed folders are sound: what is damaged counts as not committed, and is done again.

A look costs a listing and a manifest, not the bytes of every file. It compares sizes, and reads a
file whole only where it was changed, or renamed, after its manifest was written. Bytes that change
without a new time stamp, as on a failing disk, are found once they are read, and by a deep look.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from vcn_ray.errors import DamagedError
from vcn_ray.io.committed import CommittedFolder
from vcn_ray.io.s3_objects import Entry
from vcn_ray.io.storage import MANIFEST, Storage
from vcn_ray.run.plan import SegmentJob, VideoPlan
from vcn_ray.run.tombstones import honours

REMOVED = "removed"
"""Key of a manifest: what retention has removed of the folder, and when."""

MAX_REDONE = 3
"""Times that a title is begun again in one run because a file is damaged where it is read."""

_OF_SEGMENT = re.compile(r"(?:seg|frames)-(\d{5,})\.(?:parquet|json)")


def segment_file(folder: str, index: int, kind: str, ending: str = "parquet") -> str:
    """Where a part of a segment's output belongs."""
    return f"{folder}/{segment_name(index, kind, ending)}"


def segment_name(index: int, kind: str, ending: str = "parquet") -> str:
    """File name of a part of a segment's output."""
    return f"{kind}-{index:05d}.{ending}"


def uncommit(path: str, storage: Storage) -> None:
    """Make a file's folder count as not committed; of a segment's file, that segment alone."""
    folder, name = posixpath.split(path)
    storage.delete(f"{folder}/{MANIFEST}")
    if found := _OF_SEGMENT.fullmatch(name):
        storage.delete(segment_file(folder, int(found[1]), "seg", "json"))


def why_unusable(manifest: dict[str, Any], erased: Iterable[str] = ()) -> str:
    """Why no step may read a folder, though it is whole; empty where steps may.

    Args:
        manifest: Of the folder.
        erased: Tombstones that it must have been made with.
    """
    if not honours(manifest, erased):
        return "it was made before a person was erased"
    gone = manifest.get(REMOVED)
    if not gone:
        return ""
    return f"its {' and '.join(sorted(gone))} were removed by retention"


def open_usable(storage: Storage, folder: str) -> CommittedFolder:
    """Read the manifest of a folder that a step reads.

    Raises:
        DamagedError: It is not committed, damaged, or retention has removed a part of it.
    """
    found = CommittedFolder.open(storage, folder)
    if why := why_unusable(found.manifest):
        raise storage.damaged(f"{folder}/{MANIFEST}", why)
    return found


@contextmanager
def uncommitting(storage: Storage) -> Iterator[None]:
    """Uncommit what turns out to be damaged when it is read, and raise the error all the same."""
    try:
        yield
    except DamagedError as error:
        uncommit(error.path, storage)
        raise


class Inspector:
    """Looks whether what storage holds is sound.

    Args:
        storage: The output.
        mend: Uncommit what is damaged, so that it is done again; otherwise storage is not changed.
        deep: Read every file, whatever its time stamp says.

    Attributes:
        damage: What was found damaged, or can be read by no step, by path below the output.
        unusable: Why no step can read a folder that is whole, by path of its manifest.
        files: Number of files that were compared.
    """

    def __init__(self, storage: Storage, mend: bool, deep: bool = False) -> None:
        self.damage: dict[str, DamagedError] = {}
        self.unusable: dict[str, str] = {}
        self.files = 0
        self._storage = storage
        self._mend = mend
        self._deep = deep

    def note(self, error: DamagedError) -> None:
        """Enter a damaged file."""
        self.damage.setdefault(error.path, error)
        if self._mend:
            uncommit(error.path, self._storage)

    def manifest(self, folder: str) -> dict[str, Any] | None:
        """The manifest of a committed folder; None where it is not committed, or damaged."""
        found = self._find(folder, MANIFEST)
        if found is None or not self._is_sound(found, folder, self._storage.entries(folder)):
            return None
        return found.manifest

    def usable(self, folder: str, erased: Iterable[str] = ()) -> dict[str, Any] | None:
        """The manifest of a committed folder that another step can read; None where none can.

        Args:
            folder: Below the output.
            erased: Tombstones that it must have been made with.
        """
        manifest = self.manifest(folder)
        why = "" if manifest is None else why_unusable(manifest, erased)
        if not why:
            return manifest
        self._note_unusable(f"{folder}/{MANIFEST}", why)
        return None

    def is_honoured(self, folder: str, manifest: dict[str, Any], erased: Iterable[str]) -> bool:
        """Whether a committed folder was made with some tombstones; otherwise it is noted."""
        if honours(manifest, erased):
            return True
        self._note_unusable(f"{folder}/{MANIFEST}", why_unusable(manifest, erased))
        return False

    def _note_unusable(self, path: str, why: str) -> None:
        self.unusable[path] = why
        self.note(DamagedError(path, f"{self._storage.locate(path)} cannot be used: {why}"))

    def open_jobs(self, video: VideoPlan) -> list[SegmentJob]:
        """The segments of a video that are not committed, or damaged."""
        folder = video.detect_folder
        if self.usable(folder, video.erased) is not None:
            return []
        entries = self._storage.entries(folder)  # one request instead of one for each segment
        names = {job.index: segment_name(job.index, "seg", "json") for job in video.jobs()}
        return [
            job
            for job in video.jobs()
            if names[job.index] not in entries
            or not self.marks(folder, names[job.index], entries, video.erased)
        ]

    def marks(
        self, folder: str, name: str, entries: dict[str, Entry], erased: Iterable[str] = ()
    ) -> bool:
        """Whether a file of a folder, and all files that it lists, are undamaged."""
        found = self._find(folder, name)
        if found is None or not self._is_sound(found, folder, entries, name):
            return False
        why = why_unusable(found.manifest, erased)
        if why:
            self._note_unusable(f"{folder}/{name}", why)
        return not why

    def _find(self, folder: str, name: str) -> CommittedFolder | None:
        try:
            return CommittedFolder.find(self._storage, folder, name)
        except DamagedError as error:
            self.note(error)
            return None

    def _is_sound(
        self,
        found: CommittedFolder,
        folder: str,
        entries: dict[str, Entry],
        name: str = MANIFEST,
    ) -> bool:
        self.files += len(found.files) + 1
        written = entries[name].changed if name in entries else 0.0
        damage = list(found.check(entries, None if self._deep else written))
        for error in damage:
            self.note(error)
        if damage:
            return False
        if self._mend and any(entries[file].changed > written for file in found.files):
            # As after a copy: the manifest is made the newest, so that the next look is quick.
            self._storage.write_json(f"{folder}/{name}", found.manifest)
        return True
