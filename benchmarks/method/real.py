"""How well does a run do on labelled real clips, from the file to the people?

    python -m benchmarks.method.real CLIPS_DIR --labels DIR [--packs P,DIR] [--out DIR]

DIR has NAME.labels.csv for each clip, and NAME.cuts.csv where its shots are labelled, both as
`vcn evaluate` takes them; CLIPS_DIR has the clips, NAME.mp4 or another ending. Clips that are not
there are left out. Each is indexed as `vcn index --local` does. With --out, outputs are kept, one
folder for each pack, and the next run repeats only what changed: `--set cluster.rule=paper` needs
no detector. Each pack has a table and a result file of its own.

How to read a row: "people" are those labelled, "found" those with a track in a person, "made" the
people of the result. Most tracks of a person of "no face" are labelled `-` or `?` or overlap no
label; "mixed" people have tracks of several identities. WCP to B-cubed F are over the tracks of
labelled people that are in a person. The columns of "HAC" cluster just the tracks that are in a
person, by average linkage of the pretrained encoder's embeddings: "oracle" at the cut with the best
NMI for each clip, which sees the labels, and "fixed" at one cut for all. "CPU s" is the time of
this run on all threads, without the baselines; it is small where an output was reused, and empty
where nothing was left to do. The last row has sums of counts and seconds, and means of the rest.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.command import make_parser, read_options, save
from benchmarks.method.baselines import HAC_DISTANCE, hac, hac_cuts
from benchmarks.report import Cell, Report, say, total_cells
from vcn_ray.api import index
from vcn_ray.cli.options import given_settings
from vcn_ray.config import RunConfig, with_pack
from vcn_ray.core.vectors import group_sums, unit_rows
from vcn_ray.evaluation.labels import Truth, read_truth
from vcn_ray.evaluation.output import MatchedTitle, match_title, score_title
from vcn_ray.evaluation.scores import (
    MatchedTrack,
    TitleScores,
    count_people,
    score_clustering,
)
from vcn_ray.io.folders import VIDEO_ENDINGS
from vcn_ray.io.storage import Storage
from vcn_ray.models.backbones import Backbone
from vcn_ray.packs.embedded import DEFAULT as DEFAULT_PACK
from vcn_ray.packs.find import open_pack, resolve_pack
from vcn_ray.records import F64, I64
from vcn_ray.rows.title_rows import decode_crops, gather_tracks
from vcn_ray.run.stored import StoredTitle, read_title

COUNTS = ("tracks", "people", "found", "made", "no face", "mixed", "unknown")
COLUMNS = {
    "clip": "",
    **dict.fromkeys(COUNTS, ""),
    "unknown time": ".1%",
    "WCP": ".3f",
    "PCR": ".2f",
    "NMI": ".3f",
    "B-cubed F": ".3f",
    "recall": ".3f",
    "shots P": ".3f",
    "shots R": ".3f",
    "oracle cut": ".3f",
    "oracle made": "",
    "oracle NMI": ".3f",
    "oracle F": ".3f",
    "fixed cut": ".3f",
    "fixed made": "",
    "fixed NMI": ".3f",
    "fixed F": ".3f",
    "CPU s": ".1f",
}
SUMMED = (*COUNTS, "oracle made", "fixed made", "CPU s")
CUTS = {"dlib-resnet": 0.09}
"""Cosine distance of the fixed cut by kind of encoder; HAC_DISTANCE for others.

