"""What happens in a film that is hard to cluster: scenes, shots, and who is where in each frame.

Three kinds of titles are drawn. A trailer has many short scenes and a lead with half of all faces;
many others are seen once. A play has a few people in one to three scenes. A parade shows many
people, each in one scene. A scene has one backdrop and one light, and a person shows one or two
photographs in it, so tracks of one scene are alike. It knows no pixels and no detector.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from vcn_ray.evaluation.labels import NO_FACE, UNIDENTIFIED
from vcn_ray.records import F64

Kind = Literal["person", "mirror", "screen", "ruin", "prop"]

FPS = 8.0
"""Analysed frames a second, as in a run."""

CELL_FACE = 128.0
"""Pixels of a face in a photograph, about."""


@dataclass(frozen=True, kw_only=True)
class HardConfig:
    """How hard titles are. Sizes are fractions of the picture's height unless a unit is named."""

    tracks: tuple[int, int] = (5, 50)
    frames: tuple[int, int] = (4, 30)  # of a shot
    usual_frames: float = 9.0
    lines: tuple[int, ...] = (240, 360, 480)  # height of the picture in pixels
    crf: tuple[float, float] = (23.0, 36.0)  # H.264; more is worse
    dark: float = 0.25  # chance of a dark scene
    junk: Mapping[str, float] = field(
        default_factory=lambda: {"trailer": 0.28, "play": 0.1, "parade": 0.12}
    )  # fraction of the tracks
    props: float = 0.35  # fraction of the junk that is no face at all
    ruin_pixels: tuple[float, float] = (6.0, 12.0)  # that a ruined face really has
    turned: float = 0.45  # chance that a track shows a turned head
    covered: float = 0.12  # chance that something hides a side of a face
    cut_off: float = 0.08  # chance that the edge of the picture does
    fast: float = 0.25  # chance that somebody moves fast
    mirrors: float = 0.03  # chance of a shot with a mirror
    screens: float = 0.03  # chance of a shot with a face on a screen
    wrong_pairs: float = 0.05  # fraction of the pairs of tracks of one person that are marked as
    # seen together, by mirrors or by mistake


@dataclass(frozen=True, eq=False)
class Look:
    """Backdrop and light of a scene."""

    backdrop: tuple[float, float, float, float]  # random numbers that choose picture and region
    gain: float
    gamma: float
    tint: F64  # (3,) RGB
    haze: float  # grey level added, as a fraction of white
    side: float  # light from the right is positive; change of brightness over a face's width
    shake: float  # pixels that the camera moves between frames
    blur: float  # pixels, of the whole picture


class Path(NamedTuple):
    """Where a face is in each of f frames, in pixels of the picture."""

    height: F64  # (f,) of the face
    centre: F64  # (f, 2) of the face
    roll: F64  # (f,) degrees
    smear: F64  # (f, 2) that it moves while the shutter is open


@dataclass(frozen=True, eq=False)
class Role:
    """A face, or something like one, during a shot of f frames."""

    kind: Kind
    identity: str  # a person, UNIDENTIFIED or NO_FACE
    person: str  # whose photographs; empty for a prop
    photo: float  # in [0, 1): which of them, from frontal to turned; or which prop
    path: Path
    yaw: F64  # (f,) degrees
    cover: float = 0.0  # fraction of the face that something hides; from the right where positive
    pixels: float = 0.0  # height that the face really has, out of focus; 0: what it shows


class Shot(NamedTuple):
    """A run of frames without a cut."""

    scene: int
    frames: int
    roles: tuple[Role, ...]


@dataclass(frozen=True, eq=False)
class Script:
    """All that is to be rendered."""

    genre: str
    width: int
    lines: int
    crf: float
    grain: float  # standard deviation in grey levels
    scenes: tuple[Look, ...]
    shots: tuple[Shot, ...]


class Genre(NamedTuple):
    """How a kind of title is cast and cut."""

    cast: tuple[int, int]  # people, as a range
    weights: tuple[float, ...]  # of the first people of the cast; the others divide the rest
    scenes: int  # 0: as many as it takes
    shots: tuple[int, int]  # of a scene
    people: tuple[int, int]  # of a scene
    photos: int  # of a person in a scene
    big: tuple[float, float, float]  # chances of a close-up, a medium shot, a wide shot


GENRES = {
    "trailer": Genre((8, 24), (0.5, 0.08, 0.06, 0.05, 0.04), 0, (1, 2), (1, 3), 1, (0.5, 0.35, 0.15)),
    "play": Genre((3, 7), (0.3, 0.25), 3, (4, 14), (3, 6), 3, (0.25, 0.6, 0.15)),
    "parade": Genre((10, 26), (), 0, (2, 5), (2, 5), 1, (0.3, 0.4, 0.3)),
}
HEIGHTS = ((0.35, 0.6), (0.14, 0.3), (0.06, 0.13))
"""Height of a face in a close-up, a medium and a wide shot."""

