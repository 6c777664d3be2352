"""What the results of a title were made of, and how; it compares nothing and changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from vcn_ray.io.catalog import CatalogVideo
from vcn_ray.io.storage import MANIFEST, Storage
from vcn_ray.run.summary import ORIGIN

LATEST = "latest.json"
"""Names the newest result of a title, in the folder of the title."""


@dataclass(frozen=True, slots=True)
class Origin:
    """A result, what it was made of and how."""

    title_id: str
    folder: str  # of the result, below the output
    changed: float  # time stamp of its last file
    latest: bool  # whether the title's pointer names it
    title: str
    named: bool  # by a manifest of the catalog
    uris: tuple[str, ...]  # of its videos, in order
    detect: tuple[str, ...]  # folders, by video
    track: tuple[str, ...]
    adapt: str
    settings: str  # TOML

    @property
    def folders(self) -> set[str]:
        """All folders that it is made of, and its own."""
        return {self.folder, self.adapt, *self.detect, *self.track}

    def catalog(self) -> list[CatalogVideo]:
        """Its videos as a catalog lists them."""
        return [CatalogVideo(uri, self.title if self.named else None) for uri in self.uris]


def read_origins(
    title_id: str, name: str, latest: bool, manifest: dict[str, Any] | None, storage: Storage
) -> Iterator[Origin]:
    """What a result was made of, by its manifest or else its summary; nothing if both are lost."""
    folder = f"titles/{title_id}/{name}"
    if manifest is None and not latest and not storage.exists(f"{folder}/{MANIFEST}"):
        return  # a run was killed before it finished
    content = manifest
    for file in (MANIFEST, "result.json"):
        if content is None:
            content = storage.find_sound_json(f"{folder}/{file}")
    if content is None:
        return
    origin = content[ORIGIN]
    yield Origin(
        title_id=title_id,
        folder=folder,
        changed=max((e.changed for e in storage.entries(folder).values()), default=0.0),
        latest=latest,
        title=origin["title"],
        named=origin["named"],
        uris=tuple(origin["uris"]),
        detect=tuple(origin["detect"]),
        track=tuple(origin["track"]),
        adapt=origin["adapt"],
        settings=origin["settings"],
    )
