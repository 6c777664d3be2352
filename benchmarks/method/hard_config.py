"""How hard titles are, and the records of what happens in them; it draws nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from vcn_ray.records import F64

Kind = Literal["person", "mirror", "screen", "ruin", "prop"]

FPS = 8.0
"""Analysed frames a second, as in a run."""

NETWORK_WIDTH = 640
"""Pixels to which CenterFace scales a picture; what it takes for a face depends on them."""


@dataclass(frozen=True, kw_only=True)
class HardConfig:
    """How hard titles are. Sizes are fractions of the picture's height unless a unit is named."""

    tracks: tuple[int, int] = (5, 50)
    frames: tuple[int, int] = (4, 30)  # of a shot
    usual_frames: float = 9.0
    lines: tuple[int, ...] = (240, 360, 480)  # height of the picture in pixels
    crf: tuple[float, float] = (25.0, 37.0)  # H.264; more is worse
    dark: float = 0.25  # chance of a dark scene
    junk: Mapping[str, float] = field(
        default_factory=lambda: {"trailer": 0.8, "play": 0.25, "parade": 0.35}
    )  # candidates for each face of a person; detectors miss most of them
    props: float = 0.4  # fraction of the junk that is no face at all
    ruin_pixels: tuple[float, float] = (6.0, 12.0)  # that a ruined face really has
    turned: float = 0.45  # chance that a track shows a turned head
    yaw: float = 16.0  # standard deviation in degrees, on top of that
    nod: float = 12.0  # standard deviation in degrees
    speech: float = 0.06  # standard deviation of the opening of the mouth, of the face's height
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

    height: F64  # (f,) of the face; of a prop its scale
    centre: F64  # (f, 2) of the face
    roll: F64  # (f,) degrees
    yaw: F64  # (f,) degrees, to the right where positive
    nod: F64  # (f,) degrees, downwards where positive
    speech: F64  # (f,) how far the mouth is open, as a fraction of the face's height
    smear: F64  # (f, 2) that it moves while the shutter is open


@dataclass(frozen=True, eq=False)
class Role:
    """A face, or something like one, during a shot of f frames."""

    kind: Kind
    identity: str  # a person, UNIDENTIFIED or NO_FACE
    person: str  # whose photographs; empty for a prop
    photo: float  # in [0, 1): which of them, from frontal to turned; or which prop
    path: Path
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
