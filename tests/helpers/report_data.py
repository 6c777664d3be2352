"""Made-up titles with real faces, for tests of the report; they need no detector or network."""

from __future__ import annotations

import itertools
from functools import cache
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from tests.helpers import photographs
from vcn_ray.records import U8
from vcn_ray.run.stored import StoredTitle
from vcn_ray.schema import (
    APPEARANCES,
    CROPS,
    MERGES,
    PEOPLE,
    RESULT_TRACKS,
    SCHEMA_VERSION,
    SHOTS,
)

FRAME_RATE = 25.0
PIXELS = 112
CUTOUT = (120, 160)  # width and height of a picture for people
TITLE_ID = "a-title-0123456789ab"
REJECTED = {"small": 412, "crowd": 0, "blurred": 97, "short": 38}

# Faces in insightface's group picture, measured by hand: x y width height.
_GROUP = (
    (463, 269, 107, 143),
    (901, 54, 103, 149),
    (54, 266, 104, 126),
    (1131, 270, 95, 129),
    (745, 344, 102, 132),
    (270, 146, 96, 124),
)
_ASTRONAUT = (178, 64, 91, 111)


@cache
def faces() -> tuple[U8, ...]:
    """Eight square BGR pictures of eight people."""
    six, one, actor = (
        np.ascontiguousarray(photograph[..., ::-1])
        for photograph in (photographs.group(), photographs.portrait(), photographs.actor())
    )
    return (
        *(_square(six, box) for box in _GROUP[:3]),
        _square(one, _ASTRONAUT),
        *(_square(six, box) for box in _GROUP[3:]),
        np.asarray(cv2.resize(actor, (160, 160)), np.uint8),
    )


def _square(picture: U8, box: tuple[int, int, int, int]) -> U8:
    x, y, width, height = box
    side = round(1.3 * max(width, height))
    left, top = x + (width - side) // 2, y + (height - side) // 2
    padded = np.asarray(cv2.copyMakeBorder(picture, 99, 99, 99, 99, cv2.BORDER_REPLICATE), np.uint8)
    return padded[top + 99 : top + 99 + side, left + 99 : left + 99 + side]


def picture(
    person: int, rng: np.random.Generator, blur: float = 0.0, cutout: bool = False
) -> bytes:
    """A crop or a cut-out of one of the eight, lit and turned at random, as JPEG."""
    face = faces()[person % 8]
    if rng.random() < 0.4:
        face = face[:, ::-1]
    half = face.shape[0] / 2
    turn = cv2.getRotationMatrix2D((half, half), rng.normal(0, 7), rng.uniform(0.95, 1.1))
    face = cv2.warpAffine(face, turn, face.shape[1::-1], borderMode=cv2.BORDER_REFLECT)
    if cutout:
        side = face.shape[1] // 8
        face = cv2.resize(face[:, side:-side], CUTOUT, interpolation=cv2.INTER_AREA)
    else:
        face = cv2.resize(face, (PIXELS, PIXELS), interpolation=cv2.INTER_AREA)
    if blur:
        face = cv2.GaussianBlur(face, (0, 0), blur)
    light = np.exp(rng.normal(0, 0.12)) * np.exp(rng.normal(0, 0.05, 3))
    face = np.clip(face * light, 0, 255).astype(np.uint8)
    return cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()