MIN_PERSON_PIXELS = 16.0
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
        self._cast, self._extras = order[:size], order[size:] or order
        self._weight = cast_weights(size, self._genre.weights)
        self._unseen = list(range(size))
        self.scenes: list[Look] = []
        self.shots: list[Shot] = []
        self.tracks = 0

    def add_scene(self, wanted: int) -> None:
        """Add a scene, of as many shots as are still needed."""
        random, genre = self._random, self._genre
        number = len(self.scenes)
        self.scenes.append(draw_look(self._config, random))
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

    def _add_shot(self, scene: int, people: Sequence[int], photos: Mapping[int, F64]) -> None:
        random, config = self._random, self._config
        low, high = config.frames
        frames = int(np.clip(random.lognormal(np.log(config.usual_frames), 0.7), low, high))
        size = int(random.choice(len(HEIGHTS), p=self._genre.big))
        most = min(len(people), (2, 3, 4)[size])
        weight = self._weight[list(people)]
        count = int(random.integers(1, most + 1))
        chosen = [people[i] for i in _some(random, len(people), count, weight / weight.sum())]
        roles = []
        slots = random.permutation(count + 2)
        for slot, number in zip(slots, chosen, strict=False):
            photo = float(random.choice(photos[number]))
            name = self._cast[number]
            place = _Place(frames, size, (slot + 0.5) / (count + 2))
            roles.append(self._person(name, photo, place))
        roles += self._doubles(roles, frames, slots[count:] / (count + 2))
        share = self._junk / (1 - self._junk)
        for _ in range(int(random.poisson(share * len(roles)))):
            roles.append(self._prop(frames) if random.random() < config.props else self._ruin(frames))
        self.shots.append(Shot(scene, frames, tuple(roles)))
        self.tracks += len(roles)

    def _person(self, name: str, photo: float, place: _Place) -> Role:
        """Somebody of the cast, with all that may go wrong."""
        random, config = self._random, self._config
        height = self.lines * random.uniform(*HEIGHTS[place.size])
        if random.random() < config.turned:
            photo = 1 - (1 - photo) * 0.5  # the turned half of the photographs
            yaw = random.choice([-1, 1]) * random.uniform(15, 45)
        else:
            yaw = random.normal(0, 6)
        cover = 0.0
        if random.random() < config.covered:
            cover = float(random.choice([-1, 1]) * random.uniform(0.25, 0.5))
        path = self._path(max(height, MIN_PERSON_PIXELS), place)
        if random.random() < config.cut_off:
            inside = path.height[0] * random.uniform(-0.05, 0.2)
            edge = inside if place.slot < 0.5 else self.width - inside
            path.centre[:, 0] += edge - path.centre[0, 0]
        turn = yaw + np.cumsum(random.normal(0, 2.5, place.frames))
        return Role("person", name, name, photo, path, turn, cover)

    def _doubles(self, roles: Sequence[Role], frames: int, slots: F64) -> list[Role]:
        """Somebody of the shot again in a mirror, or of the cast on a screen."""
        random, config = self._random, self._config
        made = []
        if random.random() < config.mirrors:
            seen = roles[int(random.integers(len(roles)))]
            height = max(0.8 * seen.path.height[0], MIN_PERSON_PIXELS)
            path = self._path(height, _Place(frames, 1, slots[0]))
            made.append(Role("mirror", seen.identity, seen.person, seen.photo, path, -seen.yaw))
        if random.random() < config.screens:
            name = self._cast[int(random.choice(len(self._cast), p=self._weight))]
            height = max(self.lines * random.uniform(0.1, 0.2), MIN_PERSON_PIXELS)
            path = self._path(height, _Place(frames, 1, slots[1]))
            made.append(Role("screen", name, name, random.random() * 0.5, path, np.zeros(frames)))
        return made

    def _ruin(self, frames: int) -> Role:
        """A face of a few pixels, far away, or near and out of focus."""
        random = self._random
        pixels = float(random.uniform(*self._config.ruin_pixels))
        near = random.random() < 0.5
        height = self.lines * random.uniform(0.08, 0.3) if near else pixels * random.uniform(1.2, 1.8)
        path = self._path(float(height), _Place(frames, 2, random.random()))
        name = self._extras[int(random.integers(len(self._extras)))]
        yaw = np.full(frames, random.normal(0, 20))
        return Role("ruin", UNIDENTIFIED, name, random.random(), path, yaw, pixels=pixels)

    def _prop(self, frames: int) -> Role:
        """A thing that looks like a face to the detector; its height is drawn from its own."""
        path = self._path(1.0, _Place(frames, 2, self._random.random()))
        return Role("prop", NO_FACE, "", self._random.random(), path, np.zeros(frames))

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
            roll=random.normal(0, 9) + np.cumsum(random.normal(0, 1.2, frames)),
            smear=np.gradient(centre, axis=0) * shutter if frames > 1 else np.zeros((1, 2)),
        )


class _Place(NamedTuple):
    """Where somebody is in a shot."""

    frames: int
    size: int  # of HEIGHTS
    slot: float  # 0 is the left edge, 1 the right one


def cast_weights(size: int, first: Sequence[float]) -> F64:
    """How often each of the cast is chosen: the first as given, the others alike."""
    given = np.array(first[:size])
    rest = size - len(given)
    left = np.full(rest, (1 - given.sum()) / rest if rest else 0.0)
    weight = np.concatenate([given, left])
    result: F64 = weight / weight.sum()
    return result


def draw_look(config: HardConfig, random: np.random.Generator) -> Look:
    """Backdrop and light of a scene."""
    dark = random.random() < config.dark
    backdrop = random.random(4)
    return Look(
        backdrop=(backdrop[0], backdrop[1], backdrop[2], backdrop[3]),
        gain=float(random.uniform(0.12, 0.35) if dark else np.exp(random.normal(-0.1, 0.2))),
        gamma=float(np.exp(random.normal(0, 0.2))),
        tint=np.exp(random.normal(0, 0.18, 3)),
        haze=float(abs(random.normal(0, 0.05))),
        side=float(random.normal(0, 0.6)),
        shake=float(abs(random.normal(0, 0.8))),
        blur=float(max(0.0, random.normal(0.2, 0.5))),
    )


def _some(random: np.random.Generator, of: int, count: int, weight: F64) -> list[int]:
    """Distinct numbers below `of`, drawn by weight."""
    possible = min(count, int((weight > 0).sum()))
    return [int(i) for i in random.choice(of, possible, replace=False, p=weight)]
