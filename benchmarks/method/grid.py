"""What does it gain and lose to run the detector on a grid of the analysed frames?

    python -m benchmarks.method.grid CLIPS_DIR --labels DIR [--steps 1,2,4,8] [--out OUT]

CLIPS_DIR and DIR are those of benchmarks/method/real.py. Each clip is indexed with each step of the
grid (`detect.grid_step`), of which the first is what the others are compared with: 1, the detector
on every analysed frame. OUT must be new, for the detector is counted and timed while it runs.

How to read a row: "runs" is the number of detector runs over that of analysed frames. "detect s"
are the CPU seconds of the detector and of the interpolation. "faces" are those of the first step;
"missed" of them overlap no face of the same frame (IoU of 0.5), and "false" faces of this step
overlap none of theirs. "tracks" are those of the first step, before any is split; of these the
faces of "broken" ones are in several tracks, and those of "lost" ones in none, while "joined"
tracks of this step hold faces of several. The other columns are those of real.py.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import numpy as np

from benchmarks.command import make_parser, read_options, save
from benchmarks.method.real import IndexedClip, find_clips, index_clips, open_run
from benchmarks.report import Cell, Report, say, total_cells
from vcn_ray import steps
from vcn_ray.core.grid import Detect, FrameFound, GridConfig, GridDetector
from vcn_ray.core.vectors import pairwise_iou
from vcn_ray.evaluation.labels import read_truth
from vcn_ray.evaluation.matching import MIN_IOU, FrameBoxes, best_overlaps
from vcn_ray.evaluation.output import score_title
from vcn_ray.io.storage import Storage
from vcn_ray.io.tables import column_array, read_boxes
from vcn_ray.packs.embedded import DEFAULT as DEFAULT_PACK
from vcn_ray.records import I64, U8, Detections
from vcn_ray.run.stored import detect_folders, read_detections

COLUMNS = {
    "clip": "",
    "step": "",
    "analysed": "",
    "runs": ".3f",
    "detect s": ".1f",
    **dict.fromkeys(("faces", "missed", "false"), ""),
    **dict.fromkeys(("tracks", "broken", "lost", "joined"), ""),
    **dict.fromkeys(("people", "found", "made", "no face", "mixed", "unknown"), ""),
    "NMI": ".3f",
    "B-cubed F": ".3f",
    "recall": ".3f",
}
MEANS = ("NMI", "B-cubed F", "recall")


@dataclass
class Spent:
    """What the detection of a clip took."""

    analysed: int = 0  # frames
    runs: int = 0  # frames given to the detector
    seconds: float = 0.0  # of CPU


class Found(NamedTuple):
    """The faces and tracks of an indexed clip."""

    faces: FrameBoxes
    tracked: FrameBoxes  # the faces of its tracks
    owner: I64  # (n,) track of each


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, __file__)
    parser.add_argument("clips", type=Path, metavar="CLIPS_DIR")
    parser.add_argument("--labels", type=Path, required=True, metavar="DIR")
    parser.add_argument("--steps", default="1,2,4,8", metavar="N,...", help="the first is compared")
    parser.add_argument("--pack", default=DEFAULT_PACK, help=f"built-in or folder: {DEFAULT_PACK}")
    parser.add_argument("--out", type=Path, metavar="DIR", help="keep outputs here; must be new")
    parser.add_argument(
        "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="a setting"
    )
    parser.set_defaults(config=None, cut=None)
    options = read_options(parser, argv)
    report = Report(COLUMNS)
    with tempfile.TemporaryDirectory() as scratch:
        for row in rows_of_steps(options, options.out or Path(scratch)):
            report.add(row)
    for step in dict.fromkeys(row["step"] for row in list(report.rows)):
        report.add(sum_row([row for row in report.rows if row["step"] == step]))
    save(options, report)


def rows_of_steps(options: argparse.Namespace, out: Path) -> Iterator[dict[str, Cell]]:
    """The rows of all clips, step by step."""
    truth = read_truth([options.labels])
    clips = find_clips(options.clips, truth)
    first: dict[str, Found] = {}
    for step in map(int, options.steps.split(",")):
        given = [*options.set, f"detect.grid_step={step}"]
        asked = argparse.Namespace(**{**vars(options), "set": given})
        run = open_run(options.pack, asked, out / f"step-{step}")
        storage = Storage.open(str(run.output))
        for name, path in clips.items():
            with counted() as spent:
                indexed = list(index_clips({name: path}, truth, run))
            if not indexed or not spent.analysed:
                say(f"{name}: cannot be indexed, or is indexed already: give a new --out")
                continue
            found = read_found(indexed[0], storage)
            expected = first.setdefault(name, found)
            scores = score_title(indexed[0].matched)
            people = scores.people
            yield {
                "clip": indexed[0].name,
                "step": step,
                "analysed": spent.analysed,
                "runs": spent.runs / spent.analysed,
                "detect s": spent.seconds,
                **compare_faces(expected.faces, found.faces),
                **compare_tracks(expected, found),
                "people": people.there,
                "found": people.found,
                "made": people.made,
                "no face": people.of_no_face,
                "mixed": people.mixed,
                "unknown": scores.tracks_unknown,
                "NMI": scores.scores.nmi,
                "B-cubed F": scores.scores.bcubed_f,
                "recall": scores.track_recall,
            }


@contextmanager
def counted() -> Iterator[Spent]:
    """Count and time the detection of segments that are read in this process."""
    spent = Spent()

    class CountedGrid(GridDetector):
        def __init__(self, detect: Detect, config: GridConfig, analysis_fps: float) -> None:
            def count(frames: U8) -> list[Detections]:
                spent.runs += len(frames)
                return detect(frames)

            super().__init__(count, config, analysis_fps)

        def add(self, image: U8 | None, seconds: float, layout: U8) -> list[FrameFound]:
            spent.analysed += image is not None
            began = time.process_time()
            found = super().add(image, seconds, layout)
            spent.seconds += time.process_time() - began
            return found

        def finish(self) -> list[FrameFound]:
            began = time.process_time()
            found = super().finish()
            spent.seconds += time.process_time() - began
            return found

    with mock.patch.object(steps, "GridDetector", CountedGrid):
        yield spent


def read_found(clip: IndexedClip, storage: Storage) -> Found:
    """The faces and tracks of an indexed clip."""
    (folder,) = detect_folders(clip.title).values()
    detected = read_detections(folder, storage)
    crops = clip.title.crops
    _, owner = np.unique(crops.column("track_id").to_pylist(), return_inverse=True)
    return Found(
        FrameBoxes(detected.frame, detected.boxes),
        FrameBoxes(column_array(crops, "frame").astype(np.int64), read_boxes(crops)),
        owner.astype(np.int64),
    )


def compare_faces(expected: FrameBoxes, found: FrameBoxes) -> dict[str, Cell]:
    """How many faces are missing, and how many are too many."""
    return {
        "faces": len(expected.frame),
        "missed": int((best_overlaps(expected, found) < MIN_IOU).sum()),
        "false": int((best_overlaps(found, expected) < MIN_IOU).sum()),
    }


def compare_tracks(expected: Found, found: Found) -> dict[str, Cell]:
    """How many tracks are in several parts, in none, or with another one in one."""
    pairs = np.unique(_shared_faces(expected, found), axis=0)
    parts = np.bincount(pairs[:, 0], minlength=int(expected.owner.max(initial=-1)) + 1)
    whole = np.bincount(pairs[:, 1])
    return {
        "tracks": len(parts),
        "broken": int((parts > 1).sum()),
        "lost": int((parts == 0).sum()),
        "joined": int((whole > 1).sum()),
    }


def _shared_faces(expected: Found, found: Found) -> I64:
    """The expected and the found track of each face (m, 2) that both have."""
    pairs = [np.zeros((0, 2), np.int64)]
    for frame in np.unique(expected.tracked.frame):
        ours = np.flatnonzero(expected.tracked.frame == frame)
        theirs = np.flatnonzero(found.tracked.frame == frame)
        overlap = pairwise_iou(expected.tracked.boxes[ours], found.tracked.boxes[theirs])
        left, right = np.nonzero(overlap >= MIN_IOU)
        pairs.append(np.stack([expected.owner[ours[left]], found.owner[theirs[right]]], axis=1))
    return np.concatenate(pairs)


def sum_row(rows: Sequence[Mapping[str, Cell]]) -> dict[str, Cell]:
    """The sums of the counts and seconds of one step, the means of scores, and all runs."""
    summed = [name for name in COLUMNS if name not in (*MEANS, "clip", "step", "runs")]
    analysed = sum(int(row["analysed"] or 0) for row in rows)
    runs = sum(float(row["runs"] or 0) * int(row["analysed"] or 0) for row in rows)
    total = total_cells(rows, [*summed, *MEANS], summed)
    return {"clip": "sum, mean", "step": rows[0]["step"], "runs": runs / analysed, **total}


if __name__ == "__main__":
    main()
