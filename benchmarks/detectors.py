"""What does it gain to detect and align faces a batch at a time?

Frames are the picture of six people that insightface ships, 1280 x 886, shifted a little from frame
to frame; networks see them at 640 pixels. For each file it compares, on one thread and by turns:
the original, a frame at a time (insightface's `SCRFD.detect`, `cv2.FaceDetectorYN`); the detector
of this package with batches of several sizes; and the network alone on ready input, with the whole
batch in one call, which is the floor. A row has frames a second of the best turn, then milliseconds
of CPU a frame of the best turn, which other load on the machine changes less; ratios are of CPU.

The second table aligns faces: `norm_crop` of insightface a face at a time, against the fit of all
faces at once and its warp. The floor is `cv2.warpAffine` from a frame of three channels with the
matrices known; the warp of this package goes under it with a fourth channel.

    python benchmarks/detectors.py FILE.onnx ... [--repeats 7] [--pixels 640] [--threads 1]
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import onnxruntime
from insightface.model_zoo import get_model
from insightface.utils.face_align import estimate_norm, norm_crop

from vcn_ray.errors import PackError
from vcn_ray.models.align import ARCFACE_TEMPLATE, ArcFaceAligner, fit_similarities
from vcn_ray.models.detector_inputs import fit_to, fit_within, round_up
from vcn_ray.models.detectors import ScrfdDetector, YuNetDetector
from vcn_ray.packs.check import read_picture
from vcn_ray.records import F32, U8, Detections

BATCHES = (1, 4, 8, 16)
FACES = (1, 6, 48)
MIN_SCORE = 0.5
STRIDE = 32

Work = Callable[[], object]


class Pace(NamedTuple):
    """The best of some turns."""

    seconds: float
    cpu_seconds: float


class Contest(NamedTuple):
    """A detector of this package, and what it is measured against."""

    name: str
    ours: YuNetDetector | ScrfdDetector
    original: Callable[[U8], object]  # of one RGB frame
    network: Callable[[F32], object]  # of ready input


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE.onnx")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--pixels", type=int, default=640, help="longest side the network sees")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(argv)
    warnings.simplefilter("ignore", FutureWarning)  # insightface calls scikit-image's old name
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)  # it warns about targets
    frames = shifted_frames(max(BATCHES))
    contests = [open_contest(path, options.pixels, options.threads) for path in options.files]
    print(
        "| detector | batch | fps original, ours, network | CPU ms, likewise | original / ours | ",
        end="",
    )
    print("ours / network |\n| --- | --- | --- | --- | --- | --- |")
    for contest in contests:
        for batch in BATCHES:
            print(detector_row(contest, frames[:batch], options), flush=True)
    print("\n| faces | CPU us a face: norm_crop, ours, warpAffine | norm_crop / ours | ", end="")
    print("ours / warpAffine | fit alone: theirs, ours | ratio |")
    print("| --- | --- | --- | --- | --- | --- |")
    found = contests[0].ours.detect(frames[:1])[0]
    for count in FACES:
        print(align_row(frames[0], found, count, options.repeats), flush=True)


def shifted_frames(count: int) -> U8:
    """The picture of six people, a few pixels further in each frame."""
    picture = read_picture()
    return np.stack([np.roll(picture, 3 * number, axis=1) for number in range(count)])


def open_contest(path: Path, pixels: int, threads: int) -> Contest:
    try:
        return yunet_contest(path, pixels, threads)
    except PackError:
        return scrfd_contest(path, pixels, threads)


def yunet_contest(path: Path, pixels: int, threads: int) -> Contest:
    ours = YuNetDetector(path, MIN_SCORE, pixels, threads)
    original = cv2.FaceDetectorYN.create(str(path), "", (320, 320), MIN_SCORE)

    def detect(frame: U8) -> object:
        height, width = fit_within(*frame.shape[:2], pixels)
        original.setInputSize((width, height))
        picture = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
        return original.detect(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))

    return Contest(path.stem, ours, detect, network_alone(ours))


def scrfd_contest(path: Path, pixels: int, threads: int) -> Contest:
    ours = ScrfdDetector(path, MIN_SCORE, pixels, threads)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    original = get_model(str(path), sess_options=options, providers=["CPUExecutionProvider"])
    original.prepare(ctx_id=0, det_thresh=MIN_SCORE)

    def detect(frame: U8) -> object:
        height, width = ours.network_size(*frame.shape[:2])
        return original.detect(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), input_size=(width, height))

    return Contest(path.stem, ours, detect, network_alone(ours))


def network_alone(ours: YuNetDetector | ScrfdDetector) -> Callable[[F32], object]:
    """The detector's network, the whole batch in one call."""
    session = ours._session

    def run(planes: F32) -> object:
        usual, session.max_batch = session.max_batch, len(planes)
        try:
            return session.run(planes)
        finally:
            session.max_batch = usual

    return run


