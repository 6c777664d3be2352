"""Reads a folder of labelled faces: one sub-folder for each person, with pictures in it.

It knows no network. Files that are no pictures by their name, and hidden ones, are passed over;
folders within a person's folder are not entered.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from vcn_ray.errors import UsageError
from vcn_ray.models.letterbox import shrink
from vcn_ray.records import U8

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}


class FaceFile(NamedTuple):
    """A picture that is said to show somebody."""

    path: Path
    person: int  # number of the sub-folder, from 0, in the order of names


def find_faces(folder: Path) -> list[FaceFile]:
    """The pictures of a labelled folder, person by person, in the order of names.

    Raises:
        UsageError: There is no such folder, or it holds too little to compare.
    """
    layout = "give one sub-folder for each person, with pictures in it"
    try:
        people = sorted(p for p in folder.iterdir() if p.is_dir() and p.name[0] != ".")
        pictures = [picture_files(person) for person in people]
    except OSError as error:
        where = error.filename or folder
        raise UsageError(f"{where} cannot be read ({error.strerror}): {layout}") from error
    pictures = [files for files in pictures if files]
    if len(pictures) < 2:
        raise UsageError(
            f"{folder} has pictures of {len(pictures)} people, needed are two: {layout}"
        )
    if max(map(len, pictures)) < 2:
        raise UsageError(
            f"{folder} has one picture of each of {len(pictures)} people: at least one person "
            "needs two"
        )
    return [FaceFile(path, person) for person, files in enumerate(pictures) for path in files]


def picture_files(folder: Path) -> list[Path]:
    """Files that are pictures by their name, in the order of names."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and path.name[0] != "." and path.is_file()
    )


def read_face(path: Path, long_side: int) -> U8 | None:
    """(h, w, 3) uint8 RGB, upright, shrunk in proportion to the long side; None: unreadable."""
    try:
        with warnings.catch_warnings(), Image.open(path) as image:
            warnings.simplefilter("ignore")  # on odd pictures that can be read all the same
            image.draft("RGB", (long_side, long_side))  # JPEG alone: decoded no larger than needed
            picture = np.array(ImageOps.exif_transpose(image).convert("RGB"))
    except Exception:  # decoders of broken pictures raise whatever they stumble on
        return None
    return shrink(picture, long_side)
