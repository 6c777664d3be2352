"""Which pictures, tracks and merges a page shows; it knows nothing of time axes or HTML.

Pictures are the cut-outs made for people; a title without any shows its aligned crops. They are
ranked by how well the face can be recognised and chosen evenly over time. The album takes them in
order of importance until the byte budget of the page is spent, and counts those it leaves out.
Every track is on the page: the second part of a long list is folded.
"""

from __future__ import annotations

import base64
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vcn_ray.core.pictures import picture_value
from vcn_ray.io.tables import read_boxes

MAX_IMAGE_BYTES = 9_000_000
"""Base64 text of all pictures of a page, so that pages stay under about 15 MB and open quickly."""

CARD_FACES = 8
"""Faces on a person's card beside the cover."""

STRIP_FACES = 8
"""Crops of one track in the detail panel."""

MAX_TRACKS_LISTED = 80
"""Tracks of one person in the detail panel: the longest ones; the others are folded below them."""

MAX_MERGES_LISTED = 80
"""Merges of one person in the detail panel: those nearest to their limit."""

MAX_OUTSIDE_LISTED = 60
"""Tracks in each section of tracks of nobody: the best ones; the others are folded below them."""

Row = dict[str, Any]
"""A row of the tracks, people or merges table."""

CropKey = tuple[str, int]
"""Track id and frame number of a crop."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Crop:
    """A face that has a picture."""

    key: CropKey
    seconds: float
    value: float  # larger: easier to recognise
    row: int  # in the crops table


class Listed(NamedTuple):
    """Tracks of a section of the page."""

    shown: list[Row]
    folded: list[Row]


@dataclass(frozen=True, slots=True)
class Choice:
    """What the page shows of a person."""

    person: Row
    tracks: list[Row]  # all of them, in order of time
    cover: Crop | None
    faces: list[Crop]  # best first
    listed: Listed  # the longest tracks and the others, both in order of time
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
    _pictures: pa.ChunkedArray = field(init=False)

    def __post_init__(self) -> None:
        self._pictures = self.crops[picture_column(self.crops)]

    def add(self, crops: Iterable[Crop]) -> None:
        """Add crops, most important first, as far as the budget allows."""
        for crop in crops:
            if crop.key in self._numbers or crop.key in self._refused:
                continue
            image = base64.b64encode(self._pictures[crop.row].as_py()).decode("ascii")
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
        return self.number(self.best(track_id))

    def best(self, track_id: str) -> Crop | None:
        """Return the best face of a track with a picture on the page; None if there is none."""
        return best_crop([c for c in self.by_track.get(track_id, []) if c.key in self._numbers])


def picture_column(crops: pa.Table) -> str:
    """Return the column with a title's pictures: its aligned crops only if it has no others."""
    return "face" if crops["face"].null_count < crops.num_rows else "image"


def read_crops(crops: pa.Table) -> dict[str, list[Crop]]:
    """Return the faces that have a picture, by track, in order of time.

    Args:
        crops: Schema CROPS; rows without a picture are skipped.
    """
    pictured = pc.is_valid(crops[picture_column(crops)]).to_numpy(zero_copy_only=False)
    rows = np.flatnonzero(pictured)
    columns = {
        name: crops[name].to_numpy(zero_copy_only=False)[rows]
        for name in ("frame", "seconds", "score", "sharpness", "frontality")
    }
    frontality = np.nan_to_num(columns["frontality"].astype(np.float32))  # null in older tables
    boxes = read_boxes(crops)[rows]
    value = picture_value(boxes, columns["score"], columns["sharpness"], frontality)
    track_ids = crops["track_id"].take(pa.array(rows, pa.int64())).to_pylist()
    by_track: dict[str, list[Crop]] = {}
    for i in np.argsort(columns["frame"], kind="stable"):
        key = (track_ids[i], int(columns["frame"][i]))
        crop = Crop(key, float(columns["seconds"][i]), float(value[i]), int(rows[i]))
        by_track.setdefault(key[0], []).append(crop)
    return by_track


def best_crop(crops: Sequence[Crop]) -> Crop | None:
    """Return the face that is easiest to recognise; the earliest of equals."""
    return max(crops, key=lambda crop: crop.value, default=None)


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


def best_first(tracks: Iterable[Row]) -> Listed:
    """Return tracks of nobody by falling quality."""
    ranked = sorted(tracks, key=lambda row: -row["quality"])
    return Listed(ranked[:MAX_OUTSIDE_LISTED], ranked[MAX_OUTSIDE_LISTED:])


def strip(album: Album, track_id: str) -> list[Crop]:
    """Return the faces that show a track, best first."""
    crops = sample_evenly(album.by_track.get(track_id, []), STRIP_FACES)
    return sorted(crops, key=lambda crop: -crop.value)


def fill_album(album: Album, choices: Sequence[Choice], outside: Sequence[Listed]) -> None:
    """Add every picture that the page can show to the album, most important first.

    The order is: covers; one face of each track of nobody that is shown; the faces of the cards;
    one face of every track in a detail panel or a merge; one face of every other track, for the
    timelines and the folded lists; the other pictures of the tracks that are shown.
    """
    album.add(choice.cover for choice in choices if choice.cover is not None)
    strips = [strip(album, row["track_id"]) for listed in outside for row in listed.shown]
    album.add(_by_rank(strips, 1))
    album.add(_by_rank([choice.faces for choice in choices], CARD_FACES))
    for choice in choices:
        strips += [strip(album, row["track_id"]) for row in choice.listed.shown]
    album.add(_by_rank(strips, 1))
    in_merges = [
        merge[side]
        for choice in choices
        for merge in choice.merges
        for side in ("left_track_id", "right_track_id")
    ]
    in_timelines = [row["track_id"] for choice in choices for row in choice.tracks]
    of_nobody = [row["track_id"] for listed in outside for row in listed.folded]
    album.add_one_per_track([*in_merges, *in_timelines, *of_nobody])
    album.add(_by_rank(strips, STRIP_FACES))


def _closeness(merge: Row) -> float:
    """Return the distance of a merge as a fraction of its limit; 0 if it has none."""
    limit = merge_limit(merge)
    return float(merge["distance"] / limit) if math.isfinite(limit) and limit > 0 else 0.0


def _longest(tracks: Sequence[Row], count: int) -> Listed:
    """Return the longest tracks and the others, in the order given."""
    ranked = sorted(tracks, key=lambda row: row["start_seconds"] - row["end_seconds"])[:count]
    kept = {row["track_id"] for row in ranked}
    return Listed(
        shown=[row for row in tracks if row["track_id"] in kept],
        folded=[row for row in tracks if row["track_id"] not in kept],
    )


def _by_rank(rows: Sequence[Sequence[Crop]], count: int) -> list[Crop]:
    """Return the first of every row, then the second of every row, and so on."""
    return [row[rank] for rank in range(count) for row in rows if rank < len(row)]


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

    def rank(crop: Crop) -> float:
        return float(quality[crop.key[0]] * crop.value)

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
