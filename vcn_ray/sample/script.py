"""The script of the sample film: its shots, the people in them and all movements.

It holds data only; it does not know how a picture is drawn. Positions are pixels of a 640x360
frame, sizes are heights of a face from above the brow to the chin, angles are degrees, and focus is
the standard deviation of a blur in pixels. The people of a shot are listed back to front.
"""

from __future__ import annotations

from dataclasses import dataclass

FRAME_RATE = 25
FRAME_SIZE = (640, 360)  # width, height


@dataclass(frozen=True)
class Pose:
    """Position and direction of a face at one moment of a shot."""

    x: float
    y: float
    size: float
    yaw: float = 0.0  # positive: turns to the right of the frame
    roll: float = 0.0  # positive: tilts clockwise
    pitch: float = 0.0  # positive: looks down


@dataclass(frozen=True)
class Role:
    """One person in one shot."""

    person: int  # 1 to 8
    poses: tuple[Pose, ...]  # evenly spaced in time, first frame to last
    mirrored: bool = False
    focus: tuple[float, float] = (0.0, 0.0)  # at the start and the end of the shot


@dataclass(frozen=True)
class Camera:
    """The point at which the camera is aimed, relative to the middle, and its zoom."""

    x: float = 0.0
    y: float = 0.0
    zoom: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Shot:
    """A piece of film between two cuts."""

    place: str
    frames: int
    roles: tuple[Role, ...] = ()
    start: Camera = Camera()
    end: Camera = Camera()
    front: str | None = None  # scenery in front of the people
    exposure: tuple[float, float] = (1.0, 1.0)  # at the start and the end of the shot
    sweep: float = 0.0  # how far passing lights move the key light and the exposure
    dissolve: int = 0  # frames during which the previous shot fades into this one


def _still(person: int, x: float, y: float, size: float, mirrored: bool = False) -> Role:
    """Return the role of a person who stays in place and glances to one side and back."""
    poses = (
        Pose(x, y, size, yaw=-10, roll=-3),
        Pose(x + 6, y - 2, size * 1.02, yaw=12, roll=3, pitch=3),
        Pose(x - 2, y + 2, size * 1.04, yaw=-4, roll=-1),
    )
    return Role(person, poses, mirrored)