dlib documents a Euclidean distance of 0.6 between embeddings, which are some 1.4 long.
"""


@dataclass(frozen=True)
class PackRun:
    """What clips are indexed with, and where."""

    encoder: Backbone  # the pretrained one, in eval mode
    config: RunConfig  # names the pack
    output: Path
    cut: float  # cosine distance of the fixed cut


class IndexedClip(NamedTuple):
    """A clip's result beside its labels."""

    name: str
    title: StoredTitle
    matched: MatchedTitle
    seconds: float | None  # of CPU; None where all of the result was there before


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, __file__)
    parser.add_argument("clips", type=Path, metavar="CLIPS_DIR")
    parser.add_argument("--labels", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--packs",
        default=DEFAULT_PACK,
        metavar="P,...",
        help=f"built-in names or folders: {DEFAULT_PACK}",
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="a setting"
    )
    parser.add_argument("--config", type=Path, metavar="FILE.toml", help="settings")
    parser.add_argument("--out", type=Path, metavar="DIR", help="keep outputs here and reuse them")
    parser.add_argument(
        "--cut", type=float, help="cosine distance of the fixed cut: by kind of encoder"
    )
    options = read_options(parser, argv)
    truth = read_truth([options.labels])
    clips = find_clips(options.clips, truth)
    if not clips:
        parser.error(f"{options.clips} holds none of {', '.join(sorted(truth.labels))}")
    rows: list[dict[str, Cell]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for pack in options.packs.split(","):
            run = open_run(pack, options, options.out or Path(scratch))
            rows += [
                {"pack": Path(pack).name, **row} for row in run_pack(clips, truth, run, options)
            ]
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


def find_clips(folder: Path, truth: Truth) -> dict[str, Path]:
    """The file of each labelled clip, by the name that its labels give it."""
    files = {p.stem: p for p in sorted(folder.glob("*")) if p.suffix.lower() in VIDEO_ENDINGS}
    clips = {}
    for name in truth.labels:
        stem = name if name in files else Path(name).stem
        if stem in files:
            clips[name] = files[stem]
        else:
            say(f"{name}: not in {folder.name}, left out")
    return clips


def open_run(pack: str, options: argparse.Namespace, out: Path) -> PackRun:
    """Load a pack and make the settings of its run.

    Files are decoded in this process, so that its CPU time has all; results do not depend on it.
    """
    config = given_settings(options, {"isolation.isolate": "false"})
    config = with_pack(config, resolve_pack(pack, config.s3))
    torch.set_num_threads(config.threads)
    loaded = open_pack(config)
    cut = options.cut or CUTS.get(loaded.encoder, HAC_DISTANCE)
    return PackRun(loaded.load_encoder(), config, out / Path(pack).name, cut)


def run_pack(
    clips: Mapping[str, Path], truth: Truth, run: PackRun, options: argparse.Namespace
) -> list[dict[str, Cell]]:
    """Measure a pack on all clips, and write its result file."""
    report = Report(COLUMNS)
    for row in run_clips(clips, truth, run):
        report.add(row)
    rows = list(report.rows)
    report.add(sum_row(rows))
    variant = "-".join(part for part in (run.output.name, options.variant) if part)
    save(argparse.Namespace(**{**vars(options), "json": None, "variant": variant}), report)
    return rows


def run_clips(clips: Mapping[str, Path], truth: Truth, run: PackRun) -> Iterator[dict[str, Cell]]:
    """The rows of the clips that could be indexed."""
    for clip in index_clips(clips, truth, run):
        yield {
            "clip": clip.name,
            **score_cells(score_title(clip.matched)),
            **baseline_cells(clip.matched, track_embeddings(clip.title, run.encoder), run.cut),
            "CPU s": clip.seconds,
        }


def index_clips(clips: Mapping[str, Path], truth: Truth, run: PackRun) -> Iterator[IndexedClip]:
    """Index each clip, and compare it with its labels; one that cannot be indexed is left out."""
    storage = Storage.open(str(run.output))
    for name, clip in clips.items():
        say(f"{run.output.name}: {name} ...")
        began = time.process_time()
        done = index(clip, run.output, local=True, config=run.config)
        seconds = time.process_time() - began
        if not done.titles:
            say(f"{name}: {'; '.join(failure.message for failure in done.failures)}")
            continue
        title = read_title(done.titles[0].title_id, storage)
        (video,) = title.summary["videos"]
        cuts = {video["video_id"]: truth.cuts[name]} if name in truth.cuts else {}
        matched = match_title(title, {video["video_id"]: truth.labels[name]}, cuts, storage)
        yield IndexedClip(clip.stem, title, matched, None if done.titles[0].reused else seconds)


def score_cells(found: TitleScores) -> dict[str, Cell]:
    """The cells of the result itself."""
    people, scores, cuts = found.people, found.scores, found.cuts
    counts = (people.there, people.found, people.made, people.of_no_face, people.mixed)
    return {
        "tracks": found.tracks,
        **dict(zip(COUNTS[1:], (*counts, found.tracks_unknown), strict=True)),
        "unknown time": found.unknown_seconds_fraction,
        "WCP": scores.wcp,
        "PCR": scores.pcr,
        "NMI": scores.nmi,
        "B-cubed F": scores.bcubed_f,
        "recall": found.track_recall,
        "shots P": cuts.precision if cuts else None,
        "shots R": cuts.recall if cuts else None,
    }


def track_embeddings(title: StoredTitle, encoder: Backbone) -> F64:
    """Unit means (k, d) of the embeddings of each track's crops, in the order of the result."""
    crops = decode_crops(gather_tracks([title.tracks], [title.crops]))
    embedded = encoder.embed(torch.from_numpy(crops.crops)).numpy().astype(np.float64)
    return unit_rows(group_sums(embedded, crops.track, title.tracks.num_rows))


def baseline_cells(title: MatchedTitle, rows: F64, cut: float) -> dict[str, Cell]:
    """The cells of average linkage over the tracks that are in a person, as the method's.

    Args:
        title: With k tracks.
        rows: (k, d) unit embeddings.
        cut: Cosine distance of the fixed one.
    """
    inside = np.flatnonzero([track.person is not None for track in title.tracks])
    cuts = [(at, in_clusters(title.tracks, inside, label)) for at, label in hac_cuts(rows[inside])]
    best, oracle = max(cuts, key=lambda each: score_clustering(each[1]).nmi)
    fixed = in_clusters(title.tracks, inside, hac(rows[inside], cut))
    cells: dict[str, Cell] = {"oracle cut": best, "fixed cut": cut}
    for name, tracks in (("oracle", oracle), ("fixed", fixed)):
        scores = score_clustering(tracks)
        cells[f"{name} made"] = count_people(tracks, title.there).made
        cells[f"{name} NMI"] = scores.nmi
        cells[f"{name} F"] = scores.bcubed_f
    return cells


def in_clusters(tracks: Sequence[MatchedTrack], inside: I64, label: I64) -> list[MatchedTrack]:
    """The tracks with clusters instead of people.

    Args:
        tracks: k tracks.
        inside: (n,) rows of those that are clustered; the others are in no cluster.
        label: (n,) their clusters.
    """
    person = dict(zip(inside.tolist(), label.tolist(), strict=True))
    return [
        track._replace(person=str(person[row]) if row in person else None)
        for row, track in enumerate(tracks)
    ]


def sum_row(rows: Sequence[Mapping[str, Cell]]) -> dict[str, Cell]:
    """The sums of SUMMED, and the means of the other numbers, over the clips that have them."""
    return total_cells(rows, COLUMNS, SUMMED) | {"clip": "sum, mean"}


if __name__ == "__main__":
    main()
