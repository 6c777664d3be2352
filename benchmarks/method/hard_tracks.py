"""Film-like tracks that are as hard as real ones, from labelled photographs.

Frames are rendered, sent through H.264, and searched by a pack's own detector; faces are filtered,
tracked, sampled and aligned as in a run. So scores, landmarks, broken tracks and missed faces are
real, and a thing becomes a track of no face only where the detector takes it for one. What is not
real: a person in one scene is one photograph or a few, with no depth and no play of features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.method.cache import code_digest, digest, load, store
from benchmarks.method.hard_frames import Rendered, prop_number, render_shot
from benchmarks.method.hard_script import FPS, HardConfig, Script, Shot, write_script
from benchmarks.method.photographs import Gallery, Part
from benchmarks.method.props import Props, SearchConfig, find_props
from vcn_ray.config import RunConfig
from vcn_ray.core.filter import face_sharpness, mark_faces
from vcn_ray.core.track import cannot_link_pairs, sample_crops, track_faces
from vcn_ray.core.vectors import pairwise_iou
from vcn_ray.evaluation.labels import NO_FACE, is_person
from vcn_ray.evaluation.matching import MIN_IOU
from vcn_ray.evaluation.output import MatchedTitle
from vcn_ray.evaluation.scores import MatchedTrack
from vcn_ray.packs.face_pack import FacePack
from vcn_ray.records import (
    F32,
    F64,
    I64,
    KEPT,
    U8,
    Detections,
    Faces,
    FrameSignals,
    Mask,
    Shots,
    TitleCrops,
)

PROP_FRAMES = 0.8  # chance that the detector takes a prop for a face in a frame
BATCH = 8  # frames given to the detector at once
MODULES = ("hard_frames", "hard_script", "hard_tracks", "photographs", "props")
"""The files whose change makes other titles."""

TITLE_ARRAYS = ("crops", "track", "cannot_link")
ARRAYS = (
    "scores",
    "track_scores",
    "seconds",
    "scene",
    "wrong",
    "boxes",
    "detected",
    "tracked",
)


@dataclass(frozen=True, eq=False)
class HardTitle:
    """A title of k tracks and m crops whose people are known."""

    name: str
    title: TitleCrops
    identity: tuple[str, ...]  # k names of people, UNIDENTIFIED or NO_FACE
    there: frozenset[str]  # the people in its frames, tracked or not
    scores: F32  # (m,) the detector's, of each crop
    track_scores: F64  # (k,) its mean over all faces of a track
    seconds: F64  # (k,) on screen
    scene: I64  # (k,)
    wrong: I64  # (w, 2) the pairs of cannot_link that are one person
    boxes: F32  # (n, 4) the people's faces in all frames, pixels
    detected: Mask  # (n,) true where a face was found
    tracked: Mask  # (n,) true where that face is in a track

    def match(self, person: Sequence[str | None]) -> MatchedTitle:
        """The title beside a result, as a labelled clip is.

        Args:
            person: k people of the result; None: unknown.
        """
        rows = zip(self.identity, person, self.seconds.tolist(), strict=True)
        tracks = tuple(
            MatchedTrack(f"{self.name}:{n}", identity, who, seconds, identity != NO_FACE)
            for n, (identity, who, seconds) in enumerate(rows)
        )
        there = set(self.there)
        return MatchedTitle(
            self.name, tracks, there, self.boxes, self.detected, self.tracked, cuts=None
        )


class Maker:
    """Makes titles of one half of the people; a title depends on its number alone.

    Args:
        faces: Folder with a sub-folder of photographs for each person.
        pack: Detector and aligner.
        part: The half.
        config: How hard titles are.
        cache: Folder that keeps titles; None: make them again.
    """

    def __init__(
        self,
        faces: Path,
        pack: FacePack,
        part: Part = "dev",
        config: HardConfig | None = None,
        cache: Path | None = None,
    ) -> None:
        self._gallery, self._pack, self._part = Gallery(faces, pack.detector), pack, part
        self._config, self._cache = config or HardConfig(), cache
        self._search = SearchConfig()
        self._props: Props | None = None

    @property
    def props(self) -> Props:
        """Things that the detector may take for faces."""
        if self._props is None:
            self._props = find_props(self._search, self._cache)
        return self._props

    def make(self, number: int) -> HardTitle:
        """Make a title, or read it from the cache."""
        name = f"{self._part} {number}"
        place = self._place(number)
        stored = load(place) if place else None
        if stored:
            return _restore(*stored)
        random = np.random.default_rng([number, int(self._part == "dev")])
        script = write_script(self._gallery.part(self._part), self._config, random)
        found = []
        for shot in script.shots:
            shown = render_shot(shot, script, self._gallery, self.props, random)
            found.append(find_faces(shot, shown, self._pack, self.props, random))
        seen = watch(script, found)
        made = make_title(name, script, seen, self._config.wrong_pairs, random)
        if place:
            _store(place, made)
        return made

    def _place(self, number: int) -> Path | None:
        if self._cache is None:
            return None
        here = Path(__file__).parent
        code = [(here / f"{name}.py").read_bytes() for name in MODULES]
        used = code_digest("vcn_ray.core.track", "vcn_ray.core.filter")
        what = (self._part, number, asdict(self._config), self._search, self._gallery.names)
        return self._cache / f"hard-{digest(what, self._pack.detector_hash, code, used)}.npz"


class FoundFrame(NamedTuple):
    """What a detector finds in a frame of a shot with r roles."""

    faces: Detections  # n
    crops: U8  # (n, p, p, 3)
    sharpness: F32  # (n,)
    kept: Mask  # (n,)
    role: I64  # (n,) number in the shot, -1: none
    people: F32  # (q, 4) where people are
    found: I64  # (q,) the face of each of them, -1: none


class Watched(NamedTuple):
    """What a pipeline finds in a title: n faces, in order of frame."""

    faces: Faces
    crops: U8  # (n, p, p, 3)
    sampled: Mask  # (n,) true for a face that becomes a crop
    track: I64  # (n,) or -1
    role: I64  # (n,) number in the title of the role that a face overlaps, -1: none
    people: F32  # (q, 4) boxes of people in all frames
    found: I64  # (q,) the face that overlaps each, -1: none


def find_faces(
    shot: Shot, shown: Rendered, pack: FacePack, props: Props, random: np.random.Generator
) -> list[FoundFrame]:
    """Detect, align and filter the faces of a shot, as a run does (METHOD 1.2, 1.3).

    Args:
        shot: Of the script.
        shown: Its frames.
        pack: Detector and aligner.
        props: Things that the detector took for faces when they were found.
        random: Decides in which frames it takes them for faces again.
    """
    config = RunConfig().detect
    is_one = np.array([is_person(role.identity) for role in shot.roles], np.bool_)
    result = []
    for start in range(0, shot.frames, BATCH):
        images = shown.frames[start : start + BATCH]
        for number, real in enumerate(pack.detector.detect(images)):
            boxes = shown.boxes[start + number]
            faces = add_props(real, shot, boxes, props, random)
            crops = pack.aligner.align(images[number], faces)
            sharpness = np.array([face_sharpness(crop) for crop in crops], np.float32)
            status = mark_faces(faces.boxes, faces.scores, sharpness, config)
            overlap = pairwise_iou(faces.boxes, boxes)
            result.append(
                FoundFrame(
                    faces=faces,
                    crops=crops,
                    sharpness=sharpness,
                    kept=np.array([mark == KEPT for mark in status], np.bool_),
                    role=best_match(overlap),
                    people=boxes[is_one],
                    found=best_match(overlap.T)[is_one],
                )
            )
    return result


def add_props(
    faces: Detections, shot: Shot, boxes: F32, props: Props, random: np.random.Generator
) -> Detections:
    """Add the props of a frame that the detector does not see in this light, in most frames.

    A film shows millions of patches, of which the detector takes some for faces in their own light.
    So a prop keeps the place, the landmarks and nearly the score that the detector gave it.
    """
    missed = best_match(pairwise_iou(boxes, faces.boxes)) < 0
    boxes_of, scores_of, landmarks_of = [faces.boxes], [faces.scores], [faces.landmarks]
    for number, role in enumerate(shot.roles):
        if role.kind != "prop" or not missed[number] or random.random() > PROP_FRAMES:
            continue
        prop, box = prop_number(role, props), boxes[number]
        own = props.boxes[prop]
        points = props.landmarks[prop] - (own[:2] + own[2:]) / 2
        points = points * role.path.height[0] + (box[:2] + box[2:]) / 2
        boxes_of.append(box[None])
        scores_of.append(props.scores[prop : prop + 1] * np.float32(random.uniform(0.95, 1.05)))
        landmarks_of.append(points[None].astype(np.float32))
    return Detections(*(np.concatenate(part) for part in (boxes_of, scores_of, landmarks_of)))


def best_match(overlap: F64) -> I64:
    """The column with the largest overlap of each row, -1 where none overlaps enough."""
    if not overlap.shape[1]:
        return np.full(len(overlap), -1)
    best = overlap.argmax(axis=1)
    result: I64 = np.where(overlap.max(axis=1) >= MIN_IOU, best, -1)
    return result


def watch(script: Script, shots: Sequence[Sequence[FoundFrame]]) -> Watched:
    """Track and sample the faces of all shots (METHOD 1.4, 1.5)."""
    frames = [frame for shot in shots for frame in shot]
    first_role = np.cumsum([0] + [len(shot.roles) for shot in script.shots])
    before = np.repeat(first_role[:-1], [len(shot) for shot in shots])  # roles, by frame
    count = np.array([len(frame.faces) for frame in frames])
    first_face = np.cumsum(count) - count
    faces = Faces(
        frame=np.repeat(np.arange(len(frames)), count),
        boxes=np.concatenate([frame.faces.boxes for frame in frames]),
        scores=np.concatenate([frame.faces.scores for frame in frames]),
        kept=np.concatenate([frame.kept for frame in frames]),
    )
    config = RunConfig().track
    ends = np.cumsum([len(shot) for shot in shots])
    starts = ends - [len(shot) for shot in shots]
    track = track_faces(faces, Shots(starts, ends), still_signals(len(frames)), config)
    sharpness = np.concatenate([frame.sharpness for frame in frames])
    sampled = sample_crops(faces.frame / FPS, track, sharpness, config)
    return Watched(
        faces=faces,
        crops=np.concatenate([frame.crops for frame in frames]),
        sampled=sampled & (track >= 0),
        track=track,
        role=_shifted([frame.role for frame in frames], before),
        people=np.concatenate([frame.people for frame in frames]),
        found=_shifted([frame.found for frame in frames], first_face),
    )


def still_signals(frames: int) -> FrameSignals:
    """Signals of a camera that stands still; every frame is analysed."""
    return FrameSignals(
        seconds=np.arange(frames) / FPS,
        analysed=np.ones(frames, np.bool_),
        layout=np.zeros((frames, 8, 8, 3), np.uint8),
        histogram=np.ones((frames, 1), np.float32),
        motion=np.tile(np.eye(2, 3, dtype=np.float32), (frames, 1, 1)),
        motion_known=np.zeros(frames, np.bool_),
    )


def make_title(
    name: str, script: Script, seen: Watched, wrong: float, random: np.random.Generator
) -> HardTitle:
    """Label the tracks, and mark some pairs of one person's tracks as seen together.

    Args:
        name: Of the title.
        script: Who is who.
        seen: What the pipeline found.
        wrong: Fraction of the pairs of one person's tracks that are cannot-link in the end, if
            mirrors and screens have not made as many already.
        random: Chooses these pairs.
    """
    roles = [(role, shot.scene) for shot in script.shots for role in shot.roles]
    scene_of = np.repeat(
        [shot.scene for shot in script.shots], [shot.frames for shot in script.shots]
    )
    tracks = int(seen.track.max(initial=-1)) + 1
    identity, scores = [], np.zeros(tracks)
    seconds, scene = np.zeros(tracks), np.zeros(tracks, np.int64)
    for number in range(tracks):
        rows = np.flatnonzero(seen.track == number)
        identity.append(name_of(seen.role[rows], [role.identity for role, _ in roles]))
        scores[number] = seen.faces.scores[rows].mean()
        span = np.ptp(seen.faces.frame[rows]) + 1
        seconds[number], scene[number] = span / FPS, scene_of[seen.faces.frame[rows[0]]]
    pairs = cannot_link_pairs(seen.faces.frame, seen.track)
    pairs = add_wrong_pairs(pairs, identity, wrong, random)
    crops = np.flatnonzero(seen.sampled)
    crops = crops[np.argsort(seen.track[crops], kind="stable")]
    tracked = np.append(seen.track >= 0, False)[seen.found]
    return HardTitle(
        name=name,
        title=TitleCrops(seen.crops[crops], seen.track[crops], pairs),
        identity=tuple(identity),
        there=frozenset(role.identity for role, _ in roles if is_person(role.identity)),
        scores=seen.faces.scores[crops],
        track_scores=scores,
        seconds=seconds,
        scene=scene,
        wrong=pairs[[one_person(identity, i, j) for i, j in pairs]] if len(pairs) else pairs,
        boxes=seen.people,
        detected=seen.found >= 0,
        tracked=tracked,
    )


def name_of(role: I64, identities: Sequence[str]) -> str:
    """Who a track shows: the identity of most of its faces, NO_FACE where most overlap nothing."""
    names = [identities[number] if number >= 0 else NO_FACE for number in role.tolist()]
    return max(sorted(set(names)), key=names.count)


def one_person(identity: Sequence[str], i: int, j: int) -> bool:
    """Whether two tracks show one person."""
    return is_person(identity[i]) and identity[i] == identity[j]


def add_wrong_pairs(
    pairs: I64, identity: Sequence[str], fraction: float, random: np.random.Generator
) -> I64:
    """Add pairs of one person's tracks until they are a fraction of all such pairs.

    Args:
        pairs: (c, 2) tracks that share a frame.
        identity: Of k tracks.
        fraction: Of the pairs of one person's tracks; rounded at random.
        random: Chooses pairs.

    Returns:
        (c + w, 2) in rising order.
    """
    known = {(int(i), int(j)) for i, j in pairs}
    same = [p for p in combinations(range(len(identity)), 2) if one_person(identity, *p)]
    free = [pair for pair in same if pair not in known]
    wanted = int(fraction * len(same) + random.random()) - (len(same) - len(free))
    chosen = random.permutation(len(free))[: max(wanted, 0)]
    known |= {free[n] for n in chosen}
    return np.array(sorted(known), np.int64).reshape(-1, 2)


def _shifted(rows: Sequence[I64], by: I64) -> I64:
    """The rows joined, each list shifted; -1 stays."""
    moved = [np.where(row >= 0, row + shift, -1) for row, shift in zip(rows, by, strict=True)]
    joined: I64 = np.concatenate(moved)
    return joined


def _store(place: Path, made: HardTitle) -> None:
    arrays: dict[str, Any] = {name: getattr(made, name) for name in ARRAYS}
    arrays |= {name: getattr(made.title, name) for name in TITLE_ARRAYS}
    facts = {"name": made.name, "identity": made.identity, "there": sorted(made.there)}
    store(place, arrays, facts)


def _restore(arrays: Mapping[str, Any], facts: Mapping[str, Any]) -> HardTitle:
    return HardTitle(
        name=facts["name"],
        title=TitleCrops(*(arrays[name] for name in TITLE_ARRAYS)),
        identity=tuple(facts["identity"]),
        there=frozenset(facts["there"]),
        **{name: arrays[name] for name in ARRAYS},
    )
