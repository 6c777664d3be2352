"""How much does luck move the result, and what of titles with very few or very many people?

    python benchmarks/robustness.py FILE.npz ... --pack DIR [--seeds 10] [--people 1 2 100-once]

--seeds N trains N times on the same views, from other random numbers: one row each, then the
smallest, mean and largest NMI and PCR and their standard deviations. Smaller differences elsewhere
are noise.

--people 1 (or 2, ...) keeps the tracks of the people with the most of them; 100-once keeps one
track, drawn at random, of so many people, or of all where there are fewer: the row says how many.
A film of that many people is made of the photographs with --make SHARED, the folder that has
bench/make_tracks.py; FILE.npz is then only the place where it is written or found.

How to read a row: of one person PCR is the number of people found, and NMI is 1 or 0: it tells
nothing. Of people seen once each WCP falls with every wrong merge and nothing can be split.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from adapting import adapt_film
from encoding import encode_film
from films import Film, keep_tracks, load_film, make_film
from running import Bench, make_parser, open_bench
from scoring import SCORE_COLUMNS, Cell, Report, cluster_film, score_cells

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
"""A film in which each shot has another extra: the quickest way to many people."""


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, one_profile=True)
    parser.add_argument("--seeds", type=int, default=0, metavar="N")
    parser.add_argument("--people", nargs="+", default=[], metavar="N", help="such as 1 2 100-once")
    parser.add_argument("--make", type=Path, metavar="SHARED")
    options = parser.parse_args(argv)
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
    report.save(options.json)


def run_seeds(film: Film, bench: Bench, config: RunConfig, seeds: int) -> Iterator[dict[str, Cell]]:
    """One row for each training, then what they have in common."""
    if not seeds:
        return
    encoded = encode_film(film, bench, config.finetune)
    scores: list[ClusterScores] = []
    for seed in range(bench.seed, bench.seed + seeds):
        found = adapt_film(film, bench, config.finetune, seed=seed, encode=lambda: encoded)
        result = cluster_film(found.adapted.outputs, film.title.cannot_link, config)
        scores.append(evaluate_clustering(film.truth, result.label))
        yield {
            "film": film.name,
            "what": f"training seed {seed}",
            **_cells(scores[-1]),
            "seconds": found.train_seconds,
            "note": "; ".join(found.adapted.warnings + result.warnings),
        }
    table = np.array([[s.nmi, s.pcr, s.wcp, s.bcubed_f, s.unknown_fraction] for s in scores])
    for name, values in (("least", table.min(0)), ("mean", table.mean(0)), ("most", table.max(0))):
        yield {"film": film.name, "what": f"{name} of {seeds} seeds", **_spread(values)}
    if seeds > 1:
        deviations = table.std(axis=0, ddof=1)
        note = f"NMI {deviations[0]:.4f}, PCR {deviations[1]:.4f}"
        what = "standard deviation"
        yield {"film": film.name, "what": what, **_spread(deviations), "note": note}


def _spread(values: np.ndarray) -> dict[str, Cell]:
    names = ("NMI", "PCR", "WCP", "B-cubed F", "unknown")
    return dict(zip(names, values.tolist(), strict=True))


def run_people(film: Film, bench: Bench, config: RunConfig, words: str) -> dict[str, Cell]:
    """A part of a film with so many people."""
    some = with_people(film, words, bench.seed)
    found = adapt_film(some, bench, config.finetune)
    result = cluster_film(found.adapted.outputs, some.title.cannot_link, config)
    return {
        "film": film.name,
        "what": f"people: {words}",
        **_cells(evaluate_clustering(some.truth, result.label)),
        "seconds": found.encode_seconds + found.train_seconds,
        "note": "; ".join(found.adapted.warnings + result.warnings),
    }


def with_people(film: Film, words: str, seed: int) -> Film:
    """The tracks of the most seen people, or with "-once" one track each of people at random."""
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
