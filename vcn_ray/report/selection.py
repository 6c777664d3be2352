"""Which crops, tracks and merges a page shows; it knows nothing of time axes or HTML.

Crops are ranked by size and sharpness and chosen evenly over time. The album takes them in order of
importance until the byte budget of the page is spent, and counts those it leaves out.
"""

from __future__ import annotations

import base64
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vcn_ray.schema import BOX_COLUMNS

MAX_IMAGE_BYTES = 9_000_000
"""Base64 text of all pictures of a page, so that pages stay under about 15 MB and open quickly."""

CARD_FACES = 8
"""Faces on a person's card beside the cover."""

STRIP_FACES = 8
"""Crops of one track in the detail panel."""

MAX_TRACKS_LISTED = 80
"""Tracks of one person in the detail panel: the longest ones."""

MAX_MERGES_LISTED = 80
"""Merges of one person in the detail panel: those nearest to their limit."""

MAX_UNKNOWN_LISTED = 60
"""Unknown tracks on a page: those of the best quality."""

Row = dict[str, Any]
"""A row of the tracks, people or merges table."""

CropKey = tuple[str, int]
"""Track id and frame number of a crop."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Crop:
    """A crop that has a picture."""

    key: CropKey
    seconds: float
    detail: float  # log of side length times sharpness; a larger value shows more of the face
    row: int  # in the crops table


@dataclass(frozen=True, slots=True)
class Choice:
    """What the page shows of a person."""

    person: Row
    tracks: list[Row]  # all of them, in order of time
    cover: Crop | None
    faces: list[Crop]  # best first
    listed: list[Row]  # in order of time
    merges: list[Row]  # in the order they were made
    merges_left_out: int


@dataclass
class Album:
    """The pictures of one page, each embedded once.

    Args:
        crops: Schema CROPS.
        by_track: The result of `read_crops` for that table.
        max_bytes: Of base64 text.
    """

    crops: pa.Table
    by_track: dict[str, list[Crop]]
    max_bytes: int = MAX_IMAGE_BYTES
    left_out: int = 0
    images: list[str] = field(default_factory=list)  # base64 JPEG, by number
    _numbers: dict[CropKey, int] = field(default_factory=dict)
    _refused: set[CropKey] = field(default_factory=set)
    _bytes: int = 0

    def add(self, crops: Iterable[Crop]) -> None:
        """Add crops, most important first, as far as the budget allows."""
        for crop in crops:
            if crop.key in self._numbers or crop.key in self._refused:
                continue
            image = base64.b64encode(self.crops["image"][crop.row].as_py()).decode("ascii")
            if self._bytes + len(image) > self.max_bytes:
                self._refused.add(crop.key)
                self.left_out += 1
                continue
            self._bytes += len(image)
            self._numbers[crop.key] = len(self.images)
            self.images.append(image)

    def add_one_per_track(self, track_ids: Iterable[str]) -> None:
        """Add the best crop of every track that has none yet, as far as the budget allows."""
        for track_id in track_ids:
            crop = best_crop(self.by_track.get(track_id, []))
            if crop and self.best_number(track_id) is None:
                self.add([crop])

    def number(self, crop: Crop | None) -> int | None:
        """Return the number of a crop's picture; None if it was left out."""
        return None if crop is None else self._numbers.get(crop.key)

    def best_number(self, track_id: str) -> int | None:
        """Return the number of the best picture of a track on the page; None if there is none."""
        ranked = sorted(self.by_track.get(track_id, []), key=lambda crop: -crop.detail)
        return next((self._numbers[crop.key] for crop in ranked if crop.key in self._numbers), None)


def read_crops(crops: pa.Table) -> dict[str, list[Crop]]:
    """Return the crops that have a picture, by track, in order of time.

    Args:
        crops: Schema CROPS; rows without `image` are skipped.
    """
    rows = np.flatnonzero(pc.is_valid(crops["image"]).to_numpy(zero_copy_only=False))
    columns = {
        name: crops[name].to_numpy(zero_copy_only=False)[rows]
        for name in ("frame", "seconds", "sharpness", *BOX_COLUMNS)
    }
    area = (columns["x1_pixels"] - columns["x0_pixels"]) * (
        columns["y1_pixels"] - columns["y0_pixels"]
    )
    detail = np.log1p(np.maximum(columns["sharpness"], 0)) + np.log(np.maximum(area, 1)) / 2
    track_ids = crops["track_id"].take(pa.array(rows, pa.int64())).to_pylist()
    by_track: dict[str, list[Crop]] = {}
    for i in np.argsort(columns["frame"], kind="stable"):
        key = (track_ids[i], int(columns["frame"][i]))
        crop = Crop(key, float(columns["seconds"][i]), float(detail[i]), int(rows[i]))
        by_track.setdefault(key[0], []).append(crop)
    return by_track


def best_crop(crops: Sequence[Crop]) -> Crop | None:
    """Return the crop that shows most of the face; the earliest of equals."""
    return max(crops, key=lambda crop: crop.detail, default=None)