def detector_row(contest: Contest, frames: U8, options: argparse.Namespace) -> str:
    batch = len(frames)
    height, width = fit_within(*frames.shape[1:3], options.pixels)
    size = round_up(height, STRIDE), round_up(width, STRIDE)
    tall, wide = fit_to(*frames.shape[1:3], size)
    planes = np.zeros((batch, 3, *size), np.float32)
    shrunk = cv2.resize(frames[0], (wide, tall)).transpose(2, 0, 1)
    normalised = isinstance(contest.ours, ScrfdDetector)
    planes[:, :, :tall, :wide] = shrunk / 128 - 1 if normalised else shrunk
    paces = best_of(
        [
            lambda: [contest.original(frame) for frame in frames],
            lambda: contest.ours.detect(frames),
            lambda: contest.network(planes),
        ],
        options.repeats,
    )
    fps = ", ".join(f"{batch / pace.seconds:.1f}" for pace in paces)
    original, ours, network = (pace.cpu_seconds / batch * 1000 for pace in paces)
    return (
        f"| {contest.name} | {batch} | {fps} | {original:.1f}, {ours:.1f}, {network:.1f} | "
        f"{original / ours:.2f} | {ours / network:.2f} |"
    )


def align_row(frame: U8, found: Detections, count: int, repeats: int) -> str:
    rows = np.arange(count) % len(found)
    faces = Detections(found.boxes[rows], found.scores[rows], found.landmarks[rows])
    aligner = ArcFaceAligner()
    side = aligner.input_pixels
    matrices = fit_similarities(faces.landmarks, ARCFACE_TEMPLATE)
    loops = max(1, 48 // count)  # one face alone is too short to time
    paces = best_of(
        [
            lambda: [norm_crop(frame, five) for _ in range(loops) for five in faces.landmarks],
            lambda: [aligner.align(frame, faces) for _ in range(loops)],
            lambda: [
                cv2.warpAffine(frame, matrix, (side, side))
                for _ in range(loops)
                for matrix in matrices
            ],
            lambda: [estimate_norm(five) for _ in range(loops) for five in faces.landmarks],
            lambda: [fit_similarities(faces.landmarks, ARCFACE_TEMPLATE) for _ in range(loops)],
        ],
        repeats,
    )
    theirs, ours, warp, their_fit, our_fit = (
        pace.cpu_seconds / (loops * count) * 1e6 for pace in paces
    )
    return (
        f"| {count} | {theirs:.0f}, {ours:.0f}, {warp:.0f} | {theirs / ours:.1f} | "
        f"{ours / warp:.2f} | {their_fit:.0f}, {our_fit:.1f} | {their_fit / our_fit:.0f} |"
    )


def best_of(ways: Sequence[Work], repeats: int) -> list[Pace]:
    """The shortest time of each, taken by turns after one that is not counted."""
    turns = [[timed(way) for way in ways] for _ in range(repeats + 1)][1:]
    return [
        Pace(min(turn[n].seconds for turn in turns), min(turn[n].cpu_seconds for turn in turns))
        for n in range(len(ways))
    ]


def timed(work: Work) -> Pace:
    began, before = time.perf_counter(), time.process_time()
    work()
    return Pace(time.perf_counter() - began, time.process_time() - before)


if __name__ == "__main__":
    main()
