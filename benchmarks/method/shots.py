"""How well are shots found, beside PySceneDetect, and what do the signals cost?

    python -m benchmarks.method.shots CLIPS --labels LABELS [--trials TRIALS]

CLIPS is a folder of films, LABELS one with a file NAME.cuts.csv for each of them: columns `video`
and `seconds`, the time of the first frame of each new shot by the film's own clock. Clips that are
absent are skipped. TRIALS is a folder with films made to be difficult; those whose cuts are listed
in this script are measured, too, but not counted in the total.

How to read a row: a cut is right if it is within 0.2 s of a labelled one; each label counts once.
`ours` is the setting of every run. `content` and `adaptive` are PySceneDetect's ContentDetector and
AdaptiveDetector with their default settings. The second table has milliseconds of CPU a frame, on
one thread: to decode and shrink a frame, to read its signals, and to find shots. Signals include
the camera motion, which is read on analysed frames only.

The clips are few, and those who chose the rules had seen them: small differences mean nothing.
Published figures of other detectors, such as TransNetV2, are of other films (ClipShots, BBC, RAI)
and say nothing of these, so none are repeated here.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np
from scenedetect import AdaptiveDetector, ContentDetector, detect
from scenedetect.detector import SceneDetector

from benchmarks.command import make_parser, read_options, save
from benchmarks.report import Cell, Report, say
from vcn_ray.core.metrics import match_times
from vcn_ray.core.shots import ShotConfig, find_shots
from vcn_ray.core.signals import SegmentSignals, SignalReader, join_signals
from vcn_ray.io.frames import read_segment
from vcn_ray.io.keyframes import plan_segments
from vcn_ray.io.video import DecodeConfig

TOLERANCE = 0.2  # seconds
ONE_A_SECOND = "2 4 7 9 12 14 17 19 21 23 26 29 30 33 34 37 39 42 44 46 49"
TRIALS = {
    "t69_keyframe_pop.mkv": [2.64, 4.64, 7.44, 10.0, 12.56, 14.48],
    "t07_1fps.mp4": [float(seconds) for seconds in ONE_A_SECOND.split()],
}
OTHERS: dict[str, type[SceneDetector]] = {"content": ContentDetector, "adaptive": AdaptiveDetector}
DETECTORS = ("ours", *OTHERS)
TOTAL = "total"
COLUMNS = {
    "clip": "",
    "cuts": "",
    **{
        f"{name} {column}": form
        for name in DETECTORS
        for column, form in (("found", ""), ("right", ""), ("precision", ".3f"), ("recall", ".3f"))
    },
}
COSTS = {"clip": "", "frames": "", "decode": ".2f", "signals": ".3f", "shots": ".3f"}


class Clip(NamedTuple):
    """A film whose cuts are known."""

    path: Path
    cuts: list[float]  # seconds from its first frame


class Found(NamedTuple):
    """Our cuts of a clip, and what they cost."""

    cuts: list[float]  # seconds from its first frame
    cost: dict[str, Cell]  # a row of COSTS


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, __file__)
    parser.add_argument("clips", type=Path, metavar="CLIPS")
    parser.add_argument("--labels", type=Path, required=True, metavar="LABELS")
    parser.add_argument("--trials", type=Path, default=Path("../shared/data/trials"))
    options = read_options(parser, argv)
    cv2.setNumThreads(1)
    report = Report(COLUMNS)
    costs: list[dict[str, Cell]] = []
    for clip in labelled_clips(options.clips, options.labels):
        report.add(measure(clip, costs))
    report.add(total(report.rows))
    for name, cuts in TRIALS.items():
        path = options.trials / name
        if path.is_file():
            report.add(measure(Clip(path, cuts), costs))
        else:
            say(f"{name}: not in {options.trials}, skipped")
    cost_report = Report(COSTS)
    for row in costs:
        cost_report.add(row)
    save(options, report, cost_report)


def labelled_clips(clips: Path, labels: Path) -> list[Clip]:
    """The clips that are there, in order of name."""
    found = []
    for file in sorted(labels.glob("*.cuts.csv")):
        name = file.name.removesuffix(".cuts.csv")
        path = next((p for p in sorted(clips.glob(f"{name}.*")) if p.suffix != ".csv"), None)
        if path is None:
            say(f"{name}: no such clip in {clips}, skipped")
            continue
        with file.open(encoding="utf-8", newline="") as lines:
            cuts = [float(row["seconds"]) for row in csv.DictReader(lines)]
        with av.open(str(path)) as container:
            start = next(container.decode(video=0)).time or 0.0
        found.append(Clip(path, [cut - start for cut in cuts]))
    return found


def measure(clip: Clip, costs: list[dict[str, Cell]]) -> dict[str, Cell]:
    """The row of a clip; its costs go to the end of a list."""
    say(f"{clip.path.name} ...")
    ours = find_ours(clip.path)
    costs.append(ours.cost)
    found = {"ours": ours.cuts}
    for name, detector in OTHERS.items():
        scenes = detect(str(clip.path), detector())
        found[name] = [start.seconds for start, _ in scenes[1:]]
    row: dict[str, Cell] = {"clip": clip.path.stem, "cuts": len(clip.cuts)}
    for name, cuts in found.items():
        row |= scores(name, len(clip.cuts), len(cuts), count_right(cuts, clip.cuts))
    return row


def find_ours(path: Path) -> Found:
    """Cut a film as a run does, segment by segment."""
    config = DecodeConfig()
    spent = dict.fromkeys(("decode", "signals", "shots"), 0.0)
    segments: list[SegmentSignals] = []
    for segment in plan_segments(path, config):
        reader: SignalReader | None = None
        before = time.process_time()
        for frame in read_segment(path, segment, config):
            decoded = time.process_time()
            reader = reader or SignalReader()
            reader.add(frame.small, frame.seconds, analysed=frame.analysed)
            spent["decode"] += decoded - before
            before = time.process_time()
            spent["signals"] += before - decoded
        if reader is not None:
            segments.append(reader.result())
    before = time.process_time()
    signals = join_signals(segments)
    shots = find_shots(signals, ShotConfig())
    spent["shots"] = time.process_time() - before
    cost = {name: 1000 * seconds / len(signals) for name, seconds in spent.items()}
    cuts = (signals.seconds[shots.starts[1:]] - signals.seconds[0]).tolist()
    return Found(cuts, {"clip": path.stem, "frames": len(signals), **cost})


def count_right(found: Sequence[float], cuts: Sequence[float]) -> int:
    """Count the cuts that are found, each once, within the tolerance; both lists rise."""
    return match_times(np.asarray(found), np.asarray(cuts), TOLERANCE + 1e-6)


def scores(name: str, cuts: int, found: int, right: int) -> dict[str, Cell]:
    """The cells of one detector."""
    return {
        f"{name} found": found,
        f"{name} right": right,
        f"{name} precision": right / found if found else None,
        f"{name} recall": right / cuts if cuts else None,
    }


def total(rows: Sequence[dict[str, Cell]]) -> dict[str, Cell]:
    """The row of all clips together."""

    def add(column: str) -> int:
        return sum(int(row[column] or 0) for row in rows)

    result: dict[str, Cell] = {"clip": TOTAL, "cuts": add("cuts")}
    for name in DETECTORS:
        result |= scores(name, add("cuts"), add(f"{name} found"), add(f"{name} right"))
    return result


if __name__ == "__main__":
    main()
