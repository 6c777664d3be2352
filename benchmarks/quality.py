"""Does it help to leave out tracks of poor quality (METHOD 3)?

    python benchmarks/quality.py FILE.npz ... --pack DIR --cache CACHE [--cut -2.5 ...]

For each cut of the modified z-score, all scores over the same tracks, those that the cut keeps:
"dropped before" clusters the kept ones only, as the product does; "clustered with all" clusters
every track and looks at the kept ones; "random dropped" leaves out as many tracks at random
instead, the mean of 20 draws, each scored over the tracks that it keeps. Dropping helps the rest
where the first is above the second; that those left out are the difficult ones shows where the
second is above the third. No more than the settings' largest share of tracks is ever left out.

"wrong" is the number of tracks that the clustering of all puts in a cluster of mostly somebody
else, and AUC the chance that such a track has a lower quality than one that is placed rightly: 0.5
is no better than chance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from adapting import adapt_film
from films import Film, load_film
from running import Bench, make_parser, open_bench
from scoring import SCORE_COLUMNS, Cell, Report, mean_cells, scores_of, wrongly_placed
from sklearn.metrics import roc_auc_score

from vcn_ray.config import RunConfig
from vcn_ray.core.cluster import cluster_tracks
from vcn_ray.core.metrics import UNKNOWN
from vcn_ray.core.quality import low_outliers
from vcn_ray.records import I64, Mask, TrackOutputs

CUTS = (-3.5, -2.5, -2.0)
DRAWS = 20
COLUMNS = {"film": "", "cut": "", "tracks": "", **SCORE_COLUMNS, "wrong": ".3g", "AUC": ".2f"}


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, one_profile=True)
    parser.add_argument("--cut", action="append", type=float, metavar="Z")
    options = parser.parse_args(argv)
    bench = open_bench(options)
    report = Report(COLUMNS)
    for path in options.films:
        for row in run_film(load_film(path), bench, options.profile, options.cut or CUTS):
            report.add(row)
    report.add_means("film", ["cut", "tracks"])
    report.save(options.json)


def run_film(
    film: Film, bench: Bench, profile: str, cuts: Sequence[float]
) -> Iterator[dict[str, Cell]]:
    """All cuts, after the clustering without any."""
    config = bench.profile(profile)
    outputs = adapt_film(film, bench, config.finetune).adapted.outputs
    everything = np.ones(len(outputs), bool)
    whole = cluster_some(film, outputs, everything, config)
    wrong = wrongly_placed(film.truth, whole)
    cells = scores_of(film.truth, whole) | {"wrong": int(wrong.sum()), "AUC": area(wrong, outputs)}
    yield {"film": film.name, "cut": "none", "tracks": "all", **cells}
    rng = np.random.default_rng(bench.seed)
    for cut in cuts:
        dropped = low_outliers(outputs.quality, replace(config.quality, min_score=cut))
        ways = {
            "dropped before": scores_of(film.truth, cluster_some(film, outputs, ~dropped, config)),
            "clustered with all": scores_of(film.truth, np.where(dropped, UNKNOWN, whole)),
            "random dropped": mean_of_draws(film, outputs, int(dropped.sum()), config, rng),
        }
        for name, cells in ways.items():
            yield {"film": film.name, "cut": f"{cut:g}", "tracks": name, **cells}


def cluster_some(film: Film, outputs: TrackOutputs, valid: Mask, config: RunConfig) -> I64:
    """Labels of the tracks that may be clustered."""
    return cluster_tracks(outputs, valid, film.title.cannot_link, config.cluster).label


def area(wrong: Mask, outputs: TrackOutputs) -> float | None:
    """AUC of "a wrongly placed track has a lower quality"; None: all or none are wrong."""
    return float(roc_auc_score(wrong, -outputs.quality)) if 0 < wrong.sum() < len(wrong) else None


def mean_of_draws(
    film: Film, outputs: TrackOutputs, count: int, config: RunConfig, rng: np.random.Generator
) -> dict[str, Cell]:
    """Cells of the mean scores over random choices of so many tracks to leave out."""
    rows: list[dict[str, Cell]] = []
    for _ in range(DRAWS if count else 1):
        valid = np.ones(len(outputs), bool)
        valid[rng.permutation(len(outputs))[:count]] = False
        rows.append(scores_of(film.truth, cluster_some(film, outputs, valid, config)))
    return mean_cells(rows, SCORE_COLUMNS)


if __name__ == "__main__":
    main()
