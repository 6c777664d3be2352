"""Titles whose tracks are labelled, clip by clip or rendered, for scripts that read tracks.

They are seen by the default pack. Tracks stay whole, because labels are of whole tracks.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from benchmarks.method.hard_tracks import Maker
from benchmarks.method.photographs import PARTS
from benchmarks.method.real import find_clips, index_clips, open_run
from benchmarks.report import say
from vcn_ray.config import RunConfig, profile_config
from vcn_ray.evaluation.labels import read_truth
from vcn_ray.evaluation.scores import MatchedTrack
from vcn_ray.packs.embedded import DEFAULT as DEFAULT_PACK
from vcn_ray.packs.face_pack import FacePack
from vcn_ray.records import TitleCrops
from vcn_ray.rows.title_rows import decode_crops, gather_tracks


class LabelledTitle(NamedTuple):
    """A title of k tracks."""

    crops: TitleCrops
    tracks: Sequence[MatchedTrack]  # k; of a result that says nothing, or of any other


def whole_tracks() -> RunConfig:
    """The default settings, with tracks as they are labelled."""
    config = profile_config("default")
    return replace(config, adapt=replace(config.adapt, split_tracks=False))


def add_sources(parser: argparse.ArgumentParser, titles: int, required: bool = True) -> None:
    """Add the options that `clip_titles` and `hard_titles` read.

    Args:
        parser: Of a script.
        titles: Number of hard titles a half, unless another one is given.
        required: Whether there is nothing to measure without them.
    """
    parser.add_argument("--labels", type=Path, required=required, metavar="DIR")
    parser.add_argument("--faces", type=Path, required=required, metavar="DIR")
    parser.add_argument(
        "--titles", type=int, default=titles, metavar="N", help=f"hard titles a half: {titles}"
    )
    parser.add_argument("--cache", type=Path, metavar="DIR", help="keep hard titles here")
    parser.add_argument("--out", type=Path, metavar="DIR", help="keep outputs of clips here")
    parser.set_defaults(set=[], config=None, cut=None)


def clip_titles(options: argparse.Namespace) -> Iterator[LabelledTitle]:
    """The labelled clips."""
    truth = read_truth([options.labels])
    clips = find_clips(options.clips, truth)
    with tempfile.TemporaryDirectory() as scratch:
        run = open_run(DEFAULT_PACK, options, options.out or Path(scratch))
        for clip in index_clips(clips, truth, run):
            crops = decode_crops(gather_tracks([clip.title.tracks], [clip.title.crops]))
            yield LabelledTitle(crops, clip.matched.tracks)


def hard_titles(options: argparse.Namespace, pack: FacePack) -> Iterator[LabelledTitle]:
    """Rendered titles of both halves of the people."""
    for part in PARTS:
        maker = Maker(options.faces, pack, part, cache=options.cache)
        for number in range(options.titles):
            say(f"{part} {number} ...")
            made = maker.make(number)
            tracks = made.match([None] * len(made.identity)).tracks
            yield LabelledTitle(replace(made.title, score=made.scores), tracks)
