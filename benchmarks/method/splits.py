"""How surely is a track split where its face changes to another person's, and how often wrongly?

    python -m benchmarks.method.splits CLIPS_DIR --labels DIR --out DIR [--faces DIR --titles 12]

The tracks are those of labelled real clips, as in benchmarks/method/real.py, and with --faces those
of hard titles, as in benchmarks/method/hard_films.py. The tracker mixes people too rarely to count
on, so tracks of one title are put one after the other.

How to read a row: "sound" are the tracks as they are, and "pieces" all runs of crops in them, each
as a track of its own: no split is right. "one person" has two tracks of one person, which may be
of two scenes. "halves" has tracks of two people, "thirds" of three, and "return" a track of another
person inside one. Of the tracks put together, each has at least three recognisable crops. "long
enough" tracks have the crops that a split needs. "right" are split where the tracks meet, give or
take one crop, and nowhere else.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations, permutations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.command import add_pack, make_parser, read_options, save
from benchmarks.method.hard_tracks import Maker
from benchmarks.method.photographs import PARTS
from benchmarks.method.real import find_clips, index_clips, open_run
from benchmarks.report import Cell, Report, say
from vcn_ray.core.prior import FacePrior
from vcn_ray.core.quality import QualityConfig
from vcn_ray.core.split import MIN_RUN, find_parts
from vcn_ray.evaluation.labels import is_person, read_truth
from vcn_ray.learn.adapt import crop_embeddings, rate_crops
from vcn_ray.learn.adapt_config import AdaptConfig
from vcn_ray.learn.views import encode_views
from vcn_ray.packs.embedded import DEFAULT
from vcn_ray.packs.face_pack import FacePack
from vcn_ray.packs.load import load_pack
from vcn_ray.records import F32, I64, TitleCrops
from vcn_ray.rows.title_rows import decode_crops, gather_tracks

COLUMNS = {
    "tracks of": "",
    "kind": "",
    "number": "",
    "long enough": "",
    "split": "",
    "split rate": ".1%",
    "right": "",
    "right rate": ".1%",
}
CHAINS = 1000  # of each kind and all titles, drawn at random where there are more
WHOLE = ("adapt.split_tracks=false",)  # labels are of tracks as the tracker made them
QUICK_VIEWS = replace(AdaptConfig(), augmented_views=2, encoder="frozen")


class Run(NamedTuple):
    """Crops of one track, in order of time."""

    identity: str
    embeddings: F32  # (n, d) unit
    readable: F32  # (n,) recognisability

    def part(self, start: int, end: int | None = None) -> Run:
        """Some of the crops."""
        return Run(self.identity, self.embeddings[start:end], self.readable[start:end])

    def seen(self) -> I64:
        """The crops that can be recognised."""
        return np.flatnonzero(self.readable >= QualityConfig().min_recognisability)


Chain = tuple[Run, ...]
"""Runs that are one track, one after the other."""


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, __file__)
    parser.add_argument("clips", type=Path, metavar="CLIPS_DIR")
    parser.add_argument("--labels", type=Path, required=True, metavar="DIR")
    parser.add_argument("--out", type=Path, required=True, help="results of the clips go here")
    parser.add_argument("--faces", type=Path, metavar="DIR", help="photographs, for hard titles")
    add_pack(parser, required=False)
    parser.add_argument("--titles", type=int, default=12, help="hard titles")
    parser.add_argument("--part", choices=PARTS, default="dev", help="half of the people")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="keep hard titles here")
    options = read_options(parser, argv)
    torch.set_num_threads(1)
    pack = load_pack(options.pack or DEFAULT)
    if pack.prior is None:
        parser.error(f"{pack.name} has no prior, and without one no track is split")
    sources = {"real clips": list(real_titles(pack, options))}
    if options.faces:
        sources["hard titles"] = list(hard_titles(pack, options))
    report = Report(COLUMNS)
    for name, titles in sources.items():
        for kind, make in KINDS.items():
            chains = draw([chain for runs in titles for chain in make(runs)])
            report.add({"tracks of": name, "kind": kind, **cells(chains, pack.prior)})
    save(options, report)


def real_titles(pack: FacePack, options: argparse.Namespace) -> Iterator[list[Run]]:
    """The tracks of each labelled clip."""
    truth = read_truth([options.labels])
    settings = argparse.Namespace(set=WHOLE, config=None, cut=None)
    run = open_run(options.pack or DEFAULT, settings, options.out)
    for clip in index_clips(find_clips(options.clips, truth), truth, run):
        crops = decode_crops(gather_tracks([clip.title.tracks], [clip.title.crops]))
        yield runs_of(crops, [track.identity for track in clip.matched.tracks], pack)


def hard_titles(pack: FacePack, options: argparse.Namespace) -> Iterator[list[Run]]:
    """The tracks of each hard title."""
    maker = Maker(options.faces, pack, options.part, cache=options.cache)
    for number in range(options.titles):
        say(f"{options.part} {number} ...")
        made = maker.make(number)
        yield runs_of(replace(made.title, score=made.scores), made.identity, pack)


def runs_of(crops: TitleCrops, identity: Sequence[str], pack: FacePack) -> list[Run]:
    """Embed and rate the crops of a title as the step `adapt` does."""
    encoded = encode_views(crops, pack.load_encoder(), QUICK_VIEWS, seed=0)
    embeddings, readable = crop_embeddings(encoded), rate_crops(encoded, pack.prior).recognisability
    rows = [crops.track == number for number in range(crops.tracks)]
    return [Run(who, embeddings[r], readable[r]) for who, r in zip(identity, rows, strict=True)]


def sound(runs: list[Run]) -> Iterator[Chain]:
    """Every track, also of things that are no face."""
    return ((run,) for run in runs)


def pieces(runs: list[Run]) -> Iterator[Chain]:
    """Every run of crops of every track that is long enough."""
    for run in runs:
        count = len(run.readable)
        for start in range(count):
            for end in range(start + 2 * MIN_RUN, count + 1):
                yield (run.part(start, end),)


def one_person(runs: list[Run]) -> Iterator[Chain]:
    """Two tracks of one person, as one run."""
    for left, right in combinations(of_people(runs), 2):
        if left.identity == right.identity:
            both = (np.concatenate(parts) for parts in zip(left[1:], right[1:], strict=True))
            yield (Run(left.identity, *both),)


def halves(runs: list[Run]) -> Iterator[Chain]:
    """Two people, one after the other."""
    return (chain for chain in permutations(of_people(runs), 2) if differ(chain))


def thirds(runs: list[Run]) -> Iterator[Chain]:
    """Three people, one after the other."""
    return (chain for chain in permutations(of_people(runs), 3) if differ(chain))


def returns(runs: list[Run]) -> Iterator[Chain]:
    """Another person inside a track, half-way."""
    for outer, inner in halves(runs):
        seen = outer.seen()
        if len(seen) >= 2 * MIN_RUN:
            middle = int(seen[len(seen) // 2])
            yield outer.part(0, middle), inner, outer.part(middle)


KINDS: dict[str, Callable[[list[Run]], Iterator[Chain]]] = {
    "sound": sound,
    "pieces": pieces,
    "one person": one_person,
    "halves": halves,
    "thirds": thirds,
    "return": returns,
}
"""Ways to make chains of the tracks of a title."""


def of_people(runs: list[Run]) -> list[Run]:
    """The tracks of people that can be recognised in as many crops as a split needs."""
    return [run for run in runs if is_person(run.identity) and len(run.seen()) >= MIN_RUN]


def differ(chain: Chain) -> bool:
    """Whether all runs are of different people."""
    return len({run.identity for run in chain}) == len(chain)


def draw(chains: list[Chain]) -> list[Chain]:
    """Some of the chains where there are too many, but all that are of one run."""
    if len(chains) <= CHAINS or len(chains[0]) == 1:
        return chains
    chosen = np.random.default_rng(0).choice(len(chains), CHAINS, replace=False)
    return [chains[number] for number in np.sort(chosen)]


def cells(chains: list[Chain], prior: FacePrior) -> dict[str, Cell]:
    """How many of the chains are split, and how many of these rightly."""
    found = [changes(chain, prior) for chain in chains]
    split = sum(bool(places) for places in found)
    right = sum(is_right(chain, places) for chain, places in zip(chains, found, strict=True))
    return {
        "number": len(chains),
        "long enough": sum(sum(len(r.seen()) for r in c) >= 2 * MIN_RUN for c in chains),
        "split": split,
        "split rate": split / len(chains) if chains else None,
        "right": right,
        "right rate": right / len(chains) if chains else None,
    }


def changes(chain: Chain, prior: FacePrior) -> list[int]:
    """The crops with which a further part begins."""
    embeddings = np.concatenate([run.embeddings for run in chain])
    readable = np.concatenate([run.readable for run in chain])
    part = find_parts(embeddings, np.zeros(len(readable), np.int64), readable, prior)
    places: list[int] = (np.flatnonzero(np.diff(part)) + 1).tolist()
    return places


def is_right(chain: Chain, places: list[int]) -> bool:
    """Whether a chain is split where its runs meet, give or take a recognisable crop, only."""
    before = np.cumsum([len(run.seen()) for run in chain])[:-1]
    readable = np.concatenate([run.readable for run in chain])
    seen = np.flatnonzero(readable >= QualityConfig().min_recognisability)
    at = np.searchsorted(seen, places)  # among the crops that decide
    return len(at) == len(before) and bool((np.abs(at - before) <= 1).all())


if __name__ == "__main__":
    main()