class Title:
    """Builds one title shot by shot, then returns it as stored."""

    def __init__(self, seed: int = 0, looks: int | None = None, cutouts: bool = True) -> None:
        """`looks` limits the pictures made of one person; long films repeat them to save time.

        Without `cutouts`, crops have no pictures for people, as in older outputs.
        """
        self._pool: dict[tuple[int, float, bool, int], bytes] = {}
        self._cutouts = cutouts
        self._cutout_rng = np.random.default_rng(seed + 1000)
        self._looks = looks
        self.rng = np.random.default_rng(seed)
        self.videos: list[dict[str, Any]] = []
        self.shots: list[dict[str, Any]] = []
        self.tracks: list[dict[str, Any]] = []
        self.crops: list[dict[str, Any]] = []

    def add_video(self, name: str, shot_seconds: list[float]) -> list[dict[str, Any]]:
        video_id = f"{name.lower()}-{len(self.videos):012x}"
        edges = np.concatenate([[0.0], np.cumsum(shot_seconds)])
        shots = [
            {
                "video_id": video_id,
                "shot_id": f"s{row:05d}",
                "start_frame": round(start * FRAME_RATE),
                "end_frame": round(end * FRAME_RATE),
                "start_seconds": float(start),
                "end_seconds": float(end),
            }
            for row, (start, end) in enumerate(itertools.pairwise(edges))
        ]
        self.shots += shots
        self.videos.append(
            {
                "video_id": video_id,
                "uri": f"/films/{name}.mp4",
                "duration_seconds": float(edges[-1]),
                "width": 1280,
                "height": 720,
                "frame_rate": FRAME_RATE,
            }
        )
        return shots

    def add_track(
        self,
        shot: dict[str, Any],
        person: int | None,
        part: tuple[float, float],
        crops: int = 6,
        reason: str | None = None,
    ) -> str:
        """Add a track over a part of a shot; without `person` it is unknown and blurred."""
        if person is None:
            reason = reason or "unrecognisable"
        status = "no_face" if reason == "low_score" else "unknown" if reason else "clustered"
        span = shot["end_seconds"] - shot["start_seconds"]
        start, end = (shot["start_seconds"] + fraction * span for fraction in part)
        track_id = f"{shot['video_id']}-{shot['shot_id']}-t{len(self.tracks):04d}"
        quality = self.rng.uniform(0.7, 0.9) if person is not None else self.rng.uniform(0.2, 0.4)
        self.tracks.append(
            {
                "track_id": track_id,
                "video_id": shot["video_id"],
                "shot_id": shot["shot_id"],
                "start_seconds": start,
                "end_seconds": end,
                "start_frame": round(start * FRAME_RATE),
                "end_frame": round(end * FRAME_RATE),
                "crops": crops,
                "quality": quality,
                "status": status,
                "reason": reason,
                "person": person,
                "confidence": 0.0 if person is None else self.rng.uniform(0.6, 0.98),
            }
        )
        looks = int(self.rng.integers(8)) if person is None else person
        blur = 3.5 if person is None else float(self.rng.choice([0, 0, 0.8]))
        shown = {0, crops // 2, crops - 1} if self._cutouts else set()
        for number, seconds in enumerate(np.linspace(start, end, crops, endpoint=False)):
            image = self._picture(looks, blur, cutout=False)
            face = self._picture(looks, blur, cutout=True) if number in shown else None
            self._add_crop(track_id, float(seconds), image, face)
        self._add_crop(track_id, end - 1 / FRAME_RATE, None, None)
        return track_id

    def _picture(self, person: int, blur: float, cutout: bool) -> bytes:
        rng = self._cutout_rng if cutout else self.rng
        if self._looks is None:
            return picture(person, rng, blur, cutout)
        key = (person % 8, blur, cutout, int(rng.integers(self._looks)))
        if key not in self._pool:
            self._pool[key] = picture(person, rng, blur, cutout)
        return self._pool[key]

    def _add_crop(
        self, track_id: str, seconds: float, image: bytes | None, face: bytes | None
    ) -> None:
        left, top, side = self.rng.uniform(40, 160, 3)
        self.crops.append(
            {
                "track_id": track_id,
                "frame": round(seconds * FRAME_RATE),
                "seconds": seconds,
                "x0_pixels": left,
                "y0_pixels": top,
                "x1_pixels": left + side,
                "y1_pixels": top + side,
                "score": 0.9,
                "detected": True,
                "sharpness": self.rng.uniform(50, 800),
                "frontality": self._cutout_rng.uniform(0.2, 1),
                "image": image,
                "face": face,
            }
        )

    def stored(
        self,
        name: str = "First Light",
        warnings: tuple[dict[str, str], ...] = (),
        rejected: dict[str, int] | None = None,
    ) -> StoredTitle:
        """The title as read from storage, with people numbered by screen time."""
        lengths: dict[int, float] = {}
        for row in self.tracks:
            if row["person"] is not None:
                span = row["end_seconds"] - row["start_seconds"]
                lengths[row["person"]] = lengths.get(row["person"], 0.0) + span
        ranked = sorted(lengths, key=lambda person: -lengths[person])
        names = {person: f"p{rank + 1:03d}" for rank, person in enumerate(ranked)}
        for row in self.tracks:
            row["person_id"] = names.get(row["person"])
        own = {person: [t for t in self.tracks if t["person"] == person] for person in ranked}
        return StoredTitle(
            title_id=TITLE_ID,
            folder=f"titles/{TITLE_ID}/result-0123456789ab",
            summary=self._summary(name, warnings, REJECTED if rejected is None else rejected),
            people=_table([self._person(names[p], own[p], lengths[p]) for p in ranked], PEOPLE),
            tracks=_table(self.tracks, RESULT_TRACKS),
            appearances=_table([row for p in ranked for row in own[p]], APPEARANCES),
            merges=_table(self._merges(own), MERGES),
            shots=_table(self.shots, SHOTS),
            crops=_table(self.crops, CROPS),
        )

    def _person(self, name: str, tracks: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
        cover = max(tracks, key=lambda row: row["quality"])
        kind = "face" if self._cutouts else "image"
        crops = [row for row in self.crops if row["track_id"] == cover["track_id"] and row[kind]]
        return {
            "person_id": name,
            "tracks": len(tracks),
            "screen_seconds": seconds,
            "first_seconds": min(row["start_seconds"] for row in tracks),
            "confidence": float(np.mean([row["confidence"] for row in tracks])),
            "cover_track_id": cover["track_id"],
            "cover_crop": crops[len(crops) // 2]["frame"],
        }

    def _merges(self, own: dict[int, list[dict[str, Any]]]) -> list[dict[str, Any]]:
        rows = []
        for tracks in own.values():
            for done, track in enumerate(tracks[1:], start=1):
                left, right = self.rng.uniform(4.6, 5.6, 2)
                late = done > 2
                rows.append(
                    {
                        "round": 2 if late else 1,
                        "rule": "title_cut" if late else "closure",
                        "left_track_id": tracks[0]["track_id"],
                        "right_track_id": track["track_id"],
                        "left_tracks": done,
                        "right_tracks": 1,
                        "distance": (0.55 if late else left) * self.rng.uniform(0.4, 0.98),
                        "left_threshold": 0.55 if late else left,
                        "right_threshold": 0.55 if late else right,
                    }
                )
        rows.sort(key=lambda row: row["round"])
        return [{"number": number, **row} for number, row in enumerate(rows, start=1)]

    def _summary(
        self, name: str, warnings: tuple[dict[str, str], ...], rejected: dict[str, int]
    ) -> dict[str, Any]:
        """The title's `result.json`."""
        return {
            "schema_version": SCHEMA_VERSION,
            "title": name,
            "title_id": TITLE_ID,
            "videos": self.videos,
            "counts": {
                "tracks": len(self.tracks),
                "people": len({row["person"] for row in self.tracks} - {None}),
                "unknown": sum(row["status"] == "unknown" for row in self.tracks),
                "no_face": sum(row["status"] == "no_face" for row in self.tracks),
                "faces": 4 * len(self.crops) + sum(rejected.values()),
                "rejected": rejected,
            },
            "pack": {
                "name": "dlib",
                "licence": "CC0-1.0",
                "commercial_use": True,
                "source": "https://example.org/face_recognition_models/",
            },
            "seeds": {"adapt": 0},
            "seconds": {"detect": 61.2, "track": 2.4, "adapt": 48.9, "cluster": 0.7},
            "warnings": list(warnings),
            "versions": {"vcn-ray": "0.1.0", "torch": "2.9.0", "av": "16.0.1", "python": "3.11.2"},
            "config": {"pack": "dlib", "detect": {"min_face_pixels": 24.0}},
        }


def _table(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    names = schema.names
    return pa.Table.from_pylist([{name: row[name] for name in names} for row in rows], schema)


def short_film() -> Title:
    """A film of eight people, 45 tracks (three of them unknown), 15 shots and 54 seconds."""
    title = Title()
    shots = title.add_video(
        "First_Light", [4.2, 3.1, 5.0, 2.4, 3.6] * 2 + [3.2, 4.4, 3.9, 2.8, 3.1]
    )
    weights = np.array([5, 4, 3.4, 3, 2.4, 2, 1.4, 1])
    made = 0
    for row, shot in enumerate(shots):
        together = title.rng.choice(
            8, size=3 if row % 5 else 2, replace=False, p=weights / weights.sum()
        )
        for person in together:
            start = title.rng.uniform(0, 0.3)
            title.add_track(shot, int(person), (start, title.rng.uniform(0.7, 1)))
            made += 1
    for person in range(8):  # everybody at least once
        if not any(row["person"] == person for row in title.tracks):
            title.add_track(shots[person], person, (0.1, 0.8))
            made += 1
    for row in range(45 - made):
        title.add_track(shots[4 * row + 1], None, (0.2, 0.6), crops=4)
    return title


def long_film(seconds: float = 7200.0, people: int = 24, tracks: int = 900) -> Title:
    """A film of hours with many people, a few of whom are on screen most of the time."""
    title = Title(seed=1, looks=6)
    lengths = title.rng.gamma(2.0, 3.0, round(seconds / 6)) + 0.5
    shots = title.add_video("The_Long_One", list(lengths * seconds / lengths.sum()))
    weights = 1 / np.arange(1, people + 1)
    for _ in range(tracks):
        person = int(title.rng.choice(people, p=weights / weights.sum()))
        shot = shots[int(title.rng.integers(len(shots)))]
        title.add_track(shot, person, (0.1, 0.9), crops=2)
    return title


def series(episodes: int = 3) -> Title:
    """A title of several videos with the same five people in each."""
    title = Title(seed=2)
    for episode in range(episodes):
        shots = title.add_video(f"Series_S01E{episode + 1:02d}", [5.0, 7.0, 4.0, 6.0, 8.0])
        for row, shot in enumerate(shots):
            for person in {row, (row + episode + 1) % 5}:
                title.add_track(shot, person, (0.1, 0.8), crops=4)
    return title
