"""Pictures from which the prior of a pack is measured: those that ship, or a folder's.

Three pictures with the faces of eight people come with insightface and scikit-image. A folder of
labelled pictures, as `accuracy` takes it, gives a better prior. This module runs no network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import overload

import numpy as np
from skimage.data import astronaut

from vcn_ray.packs.accuracy import list_people, read_face, with_border
from vcn_ray.packs.check import read_picture
from vcn_ray.records import U8

MAX_PEOPLE, MAX_PICTURES = 200, 4
"""People, and pictures of each, that are taken of a folder; more change a prior hardly."""

CHOICE_SEED = 0  # the same folder gives the same prior
MAX_SIDE = 960  # pixels, like frames of a film


def shipped_pictures() -> list[U8]:
    """Read the three pictures (h, w, 3) uint8 RGB, which show eight people.

    Raises:
        PackError: A picture is missing.
    """
    # The last one is hardly larger than the face in it, which not every detector finds.
    crop = with_border(read_picture("Tom_Hanks_54745.png"))
    return [read_picture(), np.array(astronaut(), np.uint8), crop]


@dataclass(frozen=True)
class LabelledPictures(Sequence[U8]):
    """Pictures (h, w, 3) uint8 RGB that are read when they are used; unreadable ones are black."""

    files: tuple[Path, ...]
    person: tuple[int, ...]  # of each file, from 0

    @cached_property
    def people(self) -> int:
        """Number of people."""
        return len(set(self.person))

    def __len__(self) -> int:
        return len(self.files)

    @overload
    def __getitem__(self, row: int) -> U8: ...
    @overload
    def __getitem__(self, row: slice) -> list[U8]: ...
    def __getitem__(self, row: int | slice) -> U8 | list[U8]:
        if isinstance(row, slice):
            return [self[each] for each in range(len(self))[row]]
        picture = read_face(self.files[row], MAX_SIDE)
        return np.zeros((64, 64, 3), np.uint8) if picture is None else picture


def labelled_pictures(
    folder: Path, max_people: int = MAX_PEOPLE, max_pictures: int = MAX_PICTURES
) -> LabelledPictures:
    """Choose pictures of a labelled folder, always the same ones.

    Args:
        folder: One sub-folder for each person, with at least one picture.
        max_people: If there are more, so many are chosen at random.
        max_pictures: Of each person, as well.

    Raises:
        UsageError: There is no such folder, or it holds pictures of fewer than two people.
    """
    people = list_people(folder)
    generator = np.random.default_rng(CHOICE_SEED)
    chosen = [
        (file, person)
        for person in _choose(len(people), max_people, generator)
        for file in (
            people[person][row] for row in _choose(len(people[person]), max_pictures, generator)
        )
    ]
    return LabelledPictures(tuple(file for file, _ in chosen), tuple(who for _, who in chosen))


def _choose(count: int, at_most: int, generator: np.random.Generator) -> list[int]:
    """Choose rows at random, in rising order; all of them if there are no more."""
    if count <= at_most:
        return list(range(count))
    return sorted(generator.choice(count, at_most, replace=False).tolist())
