"""Which part of the method earns what? The paper's table, as means over films.

    python benchmarks/ablation.py FILE.npz ... --pack DIR --cache CACHE [--size 28 --size 20]

Rows: the encoder as the pack ships it and the fine-tuned one, both with average linkage of cosine
distances, once at the best of all cuts ("oracle": it sees the labels, so nobody can use it) and
once at 0.6; then "this clustering", METHOD 4 to the letter on the fine-tuned model, with cosine and
Euclidean distance of embeddings and with the learned loss of head outputs; then the default, with
and without leaving out poor tracks. All rows but the default itself cluster every track.

--size shrinks the crops to so many pixels a side and enlarges them again, before anything is
encoded: faces far from the camera. It may be given several times; the first table is of the crops
as they are. Rows of each film come first, the means last.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from adapting import CropOutputs, adapt_film, crop_outputs
from baselines import HAC_DISTANCE, hac, hac_oracle
from films import Film, load_film, shrink
from linking import LETTER, link
from running import Bench, make_parser, open_bench
from scoring import SCORE_COLUMNS, Cell, Report, cluster_film, score_cells, scores_of
from tables import Distance, cosine, euclidean, learned_loss, plain_limits, sides

from vcn_ray.core.vectors import unit_rows
from vcn_ray.records import F64, I64, TrackOutputs

COLUMNS = {"film": "", "crops": "", "method": "", **SCORE_COLUMNS, "note": ""}

NO_VETO = np.zeros((0, 2), np.int64)


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, one_profile=True)
    parser.add_argument("--size", action="append", type=int, default=[], metavar="PIXELS")
    options = parser.parse_args(argv)
    bench = open_bench(options)
    report = Report(COLUMNS)
    for pixels in (None, *options.size):
        for path in options.films:
            film = load_film(path)
            if pixels is not None:
                film = shrink(film, pixels)
            for row in run_film(film, bench, options.profile):
                shown = "as they are" if pixels is None else f"{pixels} px"
                report.add({"film": path.stem, "crops": shown, **row})
    report.add_means("film", ["crops", "method"])
    report.save(options.json)


def run_film(film: Film, bench: Bench, profile: str) -> Iterator[dict[str, Cell]]:
    """All rows of one film."""
    config = bench.profile(profile)
    adapted = adapt_film(film, bench, config.finetune).adapted
    outputs = adapted.outputs
    yield from run_hac("untuned", unit_rows(outputs.pretrained), film.truth)
    yield from run_hac("fine-tuned", unit_rows(outputs.embedding), film.truth)
    crops = crop_outputs(film, bench, config.finetune, adapted)
    for name, (distance, views) in distances(outputs, crops).items():
        label = letter(distance, views, film.title.track)
        yield {"method": f"fine-tuned, METHOD 4 with {name}", **scores_of(film.truth, label)}
    for name, drop in ((profile, True), (f"{profile}, all tracks", False)):
        result = cluster_film(outputs, film.title.cannot_link, config, drop)
        note = "; ".join(adapted.warnings + result.warnings)
        yield {"method": name, **scores_of(film.truth, result.label), "note": note}


def run_hac(what: str, tracks: F64, truth: I64) -> Iterator[dict[str, Cell]]:
    """Average linkage of unit rows (k, d)."""
    cut, best = hac_oracle(tracks, truth)
    yield {"method": f"{what}, HAC oracle", **score_cells(best), "note": f"at {cut:.2f}"}
    yield {"method": f"{what}, HAC at {HAC_DISTANCE}", **scores_of(truth, hac(tracks))}


def distances(outputs: TrackOutputs, crops: CropOutputs) -> dict[str, tuple[Distance, F64]]:
    """Each distance of two crops, and the views (v, m, f) that it compares."""
    loss = learned_loss(
        outputs.centre.astype(np.float64), outputs.teacher_temperature, outputs.student_temperature
    )
    return {
        "cosine": (cosine, crops.embeddings),
        "Euclidean": (euclidean, crops.embeddings),
        "learned loss": (loss, crops.outputs),
    }


def letter(distance: Distance, views: F64, track: I64) -> I64:
    """METHOD 4 to the letter."""
    limits = plain_limits(distance, views, track)
    return link(sides(distance, views[0], track), limits, NO_VETO, LETTER)


if __name__ == "__main__":
    main()
