"""Does it help to take the episodes of a series as one title?

    python -m benchmarks.method.season FILE.npz ... --pack DIR [--episodes 3]

A film is split into episodes by its scenes, in their order, with about as many tracks in each. The
same people are in all of them. "together" is one model and one clustering of all tracks, as with
`title` in the manifest; "alone" is one model and one clustering for each episode, so the same
person in two episodes is two people.

How to read a row: each episode is scored over its own tracks, so the two ways are comparable;
"combined" is scored over all tracks of the film, where "alone" cannot know who appears again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks.command import read_options, save
from benchmarks.method.adapting import adapt_film
from benchmarks.method.films import Film, keep_tracks, load_film
from benchmarks.method.running import Bench, film_parser, open_bench
from benchmarks.method.scoring import SCORE_COLUMNS, cluster_film, scores_of
from benchmarks.report import Cell, Report
from vcn_ray.core.metrics import UNKNOWN
from vcn_ray.records import I64

COLUMNS = {
    "film": "",
    "way": "",
    "scored": "",
    "tracks": ".5g",
    "people": ".4g",
    **SCORE_COLUMNS,
    "seconds": ".0f",
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = film_parser(__doc__, __file__, one_profile=True)
    parser.add_argument("--episodes", type=int, default=3)
    options = read_options(parser, argv)
    bench = open_bench(options)
    report = Report(COLUMNS)
    for path in options.films:
        film = load_film(path)
        for row in run_film(film, bench, options.profile, options.episodes):
            report.add({"film": film.name, **row})
    report.add_means("film", ["way", "scored"])
    save(options, report)


def run_film(film: Film, bench: Bench, profile: str, count: int) -> Iterator[dict[str, Cell]]:
    """The rows of both ways, for each episode and for all of them."""
    episodes = split(film, count)
    together, seconds = cluster(film, bench, profile)
    alone, spent = np.full(film.title.tracks, UNKNOWN), 0.0
    for number, tracks in enumerate(episodes, start=1):
        scored = f"episode {number}"
        yield {"way": "together", "scored": scored, **_cells(film.truth[tracks], together[tracks])}
        episode = keep_tracks(film, tracks, f"{film.name}, {scored}")
        label, took = cluster(episode, bench, profile)
        spent += took
        cells = _cells(episode.truth, label)
        yield {"way": "alone", "scored": scored, **cells, "seconds": took}
        # People of different episodes stay different: numbers continue after the last episode's.
        alone[tracks] = np.where(label == UNKNOWN, UNKNOWN, label + alone.max() + 1)
    for way, labels, took in (("together", together, seconds), ("alone", alone, spent)):
        cells = _cells(film.truth, labels)
        yield {"way": way, "scored": "combined", **cells, "seconds": took}


def split(film: Film, count: int) -> list[I64]:
    """Tracks of each episode: whole scenes, cut where the number of tracks is closest to equal."""
    ends = np.flatnonzero(np.diff(film.scene)) + 1
    if len(ends) < count - 1:
        raise SystemExit(f"{film.name} has {len(ends) + 1} scenes, too few for {count} episodes")
    wanted = film.title.tracks * np.arange(1, count) / count
    cuts: list[int] = []
    for number, target in enumerate(wanted, start=1):
        # Enough scenes must remain for the later episodes.
        possible = ends[: len(ends) - (len(wanted) - number)]
        later = possible[possible > max(cuts, default=0)]
        cuts.append(int(later[np.abs(later - target).argmin()]))
    return np.split(np.arange(film.title.tracks), cuts)


def cluster(film: Film, bench: Bench, profile: str) -> tuple[I64, float]:
    """Labels of a title's tracks, and the seconds of its adaptation."""
    config = bench.profile(profile)
    found = adapt_film(film, bench, config.adapt)
    label = cluster_film(
        found.adapted.outputs, film.title.cannot_link, config, prior=bench.prior
    ).label
    return label, found.encode_seconds + found.train_seconds


def _cells(truth: I64, label: I64) -> dict[str, Cell]:
    size = {"tracks": len(truth), "people": len(np.unique(truth))}
    return {**size, **scores_of(truth, label)}


if __name__ == "__main__":
    main()