SHOTS: tuple[Shot, ...] = (
    Shot(place="street", frames=40, start=Camera(-60, 20), end=Camera(60, -10, 1.06)),
    Shot(
        place="bar",
        frames=62,
        roles=(
            Role(
                3,
                (
                    Pose(205, 158, 128, yaw=-14, roll=-6),
                    Pose(300, 152, 140, yaw=12, roll=2),
                    Pose(352, 156, 146, yaw=4, roll=5, pitch=4),
                ),
            ),
        ),
        start=Camera(-30, 0, 1.0),
        end=Camera(24, 0, 1.06),
        front="counter",
    ),
    Shot(
        place="bar",
        frames=66,
        roles=(
            Role(
                3,
                (Pose(165, 150, 122, yaw=14), Pose(176, 154, 124, yaw=-6, roll=4)),
                focus=(0, 1.1),
            ),
            Role(
                1,
                (Pose(448, 164, 124, yaw=-12, roll=-4), Pose(436, 158, 128, yaw=8, roll=3)),
                focus=(1.2, 0),
            ),
        ),
        start=Camera(12, 0),
        end=Camera(-12, 0, 1.03),
        front="counter",
    ),
    Shot(
        place="bar",
        frames=50,
        roles=(
            Role(
                1,
                (Pose(350, 176, 164, yaw=-12, roll=-5), Pose(316, 170, 182, yaw=12, roll=5)),
            ),
        ),
        exposure=(0.92, 1.08),
    ),
    Shot(
        place="bar",
        frames=70,
        roles=(
            Role(5, (Pose(318, 128, 106, yaw=-8), Pose(322, 130, 108, yaw=10, roll=3))),
            _still(3, 122, 150, 108),
            Role(1, (Pose(520, 158, 108, yaw=-10, roll=-4), Pose(508, 156, 112, yaw=6, roll=2))),
        ),
        start=Camera(-16, 6),
        end=Camera(14, 0, 1.04),
        front="counter",
    ),
    Shot(
        place="office",
        frames=64,
        roles=(
            Role(
                7,
                (
                    Pose(120, 140, 112, yaw=14, roll=3),
                    Pose(330, 148, 122, yaw=6, roll=-2),
                    Pose(520, 142, 132, yaw=-8, roll=2),
                ),
            ),
        ),
        start=Camera(-40, 0),
        end=Camera(40, 0),
    ),
    Shot(
        place="office",
        frames=64,
        roles=(
            _still(7, 450, 148, 122, mirrored=True),
            Role(
                8,
                (
                    Pose(190, 152, 120, yaw=8, roll=-4),
                    Pose(204, 150, 126, yaw=-10, roll=4, pitch=4),
                ),
            ),
        ),
        start=Camera(10, 4, 1.04),
        end=Camera(-8, 0),
    ),
    Shot(
        place="office",
        frames=48,
        roles=(
            Role(8, (Pose(300, 168, 150, yaw=-10, roll=5), Pose(336, 172, 168, yaw=10, roll=-5))),
        ),
        exposure=(1.06, 0.94),
    ),
    Shot(
        place="office",
        frames=66,
        roles=(
            Role(2, (Pose(128, 150, 106, yaw=8, roll=4), Pose(140, 146, 110, yaw=-6, roll=-2))),
            Role(7, (Pose(520, 146, 106, yaw=-8), Pose(512, 142, 108, yaw=10, roll=-3))),
            Role(4, (Pose(322, 152, 112, roll=-4), Pose(330, 148, 114, yaw=10, roll=4))),
        ),
        start=Camera(20, 0, 1.02),
        end=Camera(-14, 4),
    ),
    Shot(
        place="living room",
        frames=50,
        roles=(
            Role(6, (Pose(380, 170, 150, yaw=12, roll=6), Pose(338, 166, 166, yaw=-12, roll=-3))),
        ),
    ),
    Shot(
        place="living room",
        frames=64,
        roles=(
            Role(6, (Pose(200, 158, 122, yaw=-8, roll=-3), Pose(210, 156, 124, yaw=12, roll=3))),
            Role(
                2,
                (Pose(470, 152, 118, yaw=10, roll=-4), Pose(440, 156, 124, yaw=-6, roll=4)),
                focus=(1.3, 0),
            ),
        ),
        start=Camera(-20, 0),
        end=Camera(10, 0, 1.05),
    ),
    Shot(
        place="living room",
        frames=70,
        roles=(
            Role(2, (Pose(516, 146, 108, yaw=-8, roll=3), Pose(506, 148, 110, yaw=8)), True),
            _still(6, 326, 158, 108, mirrored=True),
            Role(4, (Pose(120, 150, 110, yaw=10, roll=4), Pose(138, 152, 114, yaw=-8, roll=-4))),
        ),
        start=Camera(0, 0, 1.06),
        end=Camera(0, 4),
        exposure=(0.94, 1.04),
    ),
    Shot(place="shore", frames=36, start=Camera(-30, 0), end=Camera(20, -14, 1.08)),
    Shot(
        place="garden",
        frames=64,
        roles=(
            Role(5, (Pose(190, 128, 120, yaw=10, roll=3), Pose(200, 132, 124, yaw=-8, roll=-2))),
            Role(1, (Pose(455, 158, 122, yaw=12, roll=4), Pose(448, 154, 126, yaw=-10, roll=-4))),
        ),
        start=Camera(-24, 0),
        end=Camera(24, 0),
        front="leaves",
    ),
    Shot(
        place="garden",
        frames=48,
        roles=(
            Role(
                5,
                (Pose(330, 150, 150, yaw=-10, roll=-4), Pose(372, 160, 172, yaw=8, roll=4)),
                mirrored=True,
            ),
        ),
        exposure=(1.0, 1.1),
    ),
    Shot(
        place="garden",
        frames=66,
        roles=(
            Role(3, (Pose(330, 138, 106, yaw=-10), Pose(322, 140, 108, yaw=8, roll=3)), True),
            Role(1, (Pose(532, 156, 108, yaw=6, roll=-3), Pose(534, 158, 110, yaw=-8, roll=4))),
            Role(8, (Pose(116, 158, 112, yaw=10, roll=3), Pose(110, 154, 114, yaw=-6, roll=-3))),
        ),
        start=Camera(8, 0, 1.03),
        end=Camera(0, 0, 1.0),
        front="leaves",
    ),
    Shot(
        place="street",
        frames=72,
        roles=(
            Role(
                7,
                (
                    Pose(432, 142, 112, yaw=-12, roll=2),
                    Pose(428, 146, 114, yaw=8, roll=-2),
                    Pose(500, 150, 120, yaw=12, roll=3),
                ),
            ),
            Role(
                4,
                (
                    Pose(222, 146, 114, yaw=12, roll=-3),
                    Pose(230, 150, 118, yaw=-8, roll=4),
                    Pose(290, 152, 128, yaw=8, roll=-4),
                ),
            ),
        ),
        start=Camera(-10, 0),
        end=Camera(30, 0, 1.04),
        dissolve=15,
    ),
    Shot(
        place="night train",
        frames=62,
        roles=(
            Role(
                8, (Pose(464, 154, 122, yaw=-10, roll=3), Pose(456, 150, 126, yaw=8, roll=-4)), True
            ),
            Role(
                2, (Pose(178, 152, 120, yaw=6, roll=-5), Pose(190, 156, 124, yaw=-10, roll=3)), True
            ),
        ),
        start=Camera(-70, 0),
        end=Camera(-40, 0, 1.02),
        sweep=0.5,
    ),
    Shot(
        place="night train",
        frames=48,
        roles=(
            Role(
                4,
                (Pose(300, 168, 150, yaw=10, roll=5), Pose(330, 164, 160, yaw=-10, roll=-4)),
                True,
            ),
        ),
        start=Camera(40, 0),
        end=Camera(60, 0),
        sweep=0.45,
    ),
    Shot(
        place="theatre",
        frames=60,
        roles=(
            Role(
                3,
                (Pose(450, 146, 122, yaw=10, roll=4), Pose(420, 150, 126, yaw=-10, roll=-3)),
                focus=(0, 1.2),
            ),
            Role(6, (Pose(196, 158, 122, yaw=-10), Pose(206, 156, 128, yaw=12, roll=4))),
        ),
        start=Camera(0, 0, 1.05),
        end=Camera(10, 0),
    ),
    Shot(
        place="theatre",
        frames=66,
        roles=(
            Role(5, (Pose(520, 128, 108, yaw=8), Pose(512, 132, 110, yaw=-10, roll=-3)), True),
            Role(7, (Pose(318, 140, 106, yaw=-10, roll=2), Pose(326, 144, 110, yaw=10, roll=-2))),
            Role(2, (Pose(118, 152, 110, yaw=10, roll=4), Pose(126, 154, 112, yaw=-6, roll=-3))),
        ),
        start=Camera(-12, 0),
        end=Camera(12, 0, 1.03),
    ),
    Shot(
        place="bar",
        frames=66,
        roles=(
            _still(4, 126, 148, 108),
            Role(
                6,
                (Pose(522, 156, 108, yaw=10, roll=3), Pose(510, 158, 112, yaw=-10, roll=-3)),
                True,
            ),
            Role(8, (Pose(318, 152, 110, yaw=-8, roll=-4), Pose(324, 154, 116, yaw=8, roll=3))),
        ),
        start=Camera(0, 0, 1.04),
        end=Camera(0, 4),
        front="counter",
        exposure=(1.0, 0.9),
    ),
)
