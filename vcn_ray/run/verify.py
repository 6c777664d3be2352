"""Compares every file of an output with what was written; it reads all bytes, and changes none."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from vcn_ray.edits.store import (
    EDITED,
    EditLog,
    edit_names,
    edits_folder,
    marker_path,
)
from vcn_ray.errors import DamagedError
from vcn_ray.io.committed import FILES, record_of
from vcn_ray.io.storage import MANIFEST, Storage
from vcn_ray.run.damage import Inspector
from vcn_ray.run.listed_pages import PAGES
from vcn_ray.run.origins import LATEST, Origin, read_origins
from vcn_ray.run.parallel import THREADS, map_in_order
from vcn_ray.run.record import RECORD
from vcn_ray.run.reviewed import REVIEWED
from vcn_ray.run.tombstones import (
    ERASURES,
    HONOURED,
    MARKERS,
    open_erasures,
    tombstone_folder,
    tombstone_hashes,
)

EDITS = "edits"
FOLDERS = ("titles", "videos", "runs", EDITED, MARKERS)
_ID = re.compile(r"-(?:[0-9a-f]{12}|[0-9a-f]{6})$")  # at the end of the id of a title, video or run


class Checked(NamedTuple):
    """A part of an output that was compared."""

    files: int
    damage: tuple[DamagedError, ...]
    origins: tuple[Origin, ...] = ()


@dataclass(slots=True)
class Verified:
    """What is known of an output.

    Attributes:
        files: Number of files that were compared.
        damage: What is wrong, by path below the output.
        origins: The results of all titles.
    """

    files: int = 0
    damage: dict[str, DamagedError] = field(default_factory=dict)
    origins: list[Origin] = field(default_factory=list)

    def add(self, part: Checked) -> None:
        """Count a part."""
        self.files += part.files
        self.damage |= {error.path: error for error in part.damage}
        self.origins += part.origins


def verify_output(storage: Storage) -> Iterator[Verified]:
    """Compare every file of an output: results, their inputs, plans, records of runs, and pages.

    Yields:
        All that was found so far, after each title, video and run.

    Raises:
        StorageError: Something cannot be read at the moment.
    """
    found = Verified()
    found.add(_check_tops(storage))
    for part in map_in_order(partial(_check_title, storage), storage.names("titles"), THREADS):
        found.add(part)
        yield found
    wanted: dict[str, set[str]] = {}
    for origin in found.origins:
        for folder in (*origin.detect, *origin.track):
            wanted.setdefault(folder.split("/")[1], set()).add(folder)
    videos = sorted({*storage.names("videos"), *wanted})
    for part in map_in_order(partial(_check_video, storage, wanted), videos, THREADS):
        found.add(part)
        yield found
    for part in map_in_order(partial(_check_run, storage), storage.names("runs"), THREADS):
        found.add(part)
        yield found
    found.add(_check_pages(storage))
    yield found


def _check_tops(storage: Storage) -> Checked:
    inspector = Inspector(storage, mend=False)
    for top in FOLDERS:
        _note_file(top, inspector, storage)
    for folder in (MARKERS, ERASURES):
        _check_json(folder, inspector, storage)
    for path in open_erasures(storage):
        why = f"an erasure is not finished: run vcn erase {storage.uri} --resume"
        inspector.note(storage.damaged(path, why))
    return Checked(inspector.files, tuple(inspector.damage.values()))


def _check_json(folder: str, inspector: Inspector, storage: Storage) -> None:
    """Read every JSON file of a folder without a manifest."""
    for name in storage.names(folder):
        if name.endswith(".json"):
            inspector.files += 1
            try:
                storage.find_json(f"{folder}/{name}")
            except DamagedError as error:
                inspector.note(error)


def _note_file(folder: str, inspector: Inspector, storage: Storage) -> None:
    """Enter a plain file that stands in the place of a folder; the next run renames it."""
    if storage.exists(folder):
        inspector.note(storage.damaged(folder, "it is a file where a folder belongs"))


def _names(home: str, inspector: Inspector, storage: Storage) -> list[str]:
    """What is directly below a title or video; nothing where a file stands in its place."""
    names = storage.names(home)
    if not names and _ID.search(home):
        _note_file(home, inspector, storage)
    return names


def _manifest(folder: str, inspector: Inspector, storage: Storage) -> dict[str, Any] | None:
    """The manifest of a step; None where it is not committed, damaged, or a file in its place."""
    manifest = inspector.manifest(folder)
    if manifest is None:
        _note_file(folder, inspector, storage)
    return manifest


def _check_title(storage: Storage, title_id: str) -> Checked:
    inspector, folder = Inspector(storage, mend=False, deep=True), f"titles/{title_id}"
    names = _names(folder, inspector, storage)
    pointer = _read_pointer(folder, inspector, storage) if LATEST in names else None
    origins: list[Origin] = []
    committed = False
    _check_edits(title_id, names, inspector, storage)
    for name in names:
        if not name.startswith(("adapt-", "cluster-")):
            continue
        manifest = _manifest(f"{folder}/{name}", inspector, storage)
        committed |= name.startswith("cluster-") and manifest is not None
        if manifest is None and name == pointer and storage.names(f"{folder}/{name}"):
            _note_missing(f"{folder}/{name}", inspector, storage)
        if name.startswith("cluster-"):
            origins += read_origins(title_id, name, name == pointer, manifest, storage)
    if pointer and pointer not in names:
        _note_missing(f"{folder}/{pointer}", inspector, storage)
    if committed and LATEST not in names:
        inspector.note(storage.damaged(f"{folder}/{LATEST}", "it is missing"))
    for origin in origins:  # a user may delete a whole folder, but not its manifest alone
        if storage.names(origin.adapt):
            _note_missing(origin.adapt, inspector, storage)
    return Checked(inspector.files, tuple(inspector.damage.values()), tuple(origins))


def _check_edits(title_id: str, folders: list[str], inspector: Inspector, storage: Storage) -> None:
    """Compare the corrections of a title, the file that says that there are any, and its tables."""
    for folder in folders:
        if folder.startswith(REVIEWED):
            _manifest(f"titles/{title_id}/{folder}", inspector, storage)
    names = edit_names(storage, title_id) if EDITS in folders else []
    if not names:
        return
    log = EditLog(storage, title_id)
    log.read(tuple(names))
    for name, why in log.damaged.items():
        advice = "it cannot be made again: restore it from a backup, or remove it"
        inspector.note(DamagedError(f"{edits_folder(title_id)}/{name}", f"{why}; {advice}"))
    inspector.files += len(names) + 1
    marker = marker_path(title_id)
    try:
        if storage.find_json(marker) is None:
            inspector.note(storage.damaged(marker, "it is missing"))
    except DamagedError as error:
        inspector.note(error)


def _read_pointer(folder: str, inspector: Inspector, storage: Storage) -> str | None:
    """The name of a title's newest result; None where the pointer is damaged."""
    inspector.files += 1
    try:
        return str(storage.read_json(f"{folder}/{LATEST}")["result"])
    except DamagedError as error:
        inspector.note(error)
        return None


