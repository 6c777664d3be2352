"""Which titles hold anything made of some videos; it reads pointers and manifests, no tables."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import partial

from vcn_ray.io.storage import MANIFEST, Storage
from vcn_ray.run.origins import LATEST
from vcn_ray.run.parallel import THREADS, map_in_order
from vcn_ray.run.rewrite import BEFORE
from vcn_ray.run.summary import ORIGIN

EDITS = "edits"


@dataclass(frozen=True, slots=True)
class Holding:
    """The folders of a title, and of which videos each was made."""

    title_id: str
    names: tuple[str, ...]  # of all that is directly in its folder
    newest: str  # name of the newest result's folder; empty where that is not known
    videos: dict[str, frozenset[str] | None]  # by name of a step's folder; None: nobody knows

    def holds(self, name: str, videos: Collection[str]) -> bool:
        """True unless a folder was certainly made without some videos."""
        made_of = self.videos[name]
        return made_of is None or not made_of.isdisjoint(videos)

    def touched(self, videos: Collection[str]) -> list[str]:
        """Names of its folders that may have been made with some videos."""
        return [name for name in self.videos if self.holds(name, videos)]


def find_holdings(storage: Storage, videos: Collection[str]) -> Iterator[Holding]:
    """The titles that hold anything of some videos, or edits."""
    titles = storage.names("titles")
    for holding in map_in_order(partial(read_holding, storage), titles, THREADS):
        if holding.touched(videos) or EDITS in holding.names:
            yield holding


def read_holding(storage: Storage, title_id: str) -> Holding:
    """The folders of a title."""
    home = f"titles/{title_id}"
    names = tuple(storage.names(home))
    latest = storage.find_sound_json(f"{home}/{LATEST}") if LATEST in names else None
    newest = str(latest["result"]) if latest else ""
    steps = [name for name in names if name.startswith(("cluster-", "adapt-"))]
    if latest and len(steps) == len({name.partition("-")[0] for name in steps}):
        known = frozenset(latest["uris"])  # one folder of each step: of the newest result
        return Holding(title_id, names, newest, dict.fromkeys(steps, known))
    made_of = {name: _made_of(f"{home}/{name}", storage) for name in steps}
    if latest and newest in made_of and made_of[newest] is None:
        made_of[newest] = frozenset(latest["uris"])
    return Holding(title_id, names, newest, made_of)


def _made_of(folder: str, storage: Storage) -> frozenset[str] | None:
    """Ids of the videos that a folder was made of; None where that cannot be read."""
    manifest = storage.find_sound_json(f"{folder}/{MANIFEST}")
    if manifest is None:
        manifest = storage.find_sound_json(f"{folder}/{BEFORE}")
    tracks = None
    if manifest is not None:
        tracks = manifest[ORIGIN]["track"] if ORIGIN in manifest else manifest.get("tracks")
    return None if tracks is None else frozenset(track.split("/")[1] for track in tracks)
