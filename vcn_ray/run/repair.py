"""Uncommits what is damaged of an output, so that a run over the same titles makes it again.

What is damaged, `verify` has found; this runs nothing.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from vcn_ray.edits.store import EDITED, write_marker
from vcn_ray.io.committed import FILES
from vcn_ray.io.storage import MANIFEST, Storage
from vcn_ray.run.damage import uncommit
from vcn_ray.run.origins import LATEST, Origin
from vcn_ray.run.record import RECORD
from vcn_ray.run.reviewed import REVIEWED, remove_reviewed
from vcn_ray.run.tombstones import MARKERS
from vcn_ray.run.verify import EDITS, Verified


@dataclass(slots=True)
class Repair:
    """What has to be made again after damage was uncommitted.

    Attributes:
        rounds: Results to make again, those that become the newest of their titles last.
        pages: Whether the pages have to be written again.
        corrected: Ids of titles whose tables after all corrections have to be.
    """

    rounds: list[list[Origin]] = field(default_factory=list)
    pages: bool = False
    corrected: set[str] = field(default_factory=set)


def uncommit_damage(found: Verified, storage: Storage) -> Repair:
    """Uncommit all that is damaged, and say what to make again.

    Whatever is made of a damaged folder directly is uncommitted too, so that a run comes to it; it
    gives the same rows. The record of a run cannot be made again: what is damaged of it is removed.
    """
    repair, folders, pointers = Repair(), set(), set()
    for path in found.damage:
        top, _, rest = path.partition("/")
        folder, name = posixpath.split(path)
        if _is_of_edits(path):
            _mend_edits(path, repair, storage)
        elif top == MARKERS:  # its name says it all
            storage.write_json(path, {"video_id": posixpath.splitext(name)[0]})
        elif not posixpath.splitext(name)[1]:  # a file where a folder belongs: a run renames it
            folders.add(path)
        elif top == "runs":
            _remove_record(folder, name, storage)
        elif top not in ("videos", "titles") or name == "report.html":
            repair.pages = True
        elif name == LATEST:
            storage.delete(path)
            pointers.add(rest.partition("/")[0])
        elif name.startswith("plan-"):
            storage.delete(path)
        else:
            uncommit(path, storage)
            folders.add(folder)
    hurt = [o for o in found.origins if o.folders & folders or o.title_id in pointers]
    for origin in hurt:
        _uncommit_above(origin, folders, storage)
    titles = {origin.title_id for origin in hurt}
    last = {origin.folder for origin in _newest(found.origins, titles)}
    repair.rounds = [
        sorted(part, key=lambda origin: origin.changed)
        for part in (
            [origin for origin in hurt if origin.folder not in last],
            # Also those that are sound: they become the newest of their titles again.
            [origin for origin in found.origins if origin.folder in last],
        )
        if part
    ]
    return repair


def _is_of_edits(path: str) -> bool:
    parts = path.split("/")
    below = parts[2] if len(parts) > 2 and parts[0] == "titles" else ""
    marker = parts[0] == EDITED and len(parts) > 1
    return marker or below == EDITS or below.startswith(REVIEWED)


def _mend_edits(path: str, repair: Repair, storage: Storage) -> None:
    """Make again what is known; a correction is a decision of a person, and nothing else has it."""
    folder, name = posixpath.split(path)
    if folder == EDITED:
        write_marker(storage, posixpath.splitext(name)[0])
    elif f"/{REVIEWED}" in path:
        remove_reviewed(path if name.startswith(REVIEWED) else folder, storage)
        repair.corrected.add(path.split("/")[1])


def _remove_record(folder: str, name: str, storage: Storage) -> None:
    """Remove a table of a run's record; without `run.json`, nothing of it can be trusted."""
    storage.delete(f"{folder}/{name}")
    record = storage.find_json(f"{folder}/{RECORD}") if name != RECORD else None
    if record is None:
        for file in storage.names(folder):
            storage.delete(f"{folder}/{file}")
        return
    record[FILES].pop(name, None)
    storage.write_json(f"{folder}/{RECORD}", record)


def _uncommit_above(origin: Origin, damaged: set[str], storage: Storage) -> None:
    """Uncommit what is made directly of damaged folders."""
    for detect, track in zip(origin.detect, origin.track, strict=True):
        if detect in damaged:
            storage.delete(f"{track}/{MANIFEST}")
    if origin.adapt in damaged:
        storage.delete(f"{origin.folder}/{MANIFEST}")


def _newest(origins: Iterable[Origin], titles: set[str]) -> Iterator[Origin]:
    """The result of each title that its pointer names, or else the last one."""
    best: dict[str, Origin] = {}
    for origin in origins:
        if origin.title_id in titles:
            known = best.setdefault(origin.title_id, origin)
            if (origin.latest, origin.changed) > (known.latest, known.changed):
                best[origin.title_id] = origin
    yield from best.values()
