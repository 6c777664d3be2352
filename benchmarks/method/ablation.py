"""How much does each part of the method contribute? The paper's table, as means over films.

    python -m benchmarks.method.ablation FILE.npz ... --pack DIR --cache CACHE [--size 28 --size 20]

Rows: the pretrained and the fine-tuned encoder, each with average linkage of cosine distances, once
at the best of all cuts ("oracle": it sees the labels, so no run can use it) and once at 0.6; then
METHOD 4 as published on the fine-tuned model, with cosine and Euclidean distance of embeddings and
with the learned loss of head outputs; then the default, with and without leaving out low-quality
tracks. Every row but the default itself clusters all tracks.

--size shrinks the crops to this number of pixels a side and enlarges them again before they are
encoded, which imitates faces far from the camera. It may be given several times; crops of full size
come first. The rows of each film come first, the means last.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks.command import read_options, save
from benchmarks.method.adapting import CropOutputs, adapt_film, crop_outputs
from benchmarks.method.baselines import HAC_DISTANCE, hac, hac_oracle
from benchmarks.method.films import Film, load_film, shrink
from benchmarks.method.linking import PUBLISHED, link
from benchmarks.method.running import Bench, film_parser, open_bench
from benchmarks.method.scoring import SCORE_COLUMNS, cluster_film, score_cells, scores_of
from benchmarks.method.tables import Distance, cosine, euclidean, learned_loss, plain_limits, sides
from benchmarks.report import Cell, Report
from vcn_ray.core.vectors import unit_rows
from vcn_ray.records import F64, I64, TrackOutputs

COLUMNS = {"film": "", "crops": "", "method": "", **SCORE_COLUMNS, "note": ""}

NO_PAIRS = np.zeros((0, 2), np.int64)


def main(argv: Sequence[str] | None = None) -> None:
    parser = film_parser(__doc__, __file__, one_profile=True)
    parser.add_argument("--size", action="append", type=int, default=[], metavar="PIXELS")
    options = read_options(parser, argv)
    bench = open_bench(options)
    report = Report(COLUMNS)
    for pixels in (None, *options.size):
        for path in options.films:
            film = load_film(path)
            if pixels is not None:
                film = shrink(film, pixels)
            for row in run_film(film, bench, options.profile):
                shown = "full size" if pixels is None else f"{pixels} px"
                report.add({"film": path.stem, "crops": shown, **row})
    report.add_means("film", ["crops", "method"])
    save(options, report)


def run_film(film: Film, bench: Bench, profile: str) -> Iterator[dict[str, Cell]]:
    """All rows of one film."""
    config = bench.profile(profile)
    adapted = adapt_film(film, bench, config.adapt).adapted
    outputs = adapted.outputs
    yield from run_hac("pretrained", unit_rows(outputs.pretrained), film.truth)
    yield from run_hac("fine-tuned", unit_rows(outputs.embedding), film.truth)
    crops = crop_outputs(film, bench, config.adapt, adapted)
    for name, (distance, views) in distances(outputs, crops).items():
        label = as_published(distance, views, film.title.track)
        yield {"method": f"fine-tuned, METHOD 4 with {name}", **scores_of(film.truth, label)}
    for name, drop in ((profile, True), (f"{profile}, all tracks", False)):
        result = cluster_film(outputs, film.title.cannot_link, config, drop, bench.prior)
        note = "; ".join(adapted.warnings + result.warnings)
        yield {"method": name, **scores_of(film.truth, result.label), "note": note}


def run_hac(what: str, tracks: F64, truth: I64) -> Iterator[dict[str, Cell]]:
    """Average linkage of unit rows (k, d), at the best cut and at the fixed one."""
    cut, best = hac_oracle(tracks, truth)
    yield {"method": f"{what}, HAC oracle", **score_cells(best), "note": f"at {cut:.2f}"}
    yield {"method": f"{what}, HAC at {HAC_DISTANCE}", **scores_of(truth, hac(tracks))}


def distances(outputs: TrackOutputs, crops: CropOutputs) -> dict[str, tuple[Distance, F64]]:
    """Each distance between two crops, with the views (v, m, f) that it compares."""
    loss = learned_loss(
        outputs.centre.astype(np.float64), outputs.teacher_temperature, outputs.student_temperature
    )
    return {
        "cosine": (cosine, crops.embeddings),
        "Euclidean": (euclidean, crops.embeddings),
        "learned loss": (loss, crops.outputs),
    }


def as_published(distance: Distance, views: F64, track: I64) -> I64:
    """Cluster by METHOD 4 as published, with any distance."""
    limits = plain_limits(distance, views, track)
    return link(sides(distance, views[0], track), limits, NO_PAIRS, PUBLISHED)


if __name__ == "__main__":
    main()
