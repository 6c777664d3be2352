"""How alike are two tracks in one frame: two people, or one face that is seen twice?

    python -m benchmarks.method.copies CLIPS_DIR --labels DIR --faces DIR [--titles 12]

Real clips and hard titles are those of benchmarks/method/real.py and hard_films.py. In hard titles
mirrors and screens, and pairs that are wrongly marked, show one person twice in one frame.

How to read a row: pairs of core tracks that share a frame, by whether their labels are of two
people or of one. Likeness is the cosine by the pretrained encoder, in standard deviations of the
pack's prior above the mean of strangers: that of the median pair, the least and the most. "taken as
copies" are those above COPY_SDS of `vcn_ray/core/cut.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.command import make_parser, read_options, save
from benchmarks.method.labelled_titles import (
    LabelledTitle,
    add_sources,
    clip_titles,
    hard_titles,
    whole_tracks,
)
from benchmarks.report import Report
from vcn_ray.config import RunConfig
from vcn_ray.core.cut import seen_twice
from vcn_ray.core.prior import FacePrior
from vcn_ray.core.quality import rate_tracks
from vcn_ray.core.vectors import unit_rows
from vcn_ray.evaluation.labels import is_person
from vcn_ray.packs.embedded import DEFAULT as DEFAULT_PACK
from vcn_ray.packs.face_pack import FacePack
from vcn_ray.packs.load import load_pack
from vcn_ray.records import F64, Mask
from vcn_ray.steps import adapt_title

COLUMNS = {
    "source": "",
    "people": "",
    "pairs": "",
    "least": ".1f",
    "median": ".1f",
    "most": ".1f",
    "taken as copies": "",
}


class Pairs(NamedTuple):
    """The c labelled pairs of core tracks of a title that share a frame."""

    one_person: Mask  # (c,)
    likeness: F64  # (c,) deviations above the mean cosine of strangers
    copy: Mask  # (c,) taken as one face


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, __file__)
    parser.add_argument("clips", type=Path, metavar="CLIPS_DIR")
    add_sources(parser, titles=12)
    options = read_options(parser, argv)
    torch.set_num_threads(1)
    pack, config = load_pack(DEFAULT_PACK), whole_tracks()
    report = Report(COLUMNS)
    sources = {"real clips": clip_titles(options), "hard titles": hard_titles(options, pack)}
    for source, titles in sources.items():
        add_rows(report, source, (title_pairs(title, pack, config) for title in titles))
    save(options, report)


def title_pairs(title: LabelledTitle, pack: FacePack, config: RunConfig) -> Pairs:
    """Compare the tracks of a title that share a frame."""
    crops, tracks = title
    prior = prior_of(pack)
    outputs = adapt_title(crops, pack.load_encoder(), prior, config).outputs
    core = rate_tracks(outputs, config.cluster.quality, prior).core
    named = np.array([is_person(track.identity) for track in tracks], np.bool_)
    pairs = crops.cannot_link[(core & named)[crops.cannot_link].all(axis=1)]
    identity = np.array([track.identity for track in tracks])
    unit = unit_rows(outputs.pretrained.astype(np.float64))
    cosine = np.einsum("cd,cd->c", unit[pairs[:, 0]], unit[pairs[:, 1]])
    return Pairs(
        identity[pairs[:, 0]] == identity[pairs[:, 1]],
        (cosine - prior.stranger_cosine) / prior.stranger_sd,
        seen_twice(outputs, pairs, prior),
    )


def prior_of(pack: FacePack) -> FacePrior:
    """The prior of the default pack, which has one."""
    if pack.prior is None:
        raise SystemExit(f"{DEFAULT_PACK} has no prior")
    return pack.prior


def add_rows(report: Report, source: str, titles: Iterable[Pairs]) -> None:
    """Add two rows: of the pairs of two people, and of one."""
    every = list(titles)
    one_person, likeness, copy = (np.concatenate(part) for part in zip(*every, strict=True))
    for people, chosen in (("two", ~one_person), ("one", one_person)):
        values = likeness[chosen]
        some = len(values) > 0
        report.add(
            {
                "source": source,
                "people": people,
                "pairs": len(values),
                "least": float(values.min()) if some else None,
                "median": float(np.median(values)) if some else None,
                "most": float(values.max()) if some else None,
                "taken as copies": int(copy[chosen].sum()),
            }
        )


if __name__ == "__main__":
    main()
