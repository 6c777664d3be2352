"""Films to measure on: tracks of crops whose people are known, and parts of such films.

A film is a file that ../shared/bench/make_tracks.py made. Its labels are used for scores only.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from vcn_ray.core.track import cannot_link_pairs
from vcn_ray.records import F32, I64, Mask, TitleCrops

CROPS_AT_ONCE = 256


@dataclass(frozen=True, eq=False)
class Film:
    """A title whose people are known."""

    name: str
    title: TitleCrops
    truth: I64  # (k,) identity of each track
    scene: I64  # (k,) scene of each track, rising

    @cached_property
    def content(self) -> str:
        """Hash of everything that a measurement depends on, without the labels."""
        title = self.title
        result = hashlib.sha256(repr(title.crops.shape).encode())
        for part in (title.crops, title.track, title.cannot_link):
            result.update(np.ascontiguousarray(part).data)
        return result.hexdigest()

    @property
    def co_occurring(self) -> float:
        """Fraction of all pairs of tracks that are seen in one frame."""
        tracks = self.title.tracks
        return len(self.title.cannot_link) / max(tracks * (tracks - 1) // 2, 1)


def load_film(path: Path) -> Film:
    data = np.load(path)
    track, truth = data["track"].astype(np.int64), data["label"].astype(np.int64)
    cannot_link = cannot_link_pairs(data["frame"].astype(np.int64), track)
    title = TitleCrops(data["crops"], track, cannot_link)
    return Film(path.stem, title, truth, data["scene"].astype(np.int64))


def keep_tracks(film: Film, tracks: I64, name: str) -> Film:
    """The same film with these tracks only; their numbers rise."""
    place = np.full(film.title.tracks, -1)
    place[tracks] = np.arange(len(tracks))
    rows = place[film.title.track] >= 0
    pairs = place[film.title.cannot_link]
    title = TitleCrops(
        film.title.crops[rows],
        place[film.title.track[rows]],
        pairs[(pairs >= 0).all(axis=1)],
        _some(film.title.score, rows),
    )
    return Film(name, title, film.truth[tracks], film.scene[tracks])


def keep_crops(film: Film, rows: Mask, name: str) -> Film:
    """The same tracks with these crops (m,) only, at least one of each track.

    The pairs of tracks in one frame stay: a video has more frames than crops.
    """
    title = replace(
        film.title,
        crops=film.title.crops[rows],
        track=film.title.track[rows],
        score=_some(film.title.score, rows),
    )
    return replace(film, name=name, title=title)


def _some(score: F32 | None, rows: Mask) -> F32 | None:
    return None if score is None else score[rows]


def place_in_track(track: I64) -> I64:
    """(m,) number 0, 1, ... of each crop within its track, in row order."""
    order = np.argsort(track, kind="stable")
    crops = np.bincount(track)
    place = np.empty(len(track), np.int64)
    place[order] = np.arange(len(track)) - np.repeat(np.cumsum(crops) - crops, crops)
    return place


def thin_crops(film: Film, max_crops: int) -> Film:
    """The same film with at most `max_crops` crops of each track, evenly spaced."""
    track = film.title.track
    crops = np.bincount(track)[track]
    place = place_in_track(track)
    # A crop is kept where the running count of `max_crops` in `crops` takes a step.
    kept = (place * max_crops) // crops != ((place - 1) * max_crops) // crops
    return keep_crops(film, kept | (crops <= max_crops), f"{film.name}, {max_crops} crops")


def even_crops(film: Film) -> Mask:
    """(m,) true for the first, third, ... crop of each track."""
    even: Mask = place_in_track(film.title.track) % 2 == 0
    return even


def shrink(film: Film, pixels: int) -> Film:
    """The same film with each crop shrunk to `pixels` a side and enlarged again."""
    crops = torch.from_numpy(film.title.crops)
    side = crops.shape[1]
    parts = []
    for some in torch.split(crops, CROPS_AT_ONCE):
        small = functional.interpolate(some.permute(0, 3, 1, 2).float(), size=pixels, mode="area")
        large = functional.interpolate(small, size=side, mode="bilinear", align_corners=False)
        parts.append(large.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1))
    title = replace(film.title, crops=torch.cat(parts).contiguous().numpy())
    return replace(film, name=f"{film.name} at {pixels} px", title=title)


def make_film(shared: Path, out: Path, **settings: float) -> Path:
    """Make a film of the photographs in the folder `shared`, unless it exists already.

    Args:
        shared: Folder with bench/make_tracks.py, data/faces and models/yunet.
        out: File to write.
        settings: Options of make_tracks.py: seed, cast, tracks, extras.
    """
    if not out.exists():
        words = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
        script = shared / "bench" / "make_tracks.py"
        faces, detector = shared / "data/faces", shared / "models/yunet/yunet_n_dynamic.onnx"
        words += ["--faces", str(faces), "--detector", str(detector), "--out", str(out)]
        subprocess.run([sys.executable, str(script), *words], check=True, stdout=sys.stderr)
    return out