def split_evenly(items: Sequence[T], count: int) -> list[Sequence[T]]:
    """Cut a sequence into at most `count` runs of about the same length, none empty."""
    runs = min(count, len(items))
    edges = [len(items) * i // runs for i in range(runs + 1)] if runs else []
    return [items[start:end] for start, end in itertools.pairwise(edges)]


def sample_evenly(crops: Sequence[Crop], count: int) -> list[Crop]:
    """Return up to `count` crops, evenly spaced over the sequence."""
    return [run[len(run) // 2] for run in split_evenly(crops, count)]


def choose(
    person: Row, tracks: list[Row], merges: list[Row], crops: Mapping[str, list[Crop]]
) -> Choice:
    """Choose cover, faces, listed tracks and merges of a person.

    Args:
        person: A row of the people table.
        tracks: The person's tracks in order of time.
        merges: The merges that made the person.
        crops: Track id -> crops with a picture.
    """
    cover = _cover(person, tracks, crops)
    closest = sorted(merges, key=_closeness, reverse=True)[:MAX_MERGES_LISTED]
    return Choice(
        person=person,
        tracks=tracks,
        cover=cover,
        faces=_card_faces(tracks, crops, cover),
        listed=_longest(tracks, MAX_TRACKS_LISTED),
        merges=sorted(closest, key=lambda row: row["number"]),
        merges_left_out=len(merges) - len(closest),
    )


def merge_limit(merge: Row) -> float:
    """Return the limit that decided: the larger one (METHOD 4.4); nan if neither is finite."""
    finite = [
        merge[name] for name in ("left_threshold", "right_threshold") if math.isfinite(merge[name])
    ]
    return max(finite, default=math.nan)


def best_unknown(tracks: Sequence[Row], count: int = MAX_UNKNOWN_LISTED) -> list[Row]:
    """Return the unknown tracks with the best quality, best first."""
    unknown = [row for row in tracks if row["person_id"] is None]
    return sorted(unknown, key=lambda row: -row["quality"])[:count]


def fill_album(album: Album, choices: Sequence[Choice], unknown: Sequence[Row]) -> None:
    """Add every picture that the page can show to the album, most important first.

    The order is: covers; one face of each unknown track; the faces of the cards; one face of every
    track in a detail panel or a merge; one face of every other track, for the timelines; the other
    crops of the listed tracks.
    """
    album.add(choice.cover for choice in choices if choice.cover is not None)
    strips = [
        sample_evenly(album.by_track.get(row["track_id"], []), STRIP_FACES) for row in unknown
    ]
    album.add(_most_central(strips, 1))
    album.add(_most_central([choice.faces for choice in choices], CARD_FACES))
    for choice in choices:
        for row in choice.listed:
            strips.append(sample_evenly(album.by_track.get(row["track_id"], []), STRIP_FACES))
    album.add(_most_central(strips, 1))
    in_merges = [
        merge[side]
        for choice in choices
        for merge in choice.merges
        for side in ("left_track_id", "right_track_id")
    ]
    in_timelines = [row["track_id"] for choice in choices for row in choice.tracks]
    album.add_one_per_track([*in_merges, *in_timelines])
    album.add(_most_central(strips, STRIP_FACES))


def _closeness(merge: Row) -> float:
    """Return the distance of a merge as a fraction of its limit; 0 if it has none."""
    limit = merge_limit(merge)
    return float(merge["distance"] / limit) if math.isfinite(limit) and limit > 0 else 0.0


def _longest(tracks: Sequence[Row], count: int) -> list[Row]:
    """Return the longest tracks, in the order given."""
    ranked = sorted(tracks, key=lambda row: row["start_seconds"] - row["end_seconds"])[:count]
    kept = {row["track_id"] for row in ranked}
    return [row for row in tracks if row["track_id"] in kept]


def _most_central(rows: Sequence[Sequence[Crop]], count: int) -> list[Crop]:
    """Return the middle crop of every row, then the next most central of every row, and so on."""
    central = [[row[i] for i in _from_middle(len(row))] for row in rows]
    return [row[rank] for rank in range(count) for row in central if rank < len(row)]


def _from_middle(length: int) -> list[int]:
    return sorted(range(length), key=lambda i: abs(2 * i - length + 1))


def _cover(person: Row, tracks: Sequence[Row], crops: Mapping[str, list[Crop]]) -> Crop | None:
    key = (person["cover_track_id"], person["cover_crop"])
    for crop in crops.get(key[0], []):
        if crop.key == key:
            return crop
    ranked = sorted(tracks, key=lambda row: -row["quality"])
    with_picture = (row["track_id"] for row in ranked if row["track_id"] in crops)
    return next((best_crop(crops[track_id]) for track_id in with_picture), None)


def _card_faces(
    tracks: Sequence[Row], crops: Mapping[str, list[Crop]], cover: Crop | None
) -> list[Crop]:
    """Choose the best face from each of several runs of the person's shots, best first."""
    quality = {row["track_id"]: row["quality"] for row in tracks}

    def rank(crop: Crop) -> tuple[float, float]:
        return quality[crop.key[0]], crop.detail

    by_shot: dict[tuple[str, str], Crop] = {}
    for row in tracks:
        best = best_crop([crop for crop in crops.get(row["track_id"], []) if crop != cover])
        shot = (row["video_id"], row["shot_id"])
        if best and (shot not in by_shot or rank(best) > rank(by_shot[shot])):
            by_shot[shot] = best
    chosen = [max(run, key=rank) for run in split_evenly(list(by_shot.values()), CARD_FACES)]
    # If the person has few shots, other moments of the same tracks complete the card.
    spare = [
        crop
        for row in tracks
        for crop in sample_evenly(crops.get(row["track_id"], []), CARD_FACES)
        if crop != cover and crop not in chosen
    ]
    missing = CARD_FACES - len(chosen)
    return sorted(chosen, key=rank, reverse=True) + sample_evenly(spare, missing)
