"""What an erasure has to do, as a record that is stored before anything is removed.

    erasures/<id>.open.json

It holds all that a second call needs after a kill, and it is removed at the end: tracks by id, the
hashes of the pictures to search for, boxes by time; no picture, no embedding and no name.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from vcn_ray.io.identity import digest
from vcn_ray.io.storage import Storage
from vcn_ray.rows.tombstones import Spans
from vcn_ray.rows.without import FrameRange
from vcn_ray.run.tombstones import ERASURES, OPEN, open_erasures


@dataclass(frozen=True, slots=True)
class TrackWork:
    """Faces to remove from the tracks of a video, and from the detections they were made of."""

    video_id: str
    track: str  # folder, below the output
    detect: str
    ranges: tuple[FrameRange, ...]
    loose: bool = False  # remove every face without a track: nobody could compare them


@dataclass(frozen=True, slots=True)
class TitleWork:
    """Tracks to remove from the newest result of a title."""

    title_id: str
    cluster: str  # folder, below the output
    adapt: str
    videos: tuple[str, ...]  # ids, in the order in which people watch them
    tracks: int  # of the result, before
    drop: tuple[str, ...]  # ids of the tracks to remove
    rows: tuple[int, ...]  # their rows
    erased: tuple[str, ...]  # tombstones of its videos


@dataclass(frozen=True, slots=True)
class Tombstone:
    """Where the erased are seen in a video."""

    video_id: str
    name: str  # the hash
    spans: Spans


@dataclass(frozen=True, slots=True)
class Order:
    """An erasure.

    Attributes:
        persons: Title id and person id of each.
        by: Who asked for it; may be empty.
        reason: Why; may be empty.
        began: ISO 8601, UTC.
        tombstones: One for each video.
        tracks: Folders of videos to rewrite.
        titles: Results to rewrite.
        lost: Ids of titles whose newest result is removed, because it cannot be rewritten.
        holders: Ids of all titles of which something is rewritten or removed.
        pages: Whether pages are written again at the end.
        pictures: SHA-256 of each picture that is removed.
        before: Size and SHA-256 of each file that may change, by path below the output.
        remarks: Lines for people.
    """

    persons: tuple[tuple[str, str], ...]
    by: str
    reason: str
    began: str
    tombstones: tuple[Tombstone, ...]
    tracks: tuple[TrackWork, ...]
    titles: tuple[TitleWork, ...]
    lost: tuple[str, ...]
    holders: tuple[str, ...]
    pages: bool
    pictures: tuple[str, ...]
    before: dict[str, dict[str, Any]]
    remarks: tuple[str, ...]

    @property
    def erasure_id(self) -> str:
        """The hash of whom it erases, where."""
        return digest("erasure", self.persons, [stone.name for stone in self.tombstones])

    @property
    def path(self) -> str:
        """Where it is stored while it is not finished."""
        return f"{ERASURES}/{self.erasure_id}{OPEN}"

    @property
    def receipt(self) -> str:
        """Where its receipt is stored."""
        return f"{ERASURES}/{self.erasure_id}.json"

    @property
    def videos(self) -> tuple[str, ...]:
        """Ids of the videos in which the erased are seen."""
        return tuple(stone.video_id for stone in self.tombstones)

    @property
    def stone(self) -> dict[str, str]:
        """The hash of the tombstone of each video."""
        return {stone.video_id: stone.name for stone in self.tombstones}

    @property
    def drop(self) -> frozenset[str]:
        """Ids of all tracks to remove."""
        return frozenset(name for title in self.titles for name in title.drop)


def order_as_json(order: Order) -> dict[str, Any]:
    """The order as JSON holds it."""
    return asdict(order)


def order_from_json(content: dict[str, Any]) -> Order:
    """The order of `order_as_json`."""
    tracks = [
        TrackWork(**work | {"ranges": tuple(FrameRange(*part) for part in work["ranges"])})
        for work in content["tracks"]
    ]
    texts = ("lost", "holders", "pictures", "remarks")
    return Order(
        **content
        | {name: tuple(content[name]) for name in texts}
        | {
            "persons": tuple((title, person) for title, person in content["persons"]),
            "tombstones": tuple(Tombstone(**stone) for stone in content["tombstones"]),
            "tracks": tuple(tracks),
            "titles": tuple(TitleWork(**_tuples(work)) for work in content["titles"]),
        }
    )


def _tuples(content: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in content.items()}


def stored_orders(storage: Storage) -> list[Order]:
    """The erasures that are not finished.

    Raises:
        DamagedError: One is damaged.
    """
    return [order_from_json(storage.read_json(path)) for path in open_erasures(storage)]
