"""How well does the method do on film-like titles that are as hard as real ones?

    python -m benchmarks.method.hard_films --faces DIR [--pack P] [--titles 12] [--part dev]

DIR has a sub-folder of photographs for each person. The people are divided into two halves, and
nobody is in both: choose settings on `dev`, and report `held-out` once. Titles are made by
benchmarks/method/hard_tracks.py with the pack's own detector and aligner, so another pack sees
other tracks of the same films. With --cache, titles and results are kept until the code or a
setting that they depend on changes.

How to read a row: as in benchmarks/method/real.py. "junk" tracks show no face or one that nobody
can identify, "wrong pairs" are tracks of one person that are marked as seen in one frame. "make s"
and "run s" are CPU seconds for the title and for the method, empty where the cache had them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.command import add_pack, make_parser, read_options, save
from benchmarks.method.baselines import HAC_DISTANCE
from benchmarks.method.cache import code_digest, digest, load, store
from benchmarks.method.hard_config import HardConfig
from benchmarks.method.hard_tracks import HardTitle, Maker
from benchmarks.method.photographs import PARTS
from benchmarks.method.props import SearchConfig, find_props
from benchmarks.method.real import COUNTS, CUTS, baseline_cells, score_cells
from benchmarks.report import Cell, Report, say, total_cells
from vcn_ray.cli.options import given_settings
from vcn_ray.config import RunConfig
from vcn_ray.core.metrics import UNKNOWN
from vcn_ray.evaluation.labels import is_person
from vcn_ray.evaluation.output import score_title
from vcn_ray.packs.embedded import DEFAULT
from vcn_ray.packs.face_pack import FacePack
from vcn_ray.packs.load import load_pack
from vcn_ray.records import F64, I64
from vcn_ray.steps import run_title

OWN_COUNTS = (*COUNTS, "junk", "wrong pairs")
COLUMNS = {
    "title": "",
    **dict.fromkeys(OWN_COUNTS, ""),
    "unknown time": ".1%",
    "WCP": ".3f",
    "PCR": ".2f",
    "NMI": ".3f",
    "B-cubed F": ".3f",
    "recall": ".3f",
    "oracle NMI": ".3f",
    "oracle F": ".3f",
    "fixed NMI": ".3f",
    "fixed F": ".3f",
    "make s": ".0f",
    "run s": ".0f",
    "note": "",
}

SMALL = HardConfig(tracks=(6, 6), lines=(240,))
SHORT = SearchConfig(patches=64, rounds=3, min_score=0.06)


class Outcome(NamedTuple):
    """What the method makes of a title, whose tracks it may split: of k tracks and parts."""

    row: I64  # (m,) track or part of each crop
    person: I64  # (k,) -1: unknown
    pretrained: F64  # (k, d) unit mean embeddings of the pretrained encoder
    warnings: str
    seconds: float | None  # of CPU; None where the cache had it


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, __file__)
    parser.add_argument("--faces", type=Path, required=True, metavar="DIR")
    add_pack(parser, required=False)
    parser.add_argument("--titles", type=int, default=12, metavar="N")
    parser.add_argument("--quick", action="store_true", help="small titles: rows mean nothing")
    parser.add_argument("--part", choices=PARTS, default="dev", help="half of the people")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="keep titles and results here")
    parser.add_argument(
        "--wrong-pairs", type=float, default=HardConfig.wrong_pairs, help="fraction: %(default)s"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="a setting"
    )
    parser.add_argument("--config", type=Path, metavar="FILE.toml", help="settings")
    options = read_options(parser, argv)
    if not options.faces.is_dir():
        parser.error(f"{options.faces} is no folder of photographs: they are not shipped")
    torch.set_num_threads(1)
    report = Report(COLUMNS)
    for row in run_titles(options):
        report.add(row)
    report.add(total_row(report.rows))
    save(options, report)


def run_titles(options: argparse.Namespace) -> Iterator[dict[str, Cell]]:
    """The rows of all titles."""
    pack = load_pack(options.pack or DEFAULT)
    config = given_settings(options)
    cache = options.cache
    hard = replace(SMALL if options.quick else HardConfig(), wrong_pairs=options.wrong_pairs)
    props = find_props(SHORT, cache) if options.quick else None
    maker = Maker(options.faces, pack, options.part, config=hard, cache=cache, props=props)
    if len(maker.people) < 2:
        raise SystemExit(f"{options.faces} needs a sub-folder of photographs for each person")
    for number in range(options.titles):
        say(f"{options.part} {number} ...")
        began = time.process_time()
        known, made = maker.has(number), maker.make(number)
        seconds = None if known else time.process_time() - began
        outcome = run(made, pack, config, options.cache)
        yield {**row_of(made, outcome, pack.encoder), "make s": seconds}


def run(made: HardTitle, pack: FacePack, config: RunConfig, cache: Path | None) -> Outcome:
    """Run the method on a title, or read its result from the cache."""
    place = None
    if cache is not None:
        title = made.title
        content = [digest(array.tobytes()) for array in (title.crops, title.track)]
        what = (content, title.cannot_link.tolist(), pack.encoder_hash, repr(config))
        place = (
            cache / f"people-{digest(what, code_digest('vcn_ray.steps'), torch.__version__)}.npz"
        )
    stored = load(place) if place else None
    if stored:
        arrays, facts = stored
        person = arrays["person"].astype(np.int64)
        row, vectors = arrays["row"].astype(np.int64), arrays["pretrained"].astype(np.float64)
        return Outcome(row, person, vectors, facts["warnings"], None)
    began = time.process_time()
    title = replace(made.title, score=made.scores)
    people = run_title(title, pack.load_encoder(), pack.prior, config)
    seconds = time.process_time() - began
    pretrained = people.adapted.outputs.pretrained.astype(np.float64)
    warnings = "; ".join(people.adapted.warnings + people.clustering.warnings)
    if place:
        found = {"row": people.row, "person": people.person, "pretrained": pretrained}
        store(place, found, {"warnings": warnings})
    return Outcome(people.row, people.person, pretrained, warnings, seconds)


def row_of(made: HardTitle, outcome: Outcome, encoder: str) -> dict[str, Cell]:
    """The cells of a title; of the columns of real clips those that fit."""
    person = [None if n == UNKNOWN else str(n) for n in outcome.person.tolist()]
    matched = in_parts(made, outcome.row).match(person)
    cut = CUTS.get(encoder, HAC_DISTANCE)
    shown = score_cells(score_title(matched)) | baseline_cells(matched, outcome.pretrained, cut)
    return {
        "title": made.name,
        **{name: cell for name, cell in shown.items() if name in COLUMNS},
        "junk": sum(not is_person(name) for name in made.identity),
        "wrong pairs": len(made.wrong),
        "run s": outcome.seconds,
        "note": outcome.warnings,
    }


def in_parts(made: HardTitle, row: I64) -> HardTitle:
    """A title as the method sees it: with a track for each part of those it splits.

    Args:
        made: With k tracks and m crops.
        row: (m,) part of each crop; parts are numbered by track, then by time.
    """
    parts, first, crops = np.unique(row, return_index=True, return_counts=True)
    if len(parts) == made.title.tracks:
        return made
    track = made.title.track[first]
    return replace(
        made,
        identity=tuple(made.identity[number] for number in track),
        seconds=made.seconds[track] * crops / np.bincount(made.title.track)[track],
    )


def total_row(rows: Sequence[dict[str, Cell]]) -> dict[str, Cell]:
    """The sums of counts, and the means of the other numbers."""
    return total_cells(rows, COLUMNS, OWN_COUNTS) | {"title": "sum, mean"}


if __name__ == "__main__":
    main()
