"""How well does the method cluster film-like tracks against baselines, and where does time go?

    python -m benchmarks.method.film_tracks FILE.npz ... --pack DIR [--profile NAME ...]
        [--trained-crops N]

FILE.npz holds crops (m, p, p, 3) uint8 RGB, track (m,), frame (m,), label (k,), scene (k,), as
../shared/bench/make_tracks.py makes them. Labels are used for scores only; "oracle" is the one row
that sees them: it takes the best of all cuts.

How to read a row: WCP rewards splitting, PCR is clusters over people (1 is right), NMI and B-cubed
weigh both kinds of error. All scores are over the tracks in a cluster, so read them together with
the fraction left unknown. "matches" are precision/recall of the pairs of tracks that each round
trained on (METHOD 2.5); pairs of a large group are thinned out, which costs recall on purpose.
"train" is the whole adaptation except its first encoding. Peak memory on a CPU is that of the
process so far, so with several films it is that of the largest film so far. "co-occurring" is the
fraction of all pairs of tracks that are seen in one frame, "merged" the fraction of those pairs
that one cluster holds. "floor" is the seconds that the encoder alone needs for the same passes, and
"times floor" is encode + train over that; both are measured on a GPU, and on a CPU with --floor.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from benchmarks.command import read_options, save
from benchmarks.method.adapting import AdaptedFilm, adapt_film
from benchmarks.method.baselines import finch, hac, hac_oracle, hdbscan, published_by_cosine
from benchmarks.method.encoding import encode_film
from benchmarks.method.films import Film, load_film
from benchmarks.method.floor import count_passes, floor_seconds
from benchmarks.method.running import PROFILES, Bench, film_parser, open_bench
from benchmarks.method.scoring import (
    SCORE_COLUMNS,
    cluster_film,
    score_cells,
    score_pairs,
    scores_of,
)
from benchmarks.report import Cell, Report
from vcn_ray.core.metrics import UNKNOWN
from vcn_ray.core.vectors import unit_rows
from vcn_ray.learn.adapt_config import AdaptConfig
from vcn_ray.records import F64, I64

COLUMNS = {
    "film": "",
    "method": "",
    **SCORE_COLUMNS,
    "matches P/R": "",
    "encode s": ".0f",
    "train s": ".1f",
    "cluster s": ".2f",
    "peak MB": ".0f",
    "co-occurring": ".2%",
    "merged": ".1%",
    "floor s": ".1f",
    "times floor": ".2f",
    "note": "",
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = film_parser(__doc__, __file__)
    parser.add_argument("--profile", action="append", choices=PROFILES)
    parser.add_argument(
        "--trained-crops",
        type=int,
        action="append",
        metavar="N",
        help="train on N crops of a film at most; a row for each N",
    )
    parser.add_argument("--floor", action="store_true", help="measure it on a CPU, too")
    options = read_options(parser, argv)
    bench = open_bench(options)
    report = Report(COLUMNS)
    for path in options.films:
        for row in run_film(load_film(path), bench, options):
            report.add(row)
    report.add_means("film", ["method"])
    save(options, report)


def run_film(film: Film, bench: Bench, options: argparse.Namespace) -> Iterator[dict[str, Cell]]:
    """All methods on one film."""
    names = options.profile or ("head-only", "default")
    yield from run_baselines(film, bench, bench.profile(names[-1]).adapt)
    limits = options.trained_crops or (AdaptConfig().trained_crops,)
    for name, limit in itertools.product(names, limits):
        config = bench.profile(name)
        config = replace(config, adapt=replace(config.adapt, trained_crops=limit))
        method = f"{name}, {limit:,} crops" if options.trained_crops else name
        found = adapt_film(film, bench, config.adapt)
        began = time.perf_counter()
        result = cluster_film(
            found.adapted.outputs, film.title.cannot_link, config, prior=bench.prior
        )
        seconds = time.perf_counter() - began
        row = row_of(film, method, result.label, seconds)
        row |= adaptation_cells(film, found)
        row["note"] = "; ".join(found.adapted.warnings + result.warnings)
        if options.floor or bench.device.type == "cuda":
            row |= floor_cells(film, found, bench, config.adapt)
        yield row


def row_of(film: Film, method: str, label: I64, seconds: float) -> dict[str, Cell]:
    """The cells that every method fills."""
    return {
        "film": film.name,
        "method": method,
        **scores_of(film.truth, label),
        "cluster s": seconds,
        "co-occurring": film.co_occurring,
        "merged": merged_fraction(label, film.title.cannot_link),
    }


def merged_fraction(label: I64, cannot_link: I64) -> float:
    """Fraction of the pairs (c, 2) that one cluster holds; unknown tracks are in no cluster."""
    left, right = label[cannot_link[:, 0]], label[cannot_link[:, 1]]
    return float(((left == right) & (left != UNKNOWN)).mean()) if len(cannot_link) else 0.0


def adaptation_cells(film: Film, found: AdaptedFilm) -> dict[str, Cell]:
    """Matches of each round, seconds and memory of the adaptation."""
    scores = [score_pairs(pairs, film.truth) for pairs in found.adapted.matches]
    shown = [
        f"{s.precision:.3f}/{s.recall:.3f}"
        for s in scores
        if s.precision is not None and s.recall is not None
    ]
    return {
        "matches P/R": " ".join(shown) or "none",
        "encode s": found.encode_seconds,
        "train s": found.train_seconds,
        "peak MB": found.adapted.peak_bytes / 1e6,
    }


def floor_cells(
    film: Film, found: AdaptedFilm, bench: Bench, config: AdaptConfig
) -> dict[str, Cell]:
    """Seconds of the encoder alone, and how many times that the adaptation took."""
    passes = count_passes(film.title, config, found.adapted.history, found.kept)
    floor = floor_seconds(passes, bench, config)
    taken = found.encode_seconds + found.train_seconds
    return {"floor s": floor, "times floor": taken / floor}


def run_baselines(film: Film, bench: Bench, config: AdaptConfig) -> Iterator[dict[str, Cell]]:
    """Clusterings of the pretrained encoder's embeddings."""
    crops, means = pretrained_embeddings(film, bench, config)
    cut, best = hac_oracle(means, film.truth)
    yield {
        "film": film.name,
        "method": "HAC, oracle cut",
        **score_cells(best),
        "note": f"at {cut:.2f}",
    }
    methods: dict[str, Callable[[], I64]] = {
        "HAC at 0.6": lambda: hac(means),
        "HDBSCAN": lambda: hdbscan(means),
        "FINCH": lambda: finch(means),
        "METHOD 4, pretrained cosine": lambda: published_by_cosine(crops, film.title.track),
    }
    for name, run in methods.items():
        began = time.perf_counter()
        label = run()
        yield row_of(film, name, label, time.perf_counter() - began)


def pretrained_embeddings(film: Film, bench: Bench, config: AdaptConfig) -> tuple[F64, F64]:
    """Unit embeddings (m, d) of the plain crops, and (k, d) of the tracks' means."""
    encoded = encode_film(film, bench, config).views
    crops = encoded.pretrained.embeddings[0].cpu().numpy().astype(np.float64)
    track = film.title.track
    means = np.stack([crops[track == t].mean(axis=0) for t in range(film.title.tracks)])
    return crops, unit_rows(means)


if __name__ == "__main__":
    main()
