"""How well are tracks of film-like titles told apart, against baselines, and where time goes.

    python benchmarks/film_tracks.py FILE.npz ... --pack DIR [--profile NAME ...] [--json OUT]

FILE.npz holds crops (m, p, p, 3) uint8 RGB, track (m,), frame (m,), label (k,), scene (k,), as
../shared/bench/make_tracks.py makes them. Labels only score; "oracle" is the one row that sees
them, the best of all cuts.

How to read a row: WCP rewards splitting, PCR is clusters over people (1 is right), NMI and B-cubed
weigh both kinds of error, all over the tracks in a cluster; the share left unknown belongs beside
them. "matches" are precision/recall of the pairs of tracks that each round trained on (METHOD 2.5);
those of a large group are thinned out, which costs recall by intent. "train" is all of the
adaptation but its first encoding. Peak memory of a CPU is the most that this process ever took, so
with several films it says something of the largest so far. "together" is the share of all pairs of
tracks that are seen in one frame, "joined" how many of them one cluster holds. On a GPU "floor" is
the seconds that the encoder alone needs for the same passes, and the last column how often they go
into encode + train; on a CPU they are measured if --floor asks for them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from adapting import AdaptedFilm, adapt_film
from baselines import finch, hac, hac_oracle, hdbscan, letter_by_cosine
from encoding import encode_film
from films import Film, load_film
from floor import count_passes, floor_seconds
from running import PROFILES, Bench, make_parser, open_bench
from scoring import SCORE_COLUMNS, Cell, Report, cluster_film, score_cells, score_pairs, scores_of

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
    "together": ".2%",
    "joined": ".1%",
    "floor s": ".1f",
    "times floor": ".2f",
    "note": "",
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--profile", action="append", choices=PROFILES)
    parser.add_argument("--floor", action="store_true", help="measured on a GPU in any case")
    options = parser.parse_args(argv)
    bench = open_bench(options)
    report = Report(COLUMNS)
    for path in options.films:
        for row in run_film(load_film(path), bench, options):
            report.add(row)
    report.add_means("film", ["method"])
    report.save(options.json)


def run_film(film: Film, bench: Bench, options: argparse.Namespace) -> Iterator[dict[str, Cell]]:
    """All methods on one film."""
    names = options.profile or ("head-only", "default")
    yield from run_baselines(film, bench, bench.profile(names[-1]).finetune)
    for name in names:
        config = bench.profile(name)
        found = adapt_film(film, bench, config.finetune)
        began = time.perf_counter()
        result = cluster_film(found.adapted.outputs, film.title.cannot_link, config)
        seconds = time.perf_counter() - began
        row = row_of(film, name, result.label, seconds)
        row |= adaptation_cells(film, found)
        row["note"] = "; ".join(found.adapted.warnings + result.warnings)
        if options.floor or bench.device.type == "cuda":
            row |= floor_cells(film, found, bench, config.finetune)
        yield row


def row_of(film: Film, method: str, label: I64, seconds: float) -> dict[str, Cell]:
    """What every method has to show."""
    return {
        "film": film.name,
        "method": method,
        **scores_of(film.truth, label),
        "cluster s": seconds,
        "together": film.together,
        "joined": placed_together(label, film.title.cannot_link),
    }


def placed_together(label: I64, cannot_link: I64) -> float:
    """Share of the pairs (c, 2) in one cluster; two unknown tracks are in none."""
    left, right = label[cannot_link[:, 0]], label[cannot_link[:, 1]]
    return float(((left == right) & (left != UNKNOWN)).mean()) if len(cannot_link) else 0.0


def adaptation_cells(film: Film, found: AdaptedFilm) -> dict[str, Cell]:
    """How the rounds went, and what they took."""
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
    """What the encoder alone would take."""
    passes = count_passes(film.title, config, found.adapted.history, found.kept)
    least = floor_seconds(passes, bench, config)
    taken = found.encode_seconds + found.train_seconds
    return {"floor s": least, "times floor": taken / least}


def run_baselines(film: Film, bench: Bench, config: AdaptConfig) -> Iterator[dict[str, Cell]]:
    """Clusterings of the untuned embeddings."""
    crops, means = untuned_embeddings(film, bench, config)
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
        "METHOD 4, untuned cosine": lambda: letter_by_cosine(crops, film.title.track),
    }
    for name, run in methods.items():
        began = time.perf_counter()
        label = run()
        yield row_of(film, name, label, time.perf_counter() - began)


def untuned_embeddings(film: Film, bench: Bench, config: AdaptConfig) -> tuple[F64, F64]:
    """Unit embeddings (m, d) of the crops as they are, and (k, d) of the tracks' means."""
    encoded = encode_film(film, bench, config).views
    crops = encoded.pretrained.embeddings[0].cpu().numpy().astype(np.float64)
    track = film.title.track
    means = np.stack([crops[track == t].mean(axis=0) for t in range(film.title.tracks)])
    return crops, unit_rows(means)


if __name__ == "__main__":
    main()
