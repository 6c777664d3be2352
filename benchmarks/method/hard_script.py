"""What happens in a film that is hard to cluster: scenes, shots, and who is where in each frame.

Three kinds of titles are drawn. A trailer has many short scenes and a lead with half of all faces;
many others are seen once. A play has a few people in one to three scenes. A parade shows many
people, each in one scene. A scene has one backdrop and one light, and a person shows one or two
photographs in it, so tracks of one scene are alike; all scenes share a camera and a grade. Bit
parts are seen in one shot alone. It knows no pixels and no detector.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.method.hard_config import (
    FPS,
    NETWORK_WIDTH,
    HardConfig,
    Look,
    Path,
    Role,
    Script,
    Shot,
)
from vcn_ray.evaluation.labels import NO_FACE, UNIDENTIFIED
from vcn_ray.records import F64


class Genre(NamedTuple):
    """How a kind of title is cast and cut."""

    cast: tuple[int, int]  # people, as a range
    weights: tuple[float, ...]  # of the first people of the cast; the others divide the rest
    scenes: int  # 0: as many as it takes
    shots: tuple[int, int]  # of a scene
    people: tuple[int, int]  # of a scene
    once: float  # chance that a face is a bit part, seen in no other shot
    photos: int  # of a person in a scene
    big: tuple[float, float, float]  # chances of a close-up, a medium shot, a wide shot


LEAD = (0.5, 0.08, 0.06, 0.05, 0.04)
GENRES = {
    "trailer": Genre((8, 24), LEAD, 0, (1, 2), (1, 3), 0.35, 1, (0.5, 0.35, 0.15)),
    "play": Genre((3, 7), (0.3, 0.25), 3, (4, 14), (3, 6), 0.1, 3, (0.25, 0.6, 0.15)),
    "parade": Genre((10, 26), (), 0, (1, 3), (2, 5), 0.4, 1, (0.3, 0.4, 0.3)),
}
HEIGHTS = ((0.35, 0.6), (0.14, 0.3), (0.06, 0.13))
"""Height of a face in a close-up, a medium and a wide shot."""

MIN_PERSON_PIXELS = 20.0
"""A smaller face would be UNIDENTIFIED."""


def write_script(people: Sequence[str], config: HardConfig, random: np.random.Generator) -> Script:
    """Draw a title.

    Args:
        people: Who may be cast; the extras come from the same people.
        config: How hard it is.
        random: Draws everything.
    """
    genre = str(random.choice(list(GENRES)))
    low, high = config.tracks
    wanted = round(float(np.exp(random.uniform(np.log(low), np.log(high)))))
    lines = int(random.choice(config.lines))
    director = _Director(genre, people, config, random, lines)
    while director.tracks < wanted:
        director.add_scene(wanted)
    return Script(
        genre=genre,
        width=director.width,
        lines=lines,
        crf=float(random.uniform(*config.crf)),
        grain=float(abs(random.normal(0, 4)) + 1),
        scenes=tuple(director.scenes),
        shots=tuple(director.shots),
    )


class _Director:
    """Draws scene after scene of one title."""

    def __init__(
        self,
        genre: str,
        people: Sequence[str],
        config: HardConfig,
        random: np.random.Generator,
        lines: int,
    ) -> None:
        self._genre, self._config, self._random = GENRES[genre], config, random
        self._junk = config.junk[genre]
        self.lines, self.width = lines, round(lines * 8 / 9) * 2
        low, high = self._genre.cast
        order = [people[i] for i in random.permutation(len(people))]
        size = min(int(random.integers(low, high + 1)), max(1, len(people) - 2))
        self._cast, rest = order[:size], order[size:]
        self._extras, self._bits = rest or order, list(rest)
        self._weight = cast_weights(size, self._genre.weights)
        self._unseen = list(range(size))
        self._grade = draw_grade(config, lines, random)
        self.scenes: list[Look] = []
        self.shots: list[Shot] = []
        self.tracks = 0

    def add_scene(self, wanted: int) -> None:
        """Add a scene, of as many shots as are still needed."""
        random, genre = self._random, self._genre
        number = len(self.scenes)
        self.scenes.append(draw_look(self._grade, self._config, random))
        people = self._people()
        photos = {p: random.random(genre.photos) for p in people}
        shots = int(random.integers(genre.shots[0], genre.shots[1] + 1))
        if genre.scenes and number + 1 >= genre.scenes:
            shots = wanted  # the last scene lasts until the end
        for _ in range(shots):
            if self.tracks < wanted:
                self._add_shot(number, people, photos)

    def _people(self) -> list[int]:
        """Who is in the next scene; in a parade people who were not seen, while there are some."""
        random, (low, high) = self._random, self._genre.people
        count = min(int(random.integers(low, high + 1)), len(self._cast))
        if self._genre.weights:
            return _some(random, len(self._cast), count, self._weight)
        self._unseen = self._unseen or list(range(len(self._cast)))
        chosen, self._unseen = self._unseen[:count], self._unseen[count:]
        return chosen

    def _add_shot(self, scene: int, cast: Sequence[int], photos: Mapping[int, F64]) -> None:
        random, config = self._random, self._config
        low, high = config.frames
        frames = int(np.clip(random.lognormal(np.log(config.usual_frames), 0.7), low, high))
        size = int(random.choice(len(HEIGHTS), p=self._genre.big))
        most = min(len(cast), (2, 3, 4)[size])
        weight = self._weight[list(cast)]
        count = int(random.integers(1, most + 1))
        chosen = [cast[i] for i in _some(random, len(cast), count, weight / weight.sum())]
        roles = []
        slots = random.permutation(count + 2)
        for slot, number in zip(slots, chosen, strict=False):
            photo, name = float(random.choice(photos[number])), self._cast[number]
            if self._bits and random.random() < self._genre.once:
                photo, name = random.random(), self._bits.pop()
            place = _Place(frames, size, (slot + 0.5) / (count + 2))
            roles.append(self._person(name, photo, place))
        roles += self._doubles(roles, frames, slots[count:] / (count + 2))
        people = len(roles)
        for _ in range(int(random.poisson(self._junk * people))):
            is_prop = random.random() < config.props
            roles.append(self._prop(frames) if is_prop else self._ruin(frames))
        self.shots.append(Shot(scene, frames, tuple(roles)))
        self.tracks += people

    def _person(self, name: str, photo: float, place: _Place) -> Role:
        """Somebody of the cast, with all that may go wrong."""
        random, config = self._random, self._config
        height = self.lines * random.uniform(*HEIGHTS[place.size])
        turned = random.random() < config.turned
        if turned:
            photo = 1 - (1 - photo) * 0.5  # the turned half of the photographs
        cover = 0.0
        if random.random() < config.covered:
            cover = float(random.choice([-1, 1]) * random.uniform(0.2, 0.4))
        path = self._path(max(height, MIN_PERSON_PIXELS), place)
        if turned:
            path.yaw[:] += random.choice([-1, 1]) * random.uniform(15, 45)
        if random.random() < config.cut_off:
            inside = path.height[0] * random.uniform(-0.05, 0.2)
            edge = inside if place.slot < 0.5 else self.width - inside
            path.centre[:, 0] += edge - path.centre[0, 0]
        return Role("person", name, name, photo, path, cover)

    def _doubles(self, roles: Sequence[Role], frames: int, slots: F64) -> list[Role]:
        """Somebody of the shot again in a mirror, or of the cast on a screen."""
        random, config = self._random, self._config
        made = []
        if random.random() < config.mirrors:
            seen = roles[int(random.integers(len(roles)))]
            height = max(0.8 * seen.path.height[0], MIN_PERSON_PIXELS)
            path = self._path(height, _Place(frames, 1, slots[0]))
            made.append(Role("mirror", seen.identity, seen.person, seen.photo, path))
        if random.random() < config.screens:
            name = self._cast[int(random.choice(len(self._cast), p=self._weight))]
            height = max(self.lines * random.uniform(0.1, 0.2), MIN_PERSON_PIXELS)
            path = self._path(height, _Place(frames, 1, slots[1]))
            made.append(Role("screen", name, name, random.random() * 0.5, path))
        return made

    def _ruin(self, frames: int) -> Role:
        """A face of a few pixels, far away, or near and out of focus."""
        random = self._random
        pixels = float(random.uniform(*self._config.ruin_pixels))
        near = random.random() < 0.5
        far = random.uniform(16, 34) * self.width / NETWORK_WIDTH
        height = self.lines * random.uniform(0.1, 0.3) if near else far
        path = self._path(float(height), _Place(frames, 2, random.random()))
        name = self._extras[int(random.integers(len(self._extras)))]
        return Role("ruin", UNIDENTIFIED, name, random.random(), path, pixels=pixels)

    def _prop(self, frames: int) -> Role:
        """A thing that looks like a face to the detector; it stands still."""
        random = self._random
        scale = self.width / NETWORK_WIDTH * random.uniform(0.9, 1.1)
        path = self._path(float(scale), _Place(frames, 2, random.random()))
        path.roll[:] = 0
        path.height[:] = scale
        return Role("prop", NO_FACE, "", random.random(), path)

    def _path(self, height: float, place: _Place) -> Path:
        """Where a face goes, and how its size and its smear change on the way."""
        random, frames = self._random, place.frames
        fast = place.size < 2 and random.random() < self._config.fast
        speed = height * (random.uniform(0.1, 0.3) if fast else abs(random.normal(0, 0.015)))
        angle = random.uniform(0, 2 * np.pi)
        step = speed * np.array([np.cos(angle), 0.3 * np.sin(angle)])
        sway = random.normal(0, 0.012 * height, (frames, 2))
        start = np.array([self.width * place.slot, self.lines * random.uniform(0.3, 0.6)])
        ahead = np.arange(frames) - frames / 2
        if fast:  # to and fro, so that nobody leaves the picture at once
            ahead = np.abs((ahead % 8) - 4)
        centre = start + ahead[:, None] * step + np.cumsum(sway, axis=0)
        shutter = random.uniform(0.15, 0.5)
        return Path(
            height=height * np.exp(np.linspace(0, random.normal(0, 0.15), frames)),
            centre=centre,
            roll=wander(random, frames, 9.0),
            yaw=wander(random, frames, self._config.yaw),
            nod=wander(random, frames, self._config.nod),
            speech=np.abs(random.normal(0, self._config.speech, frames)),
            smear=np.gradient(centre, axis=0) * shutter if frames > 1 else np.zeros((1, 2)),
        )


class _Place(NamedTuple):
    """Where somebody is in a shot."""

    frames: int
    size: int  # of HEIGHTS
    slot: float  # 0 is the left edge, 1 the right one


def wander(random: np.random.Generator, frames: int, width: float) -> F64:
    """A value that drifts around 0, (f,), with a standard deviation; it forgets in a second."""
    keep = np.exp(-1 / FPS)
    steps = random.normal(0, width, frames)
    result = steps.copy()
    for i in range(1, frames):
        result[i] = keep * result[i - 1] + np.sqrt(1 - keep**2) * steps[i]
    return result


def cast_weights(size: int, first: Sequence[float]) -> F64:
    """How often each of the cast is chosen: the first as given, the others alike."""
    given = np.array(first[:size])
    rest = size - len(given)
    left = np.full(rest, (1 - given.sum()) / rest if rest else 0.0)
    weight = np.concatenate([given, left])
    result: F64 = weight / weight.sum()
    return result


def draw_grade(config: HardConfig, lines: int, random: np.random.Generator) -> Look:
    """What all scenes of a title share: one camera, one lens, one colour grade."""
    dark = random.random() < config.dark / 2
    return Look(
        backdrop=(0, 0, 0, 0),
        gain=float(random.uniform(0.35, 0.6) if dark else np.exp(random.normal(-0.05, 0.15))),
        gamma=float(np.exp(random.normal(0, 0.15))),
        tint=np.exp(random.normal(0, 0.15, 3)),
        haze=float(abs(random.normal(0, 0.05))),
        side=float(random.normal(0, 0.4)),
        shake=float(abs(random.normal(0, 0.6))),
        blur=float(max(0.0, random.normal(0.0015, 0.002)) * lines),
    )


def draw_look(grade: Look, config: HardConfig, random: np.random.Generator) -> Look:
    """Backdrop and light of a scene, near those of the title."""
    dark = random.random() < config.dark / 2
    backdrop = random.random(4).tolist()
    return Look(
        backdrop=(backdrop[0], backdrop[1], backdrop[2], backdrop[3]),
        gain=grade.gain * float(random.uniform(0.4, 0.7) if dark else random.uniform(0.85, 1.15)),
        gamma=grade.gamma * float(np.exp(random.normal(0, 0.1))),
        tint=grade.tint * np.exp(random.normal(0, 0.08, 3)),
        haze=grade.haze,
        side=grade.side + float(random.normal(0, 0.6)),
        shake=grade.shake,
        blur=grade.blur,
    )


def _some(random: np.random.Generator, of: int, count: int, weight: F64) -> list[int]:
    """Distinct numbers below `of`, drawn by weight."""
    possible = min(count, int((weight > 0).sum()))
    return [int(i) for i in random.choice(of, possible, replace=False, p=weight)]
