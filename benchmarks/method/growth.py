"""How does accuracy grow with the number of tracks, and with the crops of each?

    python -m benchmarks.method.growth FILE.npz ... --pack DIR [--tracks 10 30 100] [--crops 2 4]

--tracks takes random parts of a film, each part contained in the next; --crops keeps this number of
crops of each track of the whole film, evenly spaced. Numbers that the film does not reach are left
out, and the whole film is always measured. Each part is encoded and adapted as a title of its own.

Rows: average linkage of the pretrained encoder at the best of all cuts (it sees the labels); the
default; the default without leaving out low-quality tracks; and its clustering on the pretrained
encoder instead of the adapted model. The clustering contributes the difference between the last row
and the first, the adapted model the difference between the third and the last.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from benchmarks.command import read_options, save
from benchmarks.method.adapting import adapt_film
from benchmarks.method.baselines import hac_oracle
from benchmarks.method.encoding import encode_film
from benchmarks.method.films import Film, keep_tracks, load_film, thin_crops
from benchmarks.method.running import Bench, film_parser, open_bench
from benchmarks.method.scoring import SCORE_COLUMNS, cluster_film, score_cells, scores_of
from benchmarks.report import Cell, Report
from vcn_ray.core.prior import FacePrior
from vcn_ray.core.vectors import unit_rows
from vcn_ray.learn.adapt import rate_crops
from vcn_ray.learn.adapt_config import AdaptConfig
from vcn_ray.learn.heads import fallback_student
from vcn_ray.learn.loss import Temperatures
from vcn_ray.learn.outputs import CropEmbeddings, track_outputs
from vcn_ray.learn.views import OUTPUT_VIEWS, PLAIN, EncodedViews
from vcn_ray.records import TrackOutputs

TRACKS = (10, 30, 100, 300, 1000)
CROPS = (2, 4, 8, 16, 24)
COLUMNS = {
    "film": "",
    "part": "",
    "method": "",
    "tracks": ".5g",
    "crops": ".4g",
    "people": ".4g",
    **SCORE_COLUMNS,
    "seconds": ".0f",
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = film_parser(__doc__, __file__, one_profile=True)
    parser.add_argument("--tracks", nargs="*", type=int, default=TRACKS, metavar="N")
    parser.add_argument("--crops", nargs="*", type=int, default=CROPS, metavar="N")
    options = read_options(parser, argv)
    bench = open_bench(options)
    report = Report(COLUMNS)
    for path in options.films:
        film = load_film(path)
        for part, some in parts(film, options.tracks, options.crops, bench.seed):
            for row in run_film(some, bench, options.profile):
                report.add({"film": film.name, "part": part, **row})
    report.add_means("film", ["part", "method"])
    save(options, report)


def parts(
    film: Film, tracks: Sequence[int], crops: Sequence[int], seed: int
) -> Iterator[tuple[str, Film]]:
    """The parts of a film that are measured, and the whole."""
    order = np.random.default_rng(seed).permutation(film.title.tracks)
    for count in tracks:
        if count < film.title.tracks:
            part = f"{count} tracks"
            yield part, keep_tracks(film, np.sort(order[:count]), f"{film.name}, {part}")
    most = int(np.bincount(film.title.track).max())
    for count in crops:
        if count < most:
            yield f"{count} crops a track", thin_crops(film, count)
    yield "whole", film


def run_film(film: Film, bench: Bench, profile: str) -> Iterator[dict[str, Cell]]:
    """All rows of a part."""
    config = bench.profile(profile)
    found = adapt_film(film, bench, config.adapt)
    outputs, pairs = found.adapted.outputs, film.title.cannot_link
    encoded = encode_film(film, bench, config.adapt).views
    plain = untrained_outputs(film, encoded, config.adapt, bench.seed, bench.prior)
    labels = {
        profile: cluster_film(outputs, pairs, config, prior=bench.prior).label,
        f"{profile}, all tracks": cluster_film(outputs, pairs, config, False, bench.prior).label,
        "its clustering, pretrained": cluster_film(plain, pairs, config, False, bench.prior).label,
    }
    size: dict[str, Cell] = {
        "tracks": film.title.tracks,
        "crops": len(film.title.track),
        "people": len(np.unique(film.truth)),
    }
    _, best = hac_oracle(unit_rows(plain.pretrained), film.truth)
    yield {"method": "pretrained, HAC oracle", **size, **score_cells(best)}
    for name, label in labels.items():
        yield {"method": name, **size, **scores_of(film.truth, label)} | (
            {"seconds": found.encode_seconds + found.train_seconds} if name == profile else {}
        )


def untrained_outputs(
    film: Film,
    encoded: EncodedViews,
    config: AdaptConfig,
    seed: int,
    prior: FacePrior | None,
) -> TrackOutputs:
    """Outputs of a student whose encoder is the pretrained one and whose head is untrained."""
    embeddings = encoded.pretrained.embeddings
    temperatures = Temperatures(config.teacher_temperature, config.student_temperature)
    generator = torch.Generator().manual_seed(seed)
    student = fallback_student(embeddings[PLAIN], config.outputs, temperatures, generator)
    shown = embeddings[list(OUTPUT_VIEWS)]
    crops = CropEmbeddings(*shown, *shown)
    cues = rate_crops(encoded, prior)
    return track_outputs(student, crops, cues, film.title.track)


if __name__ == "__main__":
    main()
