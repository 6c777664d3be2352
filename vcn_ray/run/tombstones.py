"""Which videos have tombstones of erased persons, and which folders were made with them.

    erased/<video_id>.json                   says that a video has tombstones: one listing finds all
    videos/<video_id>/erased/<hash>.json     boxes by time
    erasures/<id>.open.json                  an erasure that is not finished
    erasures/<id>.json                       the receipt of one that is

Keys of folders do not depend on tombstones, so that what an erasure has rewritten counts as done.
Instead, the manifest of each folder of such a video, and of its titles, names the tombstones that
it was made with. A folder whose manifest lacks one, as in a copy from before, does not count.

A copy of a video with another name has another id with the same hash, and the same tombstones.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from vcn_ray.errors import UsageError
from vcn_ray.io.identity import hash_part
from vcn_ray.io.storage import Storage
from vcn_ray.rows.tombstones import Span, span_from_json

MARKERS = "erased"
HONOURED = "erased"  # key of a manifest: hashes of tombstones
ERASURES = "erasures"
OPEN = ".open.json"
SUFFIX = ".json"


def tombstone_folder(video_id: str) -> str:
    """Where the tombstones of a video are, below the output."""
    return f"videos/{video_id}/erased"


def tombstone_hashes(video_id: str, storage: Storage) -> tuple[str, ...]:
    """The hashes of a video's tombstones, in order."""
    names = storage.names(tombstone_folder(video_id))
    return tuple(
        name.removesuffix(SUFFIX)
        for name in names
        if name.endswith(SUFFIX) and not name.startswith(".")
    )


@dataclass(slots=True)
class ErasedVideos:
    """The tombstones of a catalog; of a video without any, storage is not asked.

    Args:
        storage: The output.
        videos: Ids of the videos that have tombstones.
    """

    storage: Storage
    videos: frozenset[str]
    _known: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _copies: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for video_id in sorted(self.videos):
            self._copies.setdefault(hash_part(video_id), []).append(video_id)

    @classmethod
    def read(cls, storage: Storage) -> ErasedVideos:
        """List the videos that have tombstones: one request for each 1,000 of them."""
        names = storage.names(MARKERS)
        return cls(storage, frozenset(n.removesuffix(SUFFIX) for n in names if n[0] != "."))

    def of(self, video_id: str) -> tuple[str, ...]:
        """The hashes of a video's tombstones.

        Raises:
            StorageError: They cannot be listed.
            DamagedError: There are none, though there should be.
        """
        found: set[str] = set()
        for copy in self._copies.get(hash_part(video_id), ()):
            if copy not in self._known:
                self._known[copy] = tombstone_hashes(copy, self.storage)
                if not self._known[copy]:
                    why = "a person was erased from this video, and the tombstone is missing"
                    raise self.storage.damaged(tombstone_folder(copy), why)
            found.update(self._known[copy])
        return tuple(sorted(found))


def read_spans(video_id: str, hashes: Iterable[str], storage: Storage) -> list[Span]:
    """What the tombstones of a video say.

    Raises:
        DamagedError: One is missing or damaged: nothing may be found in the video without it.
    """
    return [
        span_from_json(span)
        for name in hashes
        for span in _read_tombstone(video_id, f"{name}{SUFFIX}", storage)["spans"]
    ]


def _read_tombstone(video_id: str, name: str, storage: Storage) -> dict[str, Any]:
    """A tombstone of a video, which may lie with a copy of it."""
    path = f"{tombstone_folder(video_id)}/{name}"
    found = storage.find_json(path)
    if found is None:
        for other in ErasedVideos.read(storage).videos:
            if found is None and hash_part(other) == hash_part(video_id):
                found = storage.find_json(f"{tombstone_folder(other)}/{name}")
    if found is None:
        raise storage.damaged(path, "it is missing")
    return found


def honours(manifest: dict[str, Any], erased: Iterable[str]) -> bool:
    """True where a folder was made with all of some tombstones."""
    return set(erased) <= set(manifest.get(HONOURED, ()))


def honoured(erased: Iterable[str]) -> dict[str, list[str]]:
    """What a manifest says of the tombstones that its folder was made with; nothing without any."""
    names = sorted(set(erased))
    return {HONOURED: names} if names else {}


def open_erasures(storage: Storage) -> list[str]:
    """Paths of the erasures that are not finished."""
    names = storage.names(ERASURES)
    return [f"{ERASURES}/{name}" for name in names if name.endswith(OPEN) and name[0] != "."]


def check_no_open_erasure(storage: Storage) -> None:
    """Make sure that no erasure was interrupted.

    Raises:
        UsageError: One was.
    """
    if open_erasures(storage):
        raise UsageError(
            f"an erasure in {storage.uri} is not finished: run vcn erase {storage.uri} --resume"
        )