def _note_missing(folder: str, inspector: Inspector, storage: Storage) -> None:
    path = f"{folder}/{MANIFEST}"
    if not storage.exists(path):
        inspector.note(storage.damaged(path, "it is missing"))


def _check_video(storage: Storage, wanted: dict[str, set[str]], video_id: str) -> Checked:
    inspector, home = Inspector(storage, mend=False, deep=True), f"videos/{video_id}"
    names = _names(home, inspector, storage)
    erased = tombstone_hashes(video_id, storage) if HONOURED in names else ()
    if erased:
        _check_json(tombstone_folder(video_id), inspector, storage)
    for name in names:
        if name.startswith("plan-"):
            inspector.files += 1
            try:
                storage.find_json(f"{home}/{name}")
            except DamagedError as error:
                inspector.note(error)
        elif name.startswith(("detect-", "track-")):
            _check_folder(f"{home}/{name}", inspector, storage, erased)
    for folder in sorted(wanted.get(video_id, ())):
        # Detections may be deleted once they are tracked, but then all of a folder.
        if "/track-" in folder or posixpath.basename(folder) in names:
            _note_missing(folder, inspector, storage)
    return Checked(inspector.files, tuple(inspector.damage.values()))


def _check_folder(
    folder: str, inspector: Inspector, storage: Storage, erased: tuple[str, ...]
) -> None:
    """Compare a folder of a video; of one that is not finished, or damaged, the segments too."""
    entries = storage.entries(folder)
    manifest = inspector.manifest(folder) if MANIFEST in entries else None
    if manifest is not None:
        inspector.is_honoured(folder, manifest, erased)
        return
    if not entries:
        _note_file(folder, inspector, storage)
    for name in sorted(entries):
        if name.startswith("seg-") and name.endswith(".json"):
            inspector.marks(folder, name, entries, erased)


def _check_run(storage: Storage, run_id: str) -> Checked:
    inspector, folder = Inspector(storage, mend=False, deep=True), f"runs/{run_id}"
    entries = storage.entries(folder)
    if RECORD in entries:
        inspector.marks(folder, RECORD, entries)
    elif entries:
        inspector.note(storage.damaged(f"{folder}/{RECORD}", "it is missing"))
    elif _ID.search(run_id):
        _note_file(folder, inspector, storage)
    return Checked(inspector.files, tuple(inspector.damage.values()))


def _check_pages(storage: Storage) -> Checked:
    try:
        listed = storage.find_json(PAGES)
    except DamagedError as error:
        return Checked(1, (error,))
    if listed is None:
        lost = storage.damaged(PAGES, "it is missing")
        return Checked(0, (lost,) if storage.exists("index.html") else ())
    damage = []
    for path, record in listed[FILES].items():
        data = storage.find_bytes(path)
        if data is None or record_of(data) != record:
            damage.append(storage.damaged(path, "its bytes are not those that were written"))
    return Checked(len(listed[FILES]) + 1, tuple(damage))
