"""What is the prior of a pack, and does it depend on the pictures from which it is measured?

    python -m benchmarks.method.priors FACES [--packs NAME,DIR]

FACES has a sub-folder of pictures for each person, as for `vcn packs check --faces`; the first
picture of each person counts, or the first --each. The constants of the built-in packs
(`vcn_ray/packs/embedded.py`) are the rows of FACES with one picture each.

How to read a row: "shipped" are the faces of eight people in the pictures that come with the
dependencies, which `vcn packs add` takes unless it is given others. The columns from "stranger
cosine" on are the fields of `FacePrior`; "cut" is the cosine distance up to which two tracks are
taken as one person. "as in the pack" says whether the pack itself has this very prior. Seconds are
of one thread, wall clock.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import cv2
import torch

from benchmarks.command import make_parser, read_options, save
from benchmarks.report import Cell, Report, say
from vcn_ray.core.prior import FacePrior
from vcn_ray.packs.accuracy import list_people
from vcn_ray.packs.calibrate import measure_prior
from vcn_ray.packs.embedded import BUILT_IN_NAMES
from vcn_ray.packs.face_pack import FacePack
from vcn_ray.packs.load import load_pack
from vcn_ray.packs.prior_pictures import LabelledPictures, shipped_pictures
from vcn_ray.records import U8

FIELDS = {
    "stranger cosine": "stranger_cosine",
    "stranger sd": "stranger_sd",
    "min score": "min_score",
    "intercept": "intercept",
    "per score": "per_score",
    "per length": "per_length",
    "per stability": "per_stability",
}
COLUMNS = {
    "pack": "",
    "pictures": "",
    "people": "",
    "cut": ".4f",
    **dict.fromkeys(FIELDS, ".4f"),
    "as in the pack": "",
    "seconds": ".0f",
}
SHIPPED_PEOPLE = 8


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, __file__)
    parser.add_argument("faces", type=Path, metavar="FACES", help="pictures of people")
    parser.add_argument(
        "--packs",
        default=",".join(BUILT_IN_NAMES),
        metavar="NAME,...",
        help="names or folders (default: the built-in packs)",
    )
    parser.add_argument(
        "--each", type=_count, default=1, metavar="N", help="pictures of each person (1)"
    )
    options = read_options(parser, argv)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    labelled = first_pictures(options.faces, options.each)
    shipped = shipped_pictures()
    report = Report(COLUMNS)
    for name in options.packs.split(","):
        pack = load_pack(name)
        say(f"{pack.name} ...")
        report.add(measure(pack, shipped, None))
        report.add(measure(pack, labelled, labelled.person))
    save(options, report)


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, got {value}")
    return value


def first_pictures(folder: Path, each: int) -> LabelledPictures:
    """The first pictures of each person of a folder."""
    people = [files[:each] for files in list_people(folder)]
    files = tuple(file for person in people for file in person)
    return LabelledPictures(files, tuple(n for n, person in enumerate(people) for _ in person))


def measure(
    pack: FacePack, pictures: Sequence[U8], person: Sequence[int] | None
) -> dict[str, Cell]:
    """The row of a pack; `person` is as in `measure_prior`, None for the shipped pictures."""
    began = time.perf_counter()
    prior = measure_prior(pack, pictures, person)
    return {
        "pack": pack.name,
        "pictures": f"{len(pictures)} {'shipped' if person is None else 'of FACES'}",
        "people": SHIPPED_PEOPLE if person is None else len(set(person)),
        "cut": prior.cut,
        **cells(prior),
        "as in the pack": "yes" if prior == pack.prior else "no",
        "seconds": time.perf_counter() - began,
    }


def cells(prior: FacePrior) -> dict[str, Cell]:
    """The fields of a prior, by column."""
    values = asdict(prior)
    return {column: values[field] for column, field in FIELDS.items()}


if __name__ == "__main__":
    main()
