"""How much does the result vary by chance, and with very few or very many people?

    python -m benchmarks.method.robustness FILE.npz ... --pack DIR [--seeds 10] [--people 1 2]

--seeds N trains N times on the same views with other random numbers: one row each, then the
smallest, mean and largest scores and their standard deviations. Smaller differences elsewhere are
noise.

--people 1 (or 2, ...) keeps the tracks of the people with the most tracks. --people 100-once keeps
one random track of each of 100 people, or of all people where there are fewer; the row says how
many. --make SHARED makes a film of that many people from the photographs in SHARED, the folder with
bench/make_tracks.py; FILE.npz is then the file to write, or to use where it exists.

How to read a row: with one person PCR is the number of people found, and NMI is 1 or 0 and shows
nothing. With people seen once each WCP falls with every wrong merge, and nothing can be split.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.command import read_options, save
from benchmarks.method.adapting import adapt_film
from benchmarks.method.encoding import encode_film
from benchmarks.method.films import Film, keep_tracks, load_film, make_film
from benchmarks.method.running import Bench, film_parser, open_bench
from benchmarks.method.scoring import SCORE_COLUMNS, cluster_film, score_cells
from benchmarks.report import Cell, Report
from vcn_ray.config import RunConfig
from vcn_ray.core.metrics import ClusterScores, evaluate_clustering

COLUMNS = {
    "film": "",
    "what": "",
    "tracks": ".5g",
    "people": ".4g",
    "found": ".4g",
    **SCORE_COLUMNS,
    "seconds": ".0f",
    "note": "",
}
ONCE = "-once"
MADE = {"cast": 2, "extras": 1.0, "tracks": 700}
"""A film in which each shot has another extra, which gives many people in few tracks."""


def main(argv: Sequence[str] | None = None) -> None:
    parser = film_parser(__doc__, __file__, one_profile=True)
    parser.add_argument("--seeds", type=int, default=0, metavar="N")
    parser.add_argument("--people", nargs="+", default=[], metavar="N", help="such as 1 2 100-once")
    parser.add_argument("--make", type=Path, metavar="SHARED")
    options = read_options(parser, argv)
    bench = open_bench(options)
    config = bench.profile(options.profile)
    report = Report(COLUMNS)
    for path in options.films:
        if options.make:
            make_film(options.make, path, seed=options.seed, **MADE)
        film = load_film(path)
        for row in run_seeds(film, bench, config, options.seeds):
            report.add(row)
        for words in options.people:
            report.add(run_people(film, bench, config, words))
    save(options, report)


def run_seeds(film: Film, bench: Bench, config: RunConfig, seeds: int) -> Iterator[dict[str, Cell]]:
    """One row for each training, then their statistics."""
    if not seeds:
        return
    encoded = encode_film(film, bench, config.adapt)
    scores: list[ClusterScores] = []
    for seed in range(bench.seed, bench.seed + seeds):
        found = adapt_film(film, bench, config.adapt, seed=seed, encode=lambda: encoded)
        result = cluster_film(
            found.adapted.outputs, film.title.cannot_link, config, prior=bench.prior
        )
        scores.append(evaluate_clustering(film.truth, result.label))
        yield {
            "film": film.name,
            "what": f"training seed {seed}",
            **_cells(scores[-1]),
            "seconds": found.train_seconds,
            "note": "; ".join(found.adapted.warnings + result.warnings),
        }
    table = np.array([[s.nmi, s.pcr, s.wcp, s.bcubed_f, s.unknown_fraction] for s in scores])
    for name, values in (("min", table.min(0)), ("mean", table.mean(0)), ("max", table.max(0))):
        yield {"film": film.name, "what": f"{name} of {seeds} seeds", **_statistics(values)}
    if seeds > 1:
        deviations = table.std(axis=0, ddof=1)
        note = f"NMI {deviations[0]:.4f}, PCR {deviations[1]:.4f}"
        what = "standard deviation"
        yield {"film": film.name, "what": what, **_statistics(deviations), "note": note}


def _statistics(values: np.ndarray) -> dict[str, Cell]:
    names = ("NMI", "PCR", "WCP", "B-cubed F", "unknown")
    return dict(zip(names, values.tolist(), strict=True))


def run_people(film: Film, bench: Bench, config: RunConfig, words: str) -> dict[str, Cell]:
    """The row of a part of a film, chosen by its people."""
    some = with_people(film, words, bench.seed)
    found = adapt_film(some, bench, config.adapt)
    result = cluster_film(found.adapted.outputs, some.title.cannot_link, config, prior=bench.prior)
    return {
        "film": film.name,
        "what": f"people: {words}",
        **_cells(evaluate_clustering(some.truth, result.label)),
        "seconds": found.encode_seconds + found.train_seconds,
        "note": "; ".join(found.adapted.warnings + result.warnings),
    }


def with_people(film: Film, words: str, seed: int) -> Film:
    """Keep the people with the most tracks, or with "-once" one random track of random people."""
    wanted = int(words.removesuffix(ONCE))
    people, count = np.unique(film.truth, return_counts=True)
    rng = np.random.default_rng(seed)
    if words.endswith(ONCE):
        chosen = rng.permutation(people)[:wanted]
        tracks = [rng.choice(np.flatnonzero(film.truth == person)) for person in chosen]
        kept = np.sort(np.array(tracks, np.int64))
    else:
        chosen = people[np.argsort(-count, kind="stable")[:wanted]]
        kept = np.flatnonzero(np.isin(film.truth, chosen))
    return keep_tracks(film, kept, f"{film.name}, people {words}")


def _cells(scores: ClusterScores) -> dict[str, Cell]:
    return {
        "tracks": scores.tracks,
        "people": scores.identities,
        "found": scores.clusters,
        **score_cells(scores),
    }


if __name__ == "__main__":
    main()
