"""How well does a run do when the same film looks worse, or has another size or rate?

    python -m benchmarks.method.variants [--only grain,dark] [--out DIR]

The sample film of `vcn sample` is written in many versions, each indexed as `vcn index --local`
does with the default pack, and compared with the labels, which are moved to the place and the time
that faces have in the version. With --out, films and outputs are kept, and a later run makes only
those that are missing. --seed sets grain and noise.

How to read a row: "people" are those labelled, "found" those with a track in a person, "made" the
people of the result. Most tracks of a person of "no face" overlap no label; "mixed" people have
tracks of several identities; "unknown" are tracks of nobody. NMI and B-cubed F are over the tracks
of labelled people that are in a person. "warnings" are those of the result. "CPU s" is the time of
this run on all threads, and empty where an output was reused.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import av
import cv2
import numpy as np

from benchmarks.command import make_parser, read_options, save
from benchmarks.report import Cell, Report, say
from vcn_ray.api import index
from vcn_ray.cli.options import given_settings
from vcn_ray.config import RunConfig
from vcn_ray.evaluation.labels import UNIDENTIFIED, Labels, read_labels
from vcn_ray.evaluation.output import match_title, score_title
from vcn_ray.io.storage import Storage
from vcn_ray.records import F32, F64, U8
from vcn_ray.run.stored import read_title
from vcn_ray.sample.film import VIDEO_NAME, SampleFilm, write_sample
from vcn_ray.sample.render import MIN_VISIBLE
from vcn_ray.sample.script import FRAME_RATE, FRAME_SIZE

WIDTH, HEIGHT = FRAME_SIZE
BAR = 60  # lines of each black bar: the picture becomes 4:3
CROP = 202  # columns: 9:16, in an even number
GRAIN = 20.0  # standard deviation, of 255
LUMA = np.array([0.299, 0.587, 0.114])
COLUMNS = {
    "version": "",
    "size": "",
    "tracks": "",
    "people": "",
    "found": "",
    "made": "",
    "no face": "",
    "mixed": "",
    "unknown": "",
    "NMI": ".3f",
    "B-cubed F": ".3f",
    "warnings": "",
    "CPU s": ".1f",
}
X264 = {"preset": "ultrafast", "crf": "20", "x264-params": "threads=1:lookahead-threads=1"}

Change = Callable[[U8, U8, np.random.Generator], U8]
"""Make a frame of a version from a frame of the film, the frame after it, and random numbers."""


@dataclass(frozen=True)
class Version:
    """How a version of the film is made, and where its faces are.

    Attributes:
        change: Makes each frame.
        scale: By which the places of faces are multiplied in x and y, before the shift.
        shift: Pixels by which they move in x and y.
        rate: Frames a second: those nearest in time are kept, the others left out.
        encoder: Options of libx264 that differ from X264.
    """

    change: Change = lambda frame, _, __: frame
    scale: tuple[float, float] = (1.0, 1.0)
    shift: tuple[float, float] = (0.0, 0.0)
    rate: int = FRAME_RATE
    encoder: Mapping[str, str] = field(default_factory=dict)


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, __file__)
    parser.add_argument("--only", metavar="NAME,...", help=f"of {', '.join(VERSIONS)}")
    parser.add_argument(
        "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="a setting"
    )
    parser.add_argument("--config", type=Path, metavar="FILE.toml", help="settings")
    parser.add_argument("--out", type=Path, metavar="DIR", help="keep films and outputs here")
    parser.add_argument("--seed", type=int, default=0)
    options = read_options(parser, argv)
    names = options.only.split(",") if options.only else list(VERSIONS)
    if unknown := set(names) - set(VERSIONS):
        parser.error(f"no version is called {', '.join(sorted(unknown))}")
    # Decoding in this process gives the same rows, and its CPU time is counted here.
    config = given_settings(options, {"isolation.isolate": "false"})
    report = Report(COLUMNS)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.out or Path(scratch)
        say("writing the sample film ...")
        film = write_sample(folder)
        for name in names:
            report.add(measure(name, film, config, options))
    save(options, report)


def measure(
    name: str, film: SampleFilm, config: RunConfig, options: argparse.Namespace
) -> dict[str, Cell]:
    """The row of a version."""
    version = VERSIONS[name]
    output = film.video.parent / "output"
    path = film.video.with_name(f"{name.replace(' ', '-')}.mp4")
    if not path.exists():
        say(f"{name}: writing ...")
        part = path.with_suffix(".part")
        write_version(version, film, part, options.seed)
        part.replace(path)
    say(f"{name}: indexing ...")
    began = time.process_time()
    done = index(path, output, local=True, config=config)
    seconds = time.process_time() - began
    if not done.titles:
        return {"version": name, "warnings": "; ".join(f.message for f in done.failures)}
    storage = Storage.open(str(output))
    title = read_title(done.titles[0].title_id, storage)
    (video,) = title.summary["videos"]
    size = (video["width"], video["height"])
    labels = place_labels(version, read_labels(film.labels)[VIDEO_NAME], film.frames, size)
    found = score_title(match_title(title, {video["video_id"]: labels}, {}, storage))
    people = found.people
    return {
        "version": name,
        "size": f"{size[0]} x {size[1]}",
        "tracks": found.tracks,
        "people": people.there,
        "found": people.found,
        "made": people.made,
        "no face": people.of_no_face,
        "mixed": people.mixed,
        "unknown": found.tracks_unknown,
        "NMI": found.scores.nmi,
        "B-cubed F": found.scores.bcubed_f,
        "warnings": ", ".join(warning["code"] for warning in title.summary["warnings"]) or None,
        "CPU s": None if done.titles[0].reused else seconds,
    }


def kept_frames(rate: int, frames: int) -> list[int]:
    """The frames of the film that a version of so many frames a second shows, in order."""
    count = (frames * rate - 1) // FRAME_RATE + 1
    return [min(round(number * FRAME_RATE / rate), frames - 1) for number in range(count)]


def place_labels(version: Version, labels: Labels, frames: int, size: tuple[int, int]) -> Labels:
    """The labels of the film, as they are in a version.

    A face that leaves the picture entirely is dropped; one of which less than MIN_VISIBLE is left
    becomes one that nobody can identify.

    Args:
        version: The version.
        labels: Of the film, by frames.
        frames: Number of the film's frames.
        size: Width and height of the version.
    """
    if labels.frame is None:
        raise ValueError("the labels of the sample film name frames")
    scale, shift = np.tile(version.scale, 2), np.tile(version.shift, 2)
    whole = labels.boxes * scale + shift
    boxes = np.clip(whole, 0, np.tile(size, 2)).astype(np.float32)
    visible = _areas(boxes) / _areas(whole.astype(np.float32))
    number = {frame: n for n, frame in enumerate(kept_frames(version.rate, frames))}
    kept = [
        row
        for row, frame in enumerate(labels.frame.tolist())
        if frame in number and visible[row] > 0
    ]
    return Labels(
        frame=np.array([number[int(labels.frame[row])] for row in kept], np.int64),
        seconds=None,
        boxes=boxes[kept],
        identity=[
            labels.identity[row] if visible[row] >= MIN_VISIBLE else UNIDENTIFIED for row in kept
        ],
    )


def _areas(boxes: F32) -> F32:
    sides: F32 = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return sides


def write_version(version: Version, film: SampleFilm, path: Path, seed: int) -> None:
    """Write a version of a film as MP4; the same seed and libraries give the same bytes."""
    random = np.random.default_rng(seed)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream(
            "libx264", rate=version.rate, options={**X264, **version.encoder}
        )
        stream.pix_fmt, stream.thread_count = "yuv420p", 1
        kept = set(kept_frames(version.rate, film.frames))
        for number, (frame, following) in enumerate(_with_next(film.video)):
            if number not in kept:
                continue
            picture = version.change(frame, following, random)
            if number == 0:
                stream.height, stream.width = picture.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def _with_next(film: Path) -> Iterator[tuple[U8, U8]]:
    """Each frame of a film and the one after it; the last one comes with itself."""
    with av.open(str(film)) as container:
        decoded = (frame.to_ndarray(format="rgb24") for frame in container.decode(video=0))
        frame = next(decoded)
        for following in decoded:
            yield frame, following
            frame = following
    yield frame, frame


def grain(frame: U8, _: U8, random: np.random.Generator) -> U8:
    """Add grain of about one pixel, as of fast film; it is equal in all colours."""
    noise = cv2.GaussianBlur(random.standard_normal((HEIGHT, WIDTH)), (0, 0), 0.6)
    return _eight_bits(frame + GRAIN / noise.std() * noise[..., None])


def vhs(frame: U8, _: U8, random: np.random.Generator) -> U8:
    """Blur colours along the lines, add noise, and move each line a little to one side."""
    parts = cv2.cvtColor(frame, cv2.COLOR_RGB2YCrCb).astype(np.float64)
    parts = np.roll(cv2.GaussianBlur(parts, (0, 0), sigmaX=6, sigmaY=1), 3, axis=1)
    parts[..., 0] = cv2.GaussianBlur(frame @ LUMA, (0, 0), sigmaX=1.2, sigmaY=0.1)
    parts[..., 0] += cv2.GaussianBlur(random.normal(0, 16, (HEIGHT, WIDTH)), (0, 0), 0.6)
    parts[..., 1:] += cv2.GaussianBlur(random.normal(0, 60, (HEIGHT, WIDTH, 2)), (0, 0), 3)
    picture = cv2.cvtColor(_eight_bits(parts), cv2.COLOR_YCrCb2RGB)
    jitter = random.normal(0, 1.0, HEIGHT) + 1.5 * np.sin(
        np.arange(HEIGHT) / 40 + random.uniform(0, 2 * np.pi)
    )
    columns = np.arange(WIDTH) + np.rint(jitter).astype(np.int64)[:, None]
    rows = np.arange(HEIGHT)[:, None]
    moved: U8 = picture[rows, np.clip(columns, 0, WIDTH - 1)]
    return moved


def grey(frame: U8, _: U8, __: np.random.Generator) -> U8:
    """Keep the brightness alone."""
    return _eight_bits(np.repeat((frame @ LUMA)[..., None], 3, axis=2))


def combed(frame: U8, following: U8, _: np.random.Generator) -> U8:
    """Take every other line from the next frame, as in interlaced film."""
    woven = frame.copy()
    woven[1::2] = following[1::2]
    return woven


def letterboxed(frame: U8, _: U8, __: np.random.Generator) -> U8:
    """Add black bars above and below."""
    return np.pad(frame, ((BAR, BAR), (0, 0), (0, 0)))


def portrait(frame: U8, _: U8, __: np.random.Generator) -> U8:
    """Cut an upright picture out of the middle; it follows nobody."""
    left = (WIDTH - CROP) // 2
    return np.ascontiguousarray(frame[:, left : left + CROP])


def dark(frame: U8, _: U8, __: np.random.Generator) -> U8:
    """Leave a quarter of the brightness."""
    return _eight_bits(frame / 4)


def _eight_bits(picture: F64) -> U8:
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def _of_lines(lines: int) -> Version:
    """The film with so many lines."""
    size = (round(WIDTH * lines / HEIGHT / 2) * 2, lines)  # x264 wants even numbers
    how = cv2.INTER_AREA if lines < HEIGHT else cv2.INTER_CUBIC

    def resize(frame: U8, _: U8, __: np.random.Generator) -> U8:
        return np.asarray(cv2.resize(frame, size, interpolation=how), np.uint8)

    return Version(resize, scale=(size[0] / WIDTH, size[1] / HEIGHT))


VERSIONS = {
    "unchanged": Version(),
    "grain": Version(grain),
    "VHS": Version(vhs),
    "grey": Version(grey),
    "combed": Version(combed),
    "letterboxed": Version(letterboxed, shift=(0, BAR)),
    "portrait": Version(portrait, shift=(-((WIDTH - CROP) // 2), 0)),
    "240 lines": _of_lines(240),
    "480 lines": _of_lines(480),
    "1080 lines": _of_lines(1080),
    "2160 lines": _of_lines(2160),
    "60 kbit": Version(encoder={"preset": "veryfast", "b": "60k", "crf": "-1"}),
    "dark": Version(dark),
    "4 a second": Version(rate=4),
    "2 a second": Version(rate=2),
}


if __name__ == "__main__":
    main()
