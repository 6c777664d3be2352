"""How does accuracy grow with the number of tracks, and with the crops of each?

    python benchmarks/growth.py FILE.npz ... --pack DIR [--tracks 10 30 100 300] [--crops 2 4 8]

--tracks takes random parts of a film, each inside the next; --crops keeps so many crops of each
track of the whole film, evenly spread. Numbers that the film does not reach are left out, and the
whole film is always measured. Everything is done anew for each part, as if it were a title.

Rows: average linkage of the untuned encoder at the best of all cuts (it sees the labels); the
default; the default without leaving out poor tracks; and its clustering on the untuned encoder, in
the place of the adapted model. The last two show whose share the success is: the clustering's is
the difference between the last and the first row, the adapted model's that of the third and last.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from adapting import adapt_film
from baselines import hac_oracle
from encoding import encode_film
from films import Film, keep_tracks, load_film, thin_crops
from running import Bench, make_parser, open_bench
from scoring import SCORE_COLUMNS, Cell, Report, cluster_film, score_cells, scores_of

from vcn_ray.core.vectors import unit_rows
from vcn_ray.learn.adapt_config import AdaptConfig
from vcn_ray.learn.heads import fallback_student
from vcn_ray.learn.outputs import CropEmbeddings, track_outputs
from vcn_ray.learn.views import FIRST_AUGMENTED, OUTPUT_VIEWS, PLAIN, EncodedViews
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
    parser = make_parser(__doc__, one_profile=True)
    parser.add_argument("--tracks", nargs="*", type=int, default=TRACKS, metavar="N")
    parser.add_argument("--crops", nargs="*", type=int, default=CROPS, metavar="N")
    options = parser.parse_args(argv)
    bench = open_bench(options)
    report = Report(COLUMNS)
    for path in options.films:
        film = load_film(path)
        for part, some in parts(film, options.tracks, options.crops, bench.seed):
            for row in run_film(some, bench, options.profile):
                report.add({"film": film.name, "part": part, **row})
    report.add_means("film", ["part", "method"])
    report.save(options.json)


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
    found = adapt_film(film, bench, config.finetune)
    outputs, pairs = found.adapted.outputs, film.title.cannot_link
    encoded = encode_film(film, bench, config.finetune).views
    plain = untrained_outputs(film, encoded, config.finetune, bench.seed)
    labels = {
        profile: cluster_film(outputs, pairs, config).label,
        f"{profile}, all tracks": cluster_film(outputs, pairs, config, drop=False).label,
        "its clustering, untuned": cluster_film(plain, pairs, config, drop=False).label,
    }
    size: dict[str, Cell] = {
        "tracks": film.title.tracks,
        "crops": len(film.title.track),
        "people": len(np.unique(film.truth)),
    }
    _, best = hac_oracle(unit_rows(plain.pretrained), film.truth)
    yield {"method": "untuned, HAC oracle", **size, **score_cells(best)}
    for name, label in labels.items():
        yield {"method": name, **size, **scores_of(film.truth, label)} | (
            {"seconds": found.encode_seconds + found.train_seconds} if name == profile else {}
        )


def untrained_outputs(
    film: Film, encoded: EncodedViews, config: AdaptConfig, seed: int
) -> TrackOutputs:
    """What a student says of each track that knows no more than the encoder as it is."""
    embeddings = encoded.pretrained.embeddings
    generator = torch.Generator().manual_seed(seed)
    student = fallback_student(embeddings[PLAIN], config.outputs, config.temperatures, generator)
    shown = embeddings[list(OUTPUT_VIEWS)]
    crops = CropEmbeddings(shown[0], shown[1:], embeddings[PLAIN], embeddings[FIRST_AUGMENTED:])
    unrated = np.ones(len(film.title.track), np.float32)
    return track_outputs(student, crops, unrated, film.title.track)


if __name__ == "__main__":
    main()
