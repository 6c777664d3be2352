"""Which reading of METHOD 4.2, 4.4 and 4.5 tells people apart best? All of them on one adaptation.

    python -m benchmarks.method.rules FILE.npz ... --pack DIR --cache CACHE [--held-out]

The table has one row for each combination of five choices: the distance (learned loss of head
outputs; cosine of the adapted encoder's embeddings); the source of a cluster's threshold (its plain
crops, as in the paper; two augmented views of them; with --held-out, crops that the model was not
trained on); the match (similarity under the threshold of either cluster, as in the paper, of both,
or under their mean); the merge (all matches of a round transitively, as in the paper, or the best
pair first); whether tracks of one frame are cannot-link. The first two rows of each film are the
configured clustering.

Every row clusters all tracks, so that all rows are comparable. Similarities are METHOD 4.3 as
published in every row. --held-out adapts a second time, to the even crops of each track, takes the
thresholds from the odd ones, and compares all crops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product

import numpy as np

from benchmarks.command import read_options, save
from benchmarks.method.ablation import NO_PAIRS, distances
from benchmarks.method.adapting import adapt_film, crop_outputs
from benchmarks.method.films import Film, even_crops, keep_crops, load_film
from benchmarks.method.linking import MATCHES, MERGES, Rule, link
from benchmarks.method.running import Bench, film_parser, open_bench
from benchmarks.method.scoring import SCORE_COLUMNS, cluster_film, scores_of
from benchmarks.method.tables import (
    Distance,
    Limits,
    Sides,
    augmented_limits,
    held_out_limits,
    plain_limits,
    sides,
)
from benchmarks.report import Cell, Report, say
from vcn_ray.config import RunConfig
from vcn_ray.records import F64

COLUMNS = {
    "film": "",
    "distance": "",
    "thresholds": "",
    "match": "",
    "merge": "",
    "cannot-link": "",
    **SCORE_COLUMNS,
}
KEYS = ["distance", "thresholds", "match", "merge", "cannot-link"]

Source = Callable[[Distance, F64], Limits]


def main(argv: Sequence[str] | None = None) -> None:
    parser = film_parser(__doc__, __file__, one_profile=True)
    parser.add_argument("--held-out", action="store_true")
    options = read_options(parser, argv)
    bench = open_bench(options)
    config = bench.profile(options.profile)
    report = Report(COLUMNS)
    for path in options.films:
        film = load_film(path)
        rows = [run_film(film, bench, config)]
        if options.held_out:
            rows.append(run_held_out(film, bench, config))
        for row in (row for some in rows for row in some):
            report.add({"film": film.name, **row})
    report.add_means("film", KEYS)
    save(options, report)


def run_film(film: Film, bench: Bench, config: RunConfig) -> Iterator[dict[str, Cell]]:
    """The configured clustering, and all rules with thresholds from the crops of the training."""
    adapted = adapt_film(film, bench, config.adapt).adapted
    for words, pairs in (("yes", film.title.cannot_link), ("no", NO_PAIRS)):
        label = cluster_film(adapted.outputs, pairs, config, False, bench.prior).label
        cells = dict.fromkeys(KEYS, "-") | {"merge": "as configured", "cannot-link": words}
        yield {**cells, **scores_of(film.truth, label)}
    crops = crop_outputs(film, bench, config.adapt, adapted)
    track = film.title.track
    sources: dict[str, Source] = {
        "plain crops": lambda distance, views: plain_limits(distance, views, track),
        "augmented views": lambda distance, views: augmented_limits(distance, views, track),
    }
    for name, (distance, views) in distances(adapted.outputs, crops).items():
        if name != "Euclidean":
            yield from run_distance(film, name, (distance, views), sources)


def run_held_out(film: Film, bench: Bench, config: RunConfig) -> Iterator[dict[str, Cell]]:
    """All rules, with thresholds from crops outside the training."""
    even = even_crops(film)
    half = keep_crops(film, even, f"{film.name}, even crops")
    adapted = adapt_film(half, bench, config.adapt).adapted
    crops = crop_outputs(film, bench, config.adapt, adapted)
    track, odd = film.title.track, np.flatnonzero(~even)
    sources: dict[str, Source] = {
        "held-out crops": lambda distance, views: held_out_limits(distance, views, track, odd)
    }
    for name, (distance, views) in distances(adapted.outputs, crops).items():
        if name != "Euclidean":
            yield from run_distance(film, name, (distance, views), sources)


def run_distance(
    film: Film, name: str, compared: tuple[Distance, F64], sources: dict[str, Source]
) -> Iterator[dict[str, Cell]]:
    """All rules with one distance and the views that it compares."""
    distance, views = compared
    table = sides(distance, views[0], film.title.track)
    for source, limits in ((words, make(distance, views)) for words, make in sources.items()):
        say(f"{film.name}: {name}, thresholds from {source}")
        for row in run_rules(film, table, limits):
            yield {"distance": name, "thresholds": source, **row}


def run_rules(film: Film, table: Sides, limits: Limits) -> Iterator[dict[str, Cell]]:
    """All rules of matching and merging."""
    pairs = {"yes": film.title.cannot_link, "no": NO_PAIRS}
    for match, merge, words in product(MATCHES, MERGES, pairs):
        label = link(table, limits, pairs[words], Rule(match, merge))
        cells = {"match": match, "merge": merge, "cannot-link": words}
        yield {**cells, **scores_of(film.truth, label)}


if __name__ == "__main__":
    main()
