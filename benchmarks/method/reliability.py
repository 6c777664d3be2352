"""Is a track with confidence 0.9 right nine times in ten? And a person?

    python -m benchmarks.method.reliability --clips DIR --labels DIR --faces DIR
        --films FILE.npz ... --film-pack DIR [--titles 24] [--cache DIR]

Real clips, hard titles and films are those of benchmarks/method/real.py, hard_films.py and
film_tracks.py. Clips and hard titles are seen by the default pack. A film counts as a whole, with
its head trained, and in random parts of 12 to 100 tracks, since small titles fail in other ways.

A track is right if most tracks of its person are of its identity, and a person if all are; neither
is right if most of these tracks show no face or one that nobody can identify. Tracks without a
label are left out.

How to read the first table: people and tracks of a source by their confidence, how many there are,
their mean confidence, and the fraction that is right. These two should be equal. In "elsewhere" the
weights are fitted on the other sources, so it says what to expect of material of another kind; the
Brier score is the mean squared difference of confidence and right (0) or wrong (1). "base" is that
of a constant confidence.

The second table has the weights of `vcn_ray/core/confidence.py`, fitted on all sources, each with
the same weight, and whether they are those of the code.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from benchmarks.command import make_parser, read_options, save
from benchmarks.method.adapting import adapt_film
from benchmarks.method.films import load_film
from benchmarks.method.labelled_titles import (
    LabelledTitle,
    add_sources,
    clip_titles,
    hard_titles,
    whole_tracks,
)
from benchmarks.method.running import Bench
from benchmarks.report import Report
from vcn_ray.core.confidence import FITTED, Evidence, Weights, confidence, gather_evidence
from vcn_ray.core.cut import pairs_among
from vcn_ray.core.prior import FacePrior
from vcn_ray.evaluation.labels import NO_FACE, UNIDENTIFIED, is_person
from vcn_ray.evaluation.scores import MatchedTrack
from vcn_ray.packs.embedded import DEFAULT as DEFAULT_PACK
from vcn_ray.packs.face_pack import FacePack
from vcn_ray.packs.load import load_pack
from vcn_ray.records import I64, Clustering, Mask, TrackOutputs
from vcn_ray.steps import cluster_title, run_title

PART_SIZES = (12, 25, 50, 100)
PARTS_OF_A_FILM = 20
BINS = (0.0, 0.7, 0.8, 0.9, 0.95, 0.98, 1.0)
COLUMNS = {
    "source": "",
    "of": "",
    "confidence": "",
    "number": "",
    "mean confidence": ".3f",
    "right": ".3f",
    "Brier": ".4f",
    "base": ".4f",
    "elsewhere": ".4f",
}


class Rated(NamedTuple):
    """The n labelled tracks of a source that are in a person."""

    source: str
    evidence: Evidence
    right: Mask  # (n,)
    person: I64  # (n,) number of the person, over all titles of the source
    person_right: Mask  # (n,) whether that person is


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, __file__)
    parser.add_argument("--clips", type=Path, required=True, metavar="DIR")
    parser.add_argument("--films", type=Path, nargs="+", required=True, metavar="FILE.npz")
    parser.add_argument("--film-pack", required=True, metavar="DIR", help="with a prior")
    add_sources(parser, titles=24)
    options = read_options(parser, argv)
    torch.set_num_threads(1)
    pack = load_pack(DEFAULT_PACK)
    sources = [
        join("real clips", rate_titles(clip_titles(options), pack)),
        join("hard titles", rate_titles(hard_titles(options, pack), pack)),
        join("films", rate_films(options)),
    ]
    fitted = fit(sources)
    report = Report(COLUMNS)
    for number, source in enumerate(sources):
        others = fit(sources[:number] + sources[number + 1 :])
        add_rows(report, source, others)
    weights = Report({"weight": "", "fitted": ".3f", "in the code": ""})
    for name, value in fitted._asdict().items():
        weights.add({"weight": name, "fitted": value, "in the code": getattr(FITTED, name)})
    save(options, report, weights)


def rate_titles(titles: Iterable[LabelledTitle], pack: FacePack) -> Iterator[Rated]:
    """Run the method on titles, and compare its results with their labels."""
    encoder, config = pack.load_encoder(), whole_tracks()
    for title in titles:
        people = run_title(title.crops, encoder, pack.prior, config)
        yield rate(people.clustering, people.adapted.outputs, pack.prior, title.tracks)


def rate_films(options: argparse.Namespace) -> Iterator[Rated]:
    """Films of clean tracks, each as a whole and in random parts."""
    pack = load_pack(options.film_pack)
    bench = Bench(pack.load_encoder(), pack.encoder_hash, 0, options.cache, False, pack.prior)
    config = bench.profile("head-only")
    for path in options.films:
        film = load_film(path)
        outputs = adapt_film(film, bench, config.adapt).adapted.outputs
        generator = np.random.default_rng(0)
        sizes = [PART_SIZES[number % len(PART_SIZES)] for number in range(PARTS_OF_A_FILM)]
        for size in (len(outputs), *sizes):
            rows = np.sort(generator.choice(len(outputs), min(size, len(outputs)), replace=False))
            pairs = pairs_among(film.title.cannot_link, rows, len(outputs))
            found = cluster_title(outputs[rows], pairs, pack.prior, config)
            tracks = [MatchedTrack("", f"id{n}", None, 1.0, True) for n in film.truth[rows]]
            yield rate(found, outputs[rows], pack.prior, tracks)


def rate(
    found: Clustering,
    outputs: TrackOutputs,
    prior: FacePrior | None,
    tracks: Sequence[MatchedTrack],
) -> Rated:
    """Compare the k tracks of a title with their labels."""
    label = found.label
    rows, evidence = gather_evidence(
        label, found.distance, outputs.recognisability, outputs.score, prior
    )
    identity = np.array([track.identity for track in tracks])
    known = np.array([t.matched or t.identity != UNIDENTIFIED for t in tracks], np.bool_)
    right = np.zeros(len(label), np.bool_)
    person_right = np.zeros(len(label), np.bool_)
    for person in np.unique(label[rows]):
        mine = (label == person) & known
        names, count = np.unique(identity[mine], return_counts=True)
        nobody = sum(int(n) for name, n in zip(names, count, strict=True) if not is_person(name))
        if not len(names) or 2 * nobody > count.sum():
            continue
        people = [
            (int(n), str(name))
            for name, n in zip(names, count, strict=True)
            if name != UNIDENTIFIED
        ]
        right[mine] = identity[mine] == max(people)[1]
        person_right[mine] = len(people) == 1 and people[0][1] != NO_FACE
    kept = known[rows]
    rows = rows[kept]
    return Rated(
        "",
        Evidence(
            evidence.distance[kept],
            evidence.recognisability[kept],
            evidence.score[kept],
            evidence.tracks[kept],
        ),
        right[rows],
        label[rows],
        person_right[rows],
    )


def join(name: str, titles: Iterator[Rated]) -> Rated:
    """Put the titles of a source together; people keep apart."""
    every = list(titles)
    first = np.cumsum([0] + [int(t.person.max(initial=-1)) + 1 for t in every])
    people = [t.person + start for t, start in zip(every, first, strict=False)]
    evidence = Evidence(
        np.concatenate([title.evidence.distance for title in every]),
        np.concatenate([title.evidence.recognisability for title in every]),
        np.concatenate([title.evidence.score for title in every]),
        np.concatenate([title.evidence.tracks for title in every]),
    )
    return Rated(
        name,
        evidence,
        np.concatenate([t.right for t in every]),
        np.concatenate(people),
        np.concatenate([t.person_right for t in every]),
    )


def fit(sources: Sequence[Rated]) -> Weights:
    """Fit the weights on several sources, each of which counts the same."""
    table = np.concatenate([source.evidence.table() for source in sources])
    right = np.concatenate([source.right for source in sources])
    sizes = [len(source.right) for source in sources]
    weight = np.repeat([len(right) / len(sizes) / size for size in sizes], sizes)
    model = LogisticRegression(C=10.0, max_iter=1000).fit(table, right, weight)
    return Weights(float(model.intercept_[0]), *model.coef_[0].tolist())


def add_rows(report: Report, source: Rated, others: Weights) -> None:
    """Add the rows of a source.

    Args:
        report: Gets the rows.
        source: What was rated.
        others: The weights fitted on the other sources.
    """
    sure, elsewhere = confidence(source.evidence), confidence(source.evidence, others)
    first = np.unique(source.person, return_index=True)[1]
    least = [np.full(len(first), np.inf), np.full(len(first), np.inf)]
    place = np.unique(source.person, return_inverse=True)[1]
    for total, values in zip(least, (sure, elsewhere), strict=True):
        np.minimum.at(total, place, values)
    kinds = {
        "people": (least[0], least[1], source.person_right[first]),
        "tracks": (sure.astype(np.float64), elsewhere.astype(np.float64), source.right),
    }
    for kind, (rate_, other, right) in kinds.items():
        for low, high in pairwise(BINS):
            inside = (rate_ >= low) & ((rate_ < high) | (high == BINS[-1]))
            if inside.any():
                report.add(
                    {
                        "source": source.source,
                        "of": kind,
                        "confidence": f"{low} to {high}",
                        "number": int(inside.sum()),
                        "mean confidence": float(rate_[inside].mean()),
                        "right": float(right[inside].mean()),
                    }
                )
        base = float(right.mean())
        report.add(
            {
                "source": source.source,
                "of": kind,
                "confidence": "all",
                "number": len(right),
                "mean confidence": float(rate_.mean()),
                "right": base,
                "Brier": float(np.square(rate_ - right).mean()),
                "base": base * (1 - base),
                "elsewhere": float(np.square(other - right).mean()),
            }
        )


if __name__ == "__main__":
    main()
