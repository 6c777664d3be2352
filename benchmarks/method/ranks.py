"""Do rendered benchmarks put methods in the order that real clips put them in?

    python -m benchmarks.method.ranks CLIPS_DIR --shared DIR [--titles 24] [--films 3] [--out DIR]

DIR has data/real with the labels of the clips, data/faces with the photographs, and bench with
make_tracks.py, the maker of clean films. CLIPS_DIR has the clips. Ten cheap clusterings of the same
tracks' embeddings (benchmarks/method/rank_methods.py) are scored on the clips, on hard titles, on
the same without wrong cannot-link pairs, and on clean films.

How to read the first table: one row for each method and benchmark, with sums of counts and means of
the rest over its titles. The second table: Spearman's rank correlation of the ten methods between
real clips and each rendered benchmark; "all" ranks methods by the mean of their ranks in the four
measures. "from" and "to" are the 5 and 95 % quantiles over titles and clips drawn again with
replacement: with six clips, they are far apart. Clean films have no junk, so all methods are equal
there in people of no face, and there is no correlation.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import rankdata

from benchmarks.command import add_pack, make_parser, read_options, save
from benchmarks.method.films import load_film, make_film
from benchmarks.method.hard_tracks import Maker, right_pairs
from benchmarks.method.photographs import PARTS
from benchmarks.method.rank_methods import METHODS
from benchmarks.method.real import find_clips, in_clusters, index_clips, open_run
from benchmarks.method.track_sets import Embedder, TrackSet, of_clip, of_film, of_hard_title
from benchmarks.report import Cell, Report
from vcn_ray.core.metrics import UNKNOWN
from vcn_ray.evaluation.labels import read_truth
from vcn_ray.evaluation.scores import count_people, score_clustering
from vcn_ray.packs.embedded import DEFAULT
from vcn_ray.packs.load import load_pack
from vcn_ray.records import F64, I64

MEASURES = {"NMI": 1, "B-cubed F": 1, "no face": -1, "mixed": -1}
"""What methods are ranked by; -1: less is better."""

REAL, HARD, CLEAN = "real clips", "hard titles", "clean films"
RIGHT = "hard titles, right pairs"
"""Without the cannot-link pairs of one person."""

ALL = "all"
DRAWS = 1000
SHORT = ("adapt.rounds=1", "adapt.epochs=1", "adapt.encoder=frozen", "adapt.augmented_views=2")
"""Settings of the clips' index: only its tracks are used, so the rest may be short."""

COLUMNS = {
    "benchmark": "",
    "method": "",
    "titles": "",
    "tracks": "",
    "there": "",
    "found": "",
    "made": "",
    "no face": "",
    "mixed": "",
    "unknown": ".1%",
    "NMI": ".3f",
    "B-cubed F": ".3f",
    "mean rank": ".2f",
}
RANK_COLUMNS = {"benchmark": "", "measure": "", "Spearman": ".2f", "from": ".2f", "to": ".2f"}


class Counts(NamedTuple):
    """The scores of one method on one title."""

    tracks: int
    there: int
    found: int
    made: int
    no_face: int
    mixed: int
    unknown: float  # fraction of the tracks of people
    nmi: float
    bcubed_f: float


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, __file__)
    parser.add_argument("clips", type=Path, metavar="CLIPS_DIR")
    parser.add_argument("--shared", type=Path, required=True, metavar="DIR")
    add_pack(parser, required=False)
    parser.add_argument("--titles", type=int, default=24, help="hard titles")
    parser.add_argument("--part", choices=PARTS, default="dev", help="half of the people")
    parser.add_argument("--films", type=int, default=3, help="clean films")
    parser.add_argument("--out", type=Path, required=True, help="results of the clips go here")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="keep titles and embeddings here")
    options = read_options(parser, argv)
    torch.set_num_threads(1)
    if not (options.shared / "data/faces").is_dir():
        parser.error(f"{options.shared} has no data/faces: the photographs are not shipped")
    scores: dict[str, list[list[Counts]]] = {}
    for name, sets in open_sets(options).items():
        scores[name] = [[score(tracks, run(tracks)) for run in METHODS.values()] for tracks in sets]
    if not scores[REAL]:
        parser.error(f"{options.clips} has none of the labelled clips")
    save(options, *reports(scores))


