"""Does it help to leave out low-quality tracks (METHOD 3)?

    python -m benchmarks.method.quality FILE.npz ... --pack DIR --cache CACHE [--cut -2.5 ...]

For each cut of the modified z-score three rows score the tracks that the cut keeps. "dropped
before" clusters the kept tracks only, as a run does; "clustered with all" clusters every track and
scores the kept ones; "random dropped" leaves out as many random tracks instead, and is the mean of
20 samples, each scored over the tracks that it keeps. Where the first row is above the second,
dropping helps the other tracks; where the second is above the third, the dropped tracks are the
difficult ones. No cut leaves out more than the fraction that the settings allow.

"wrong" is the number of tracks that the clustering of all tracks puts into somebody else's cluster,
and AUC the probability that such a track has a lower quality than a correctly placed one: 0.5 is no
better than chance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from sklearn.metrics import roc_auc_score

from benchmarks.command import read_options, save
from benchmarks.method.adapting import adapt_film
from benchmarks.method.films import Film, load_film
from benchmarks.method.running import Bench, film_parser, open_bench
from benchmarks.method.scoring import SCORE_COLUMNS, only, scores_of, wrongly_placed
from benchmarks.report import Cell, Report, mean_cells
from vcn_ray.core.cluster import cluster_tracks
from vcn_ray.core.metrics import UNKNOWN
from vcn_ray.core.quality import low_outliers
from vcn_ray.records import I64, Mask, TrackOutputs

CUTS = (-3.5, -2.5, -2.0)
SAMPLES = 20
COLUMNS = {"film": "", "cut": "", "tracks": "", **SCORE_COLUMNS, "wrong": ".3g", "AUC": ".2f"}


def main(argv: Sequence[str] | None = None) -> None:
    parser = film_parser(__doc__, __file__, one_profile=True)
    parser.add_argument("--cut", action="append", type=float, metavar="Z")
    options = read_options(parser, argv)
    bench = open_bench(options)
    report = Report(COLUMNS)
    for path in options.films:
        for row in run_film(load_film(path), bench, options.profile, options.cut or CUTS):
            report.add(row)
    report.add_means("film", ["cut", "tracks"])
    save(options, report)


def run_film(
    film: Film, bench: Bench, profile: str, cuts: Sequence[float]
) -> Iterator[dict[str, Cell]]:
    """The clustering of all tracks, then the rows of each cut."""
    config = bench.profile(profile)
    outputs = adapt_film(film, bench, config.adapt).adapted.outputs

    def some(valid: Mask) -> I64:
        """Labels of the valid tracks."""
        pairs = film.title.cannot_link
        return cluster_tracks(outputs, only(valid), pairs, config.cluster, bench.prior).label

    whole = some(np.ones(len(outputs), bool))
    wrong = wrongly_placed(film.truth, whole)
    cells = scores_of(film.truth, whole) | {"wrong": int(wrong.sum()), "AUC": area(wrong, outputs)}
    yield {"film": film.name, "cut": "none", "tracks": "all", **cells}
    rng = np.random.default_rng(bench.seed)
    for cut in cuts:
        dropped = low_outliers(outputs.quality, replace(config.cluster.quality, min_score=cut))
        ways = {
            "dropped before": scores_of(film.truth, some(~dropped)),
            "clustered with all": scores_of(film.truth, np.where(dropped, UNKNOWN, whole)),
            "random dropped": mean_of_samples(film.truth, some, len(outputs), dropped.sum(), rng),
        }
        for name, cells in ways.items():
            yield {"film": film.name, "cut": f"{cut:g}", "tracks": name, **cells}


def area(wrong: Mask, outputs: TrackOutputs) -> float | None:
    """AUC of quality against wrong placement; None where all or none are wrong."""
    return float(roc_auc_score(wrong, -outputs.quality)) if 0 < wrong.sum() < len(wrong) else None


def mean_of_samples(
    truth: I64, some: Callable[[Mask], I64], tracks: int, count: int, rng: np.random.Generator
) -> dict[str, Cell]:
    """Cells of the mean scores over random samples of `count` tracks to leave out."""
    rows: list[dict[str, Cell]] = []
    for _ in range(SAMPLES if count else 1):
        valid = np.ones(tracks, bool)
        valid[rng.permutation(tracks)[:count]] = False
        rows.append(scores_of(truth, some(valid)))
    return mean_cells(rows, SCORE_COLUMNS)


if __name__ == "__main__":
    main()
