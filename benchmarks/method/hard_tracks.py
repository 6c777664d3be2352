"""Film-like tracks that are as hard as real ones, from labelled photographs.

Frames are rendered, sent through H.264, and searched by a pack's own detector; faces are filtered,
tracked, sampled and aligned as in a run. So scores, landmarks, broken tracks and missed faces are
real, and a thing becomes a track of no face only where the detector takes it for one. What is not
real: a person in one scene is one photograph or a few, with no depth and no play of features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.method.cache import code_digest, digest, load, store
from benchmarks.method.hard_config import FPS, HardConfig, Script
from benchmarks.method.hard_frames import render_shot
from benchmarks.method.hard_script import write_script
from benchmarks.method.hard_watch import Watched, find_faces, watch
from benchmarks.method.photographs import Gallery, Part
from benchmarks.method.props import Props, SearchConfig, find_props
from vcn_ray.core.track import cannot_link_pairs
from vcn_ray.evaluation.labels import NO_FACE, is_person
from vcn_ray.evaluation.output import MatchedTitle
from vcn_ray.evaluation.scores import MatchedTrack
from vcn_ray.packs.face_pack import FacePack
from vcn_ray.records import F32, F64, I64, Mask, TitleCrops

DEFAULT = HardConfig()
MODULES = (
    "hard_config",
    "hard_frames",
    "hard_script",
    "hard_tracks",
    "hard_watch",
    "photographs",
    "props",
)
CODE = digest(*((Path(__file__).parent / f"{name}.py").read_bytes() for name in MODULES))
"""Hash of the files whose change makes other titles, as they were when the program started."""

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
        props: Things that look like faces; None: search for them when they are first needed.

    Attributes:
        people: Names of those in the half.
    """

    def __init__(
        self,
        faces: Path,
        pack: FacePack,
        part: Part = "dev",
        *,
        config: HardConfig = DEFAULT,
        cache: Path | None = None,
        props: Props | None = None,
    ) -> None:
        self._gallery, self._pack, self._part = Gallery(faces, pack.detector), pack, part
        self._config, self._cache = config, cache
        self._search, self._props = SearchConfig(), props
        self.people = self._gallery.part(part)

    @property
    def props(self) -> Props:
        """Things that the detector may take for faces."""
        if self._props is None:
            self._props = find_props(self._search, self._cache)
        return self._props

    def has(self, number: int) -> bool:
        """Whether a title is in the cache."""
        place = self._place(number)
        return place is not None and place.exists()

    def make(self, number: int) -> HardTitle:
        """Make a title, or read it from the cache."""
        name = f"{self._part} {number}"
        place = self._place(number)
        stored = load(place) if place else None
        if stored:
            return _restore(*stored)
        random = np.random.default_rng([number, int(self._part == "dev")])
        script = write_script(self.people, self._config, random)
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
        code = code_digest("vcn_ray.core.track", "vcn_ray.core.filter")
        what = (self._part, number, asdict(self._config), self._search, self._gallery.names)
        key = digest(what, self._pack.detector_hash, CODE, code)
        return self._cache / f"hard-{key}.npz"


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


def right_pairs(made: HardTitle) -> HardTitle:
    """The same title without the cannot-link pairs of one person."""
    wrong = {(int(i), int(j)) for i, j in made.wrong}
    kept = [(int(i), int(j)) not in wrong for i, j in made.title.cannot_link]
    pairs = made.title.cannot_link[np.array(kept, np.bool_)]
    return replace(made, title=replace(made.title, cannot_link=pairs), wrong=made.wrong[:0])


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