def open_sets(options: argparse.Namespace) -> dict[str, Iterator[TrackSet]]:
    """The three benchmarks, title by title."""
    pack = load_pack(options.pack or DEFAULT)
    embedder = Embedder(pack.load_encoder(), pack.encoder_hash, options.cache)
    truth = read_truth([options.shared / "data/real"])
    settings = argparse.Namespace(set=SHORT, config=None, cut=None)
    run = open_run(options.pack or DEFAULT, settings, options.out)
    clips = index_clips(find_clips(options.clips, truth), truth, run)
    maker = Maker(options.shared / "data/faces", pack, options.part, cache=options.cache)
    films = [options.out / f"clean-{seed}.npz" for seed in range(1, options.films + 1)]
    return {
        REAL: (of_clip(clip, embedder) for clip in clips),
        HARD: (of_hard_title(maker.make(n), embedder) for n in range(options.titles)),
        RIGHT: (of_hard_title(right_pairs(maker.make(n)), embedder) for n in range(options.titles)),
        CLEAN: (
            of_film(load_film(make_film(options.shared, path, seed=seed)), embedder)
            for seed, path in enumerate(films, 1)
        ),
    }


def score(tracks: TrackSet, label: I64) -> Counts:
    """Score the clusters (k,) of tracks; -1: unknown."""
    inside = np.flatnonzero(label != UNKNOWN)
    result = in_clusters(tracks.labels.tracks, inside, label[inside])
    people, scores = count_people(result, tracks.labels.there), score_clustering(result)
    return Counts(
        len(label),
        *(people.there, people.found, people.made, people.of_no_face, people.mixed),
        *(scores.unknown_fraction, scores.nmi, scores.bcubed_f),
    )


def reports(scores: dict[str, list[list[Counts]]]) -> tuple[Report, Report]:
    """The table of scores, and that of correlations."""
    first = Report(COLUMNS)
    for name, titles in scores.items():
        table = np.array(titles)  # (titles, methods, fields)
        ranks = mean_ranks(measures_of(table))
        for number, method in enumerate(METHODS):
            row = cells(table[:, number], ranks[number])
            first.add({"benchmark": name, "method": method, **row})
    second = Report(RANK_COLUMNS)
    real = measures_of(np.array(scores[REAL]))
    for name in (HARD, RIGHT, CLEAN):
        other = measures_of(np.array(scores[name]))
        for row in correlation_rows(real, other):
            second.add({"benchmark": name, **row})
    return first, second


def cells(titles: F64, rank: float) -> dict[str, Cell]:
    """The cells of a method, from its scores on all titles (n, fields)."""
    sums, means = titles.sum(axis=0), titles.mean(axis=0)
    counts = {
        name: int(sums[at])
        for at, name in enumerate(("tracks", "there", "found", "made", "no face", "mixed"))
    }
    rest = dict(zip(("unknown", "NMI", "B-cubed F"), means[6:].tolist(), strict=True))
    return {"titles": len(titles), **counts, **rest, "mean rank": rank}


def measures_of(table: F64) -> F64:
    """Scores (titles, methods, 4) in the order of MEASURES, larger is better."""
    at = [Counts._fields.index(name) for name in ("nmi", "bcubed_f", "no_face", "mixed")]
    result: F64 = table[..., at] * np.array(list(MEASURES.values()))
    return result


def mean_ranks(measures: F64) -> F64:
    """Mean rank (methods,) over the measures of their means over titles; 1 is the best."""
    result: F64 = rankdata(-measures.mean(axis=0).round(9), axis=0).mean(axis=1)
    return result


def correlation_rows(real: F64, other: F64) -> Iterator[dict[str, Cell]]:
    """The rank correlation in each measure, and in all, with its range over other draws."""
    random = np.random.default_rng(0)
    drawn = [correlations(redraw(real, random), redraw(other, random)) for _ in range(DRAWS)]
    values = correlations(real, other)
    for at, (name, value) in enumerate(zip((*MEASURES, ALL), values, strict=True)):
        if np.isnan(value):
            yield {"measure": name}
        else:
            low, high = np.nanquantile([each[at] for each in drawn], [0.05, 0.95]).tolist()
            yield {"measure": name, "Spearman": value, "from": low, "to": high}


def redraw(titles: F64, random: np.random.Generator) -> F64:
    """As many titles, drawn with replacement."""
    chosen: F64 = titles[random.integers(len(titles), size=len(titles))]
    return chosen


def correlations(left: F64, right: F64) -> list[float]:
    """Spearman's correlation of two benchmarks (titles, methods, 4): four measures, then all."""
    means = left.mean(axis=0).round(9), right.mean(axis=0).round(9)
    each = [spearman(means[0][:, at], means[1][:, at]) for at in range(len(MEASURES))]
    return [*each, spearman(-mean_ranks(left), -mean_ranks(right))]


def spearman(left: F64, right: F64) -> float:
    """Spearman's rank correlation; not a number where one side is all equal."""
    first, second = rankdata(left), rankdata(right)
    if first.std() == 0 or second.std() == 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


if __name__ == "__main__":
    main()
