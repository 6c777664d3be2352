"""Small seeded films for tests: textured scenes under a moving camera, encoded by PyAV."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from vcn_ray.core.signals import SignalReader, join_signals
from vcn_ray.records import F64, U8, FrameSignals

RATE = 25
X264 = {"preset": "ultrafast", "threads": "1"}
FINE = {"crf": "18", "preset": "veryfast", "g": "50"}
"""Options of libx264 under which faces stay as they are."""


def scene(seed: int, side: int = 512) -> U8:
    """A large picture of clouds and blocks, unlike that of any other seed."""
    rng = np.random.default_rng(seed)
    picture = np.full((side, side, 3), rng.uniform(30, 220, 3), np.float32)
    strength = rng.uniform(15, 45)
    for cells in (4, 8, 16, 32, 64):
        noise = rng.normal(size=(cells, cells, 3)).astype(np.float32)
        noise = cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC)
        picture += noise * strength * (4 / cells) ** 0.5
    for _ in range(25):
        (x, y), (width, height) = rng.integers(0, side, 2), rng.integers(10, side // 5, 2)
        colour = [float(value) for value in rng.uniform(0, 255, 3)]
        far = (int(x + width), int(y + height))
        cv2.rectangle(picture, (int(x), int(y)), far, colour, -1)
    return np.clip(picture, 0, 255).astype(np.uint8)


def look(
    picture: U8, middle: Sequence[float] | F64, size: tuple[int, int], zoom: float = 1.0
) -> U8:
    """What a camera over a scene sees."""
    shift = [[zoom, 0, size[0] / 2 - zoom * middle[0]], [0, zoom, size[1] / 2 - zoom * middle[1]]]
    seen = cv2.warpAffine(
        picture, np.array(shift), size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )
    return np.asarray(seen, np.uint8)


def shot(
    seed: int,
    frames: int,
    speed: float = 0.0,
    shake: float = 0.0,
    zooming: float = 1.0,
    size: tuple[int, int] = (256, 144),
) -> list[U8]:
    """One camera shot with film grain; speed and shake in pixels a frame."""
    rng = np.random.default_rng(seed + 1_000)
    picture, angle = scene(seed), rng.uniform(0, 2 * np.pi)
    step = speed * np.array([np.cos(angle), np.sin(angle)])
    pictures = []
    for number in range(frames):
        middle = 256 + step * (number - frames / 2) + rng.normal(size=2) * shake
        seen = look(picture, middle, size, zooming**number)
        grainy = seen + rng.normal(size=seen.shape) * 3
        pictures.append(np.clip(grainy, 0, 255).astype(np.uint8))
    return pictures


def dissolve(before: list[U8], after: list[U8], frames: int) -> list[U8]:
    """Two shots, the end of one mixed into the start of the other."""
    mixed = [
        cv2.addWeighted(before[number - frames], 1 - weight, after[number], weight, 0)
        for number, weight in enumerate(np.linspace(0, 1, frames + 2)[1:-1])
    ]
    return [*before[:-frames], *mixed, *after[frames:]]


def signals_of(pictures: list[U8], rate: float = RATE, every: int = 3) -> FrameSignals:
    """The signals of pictures that never were a file."""
    reader = SignalReader()
    for number, picture in enumerate(pictures):
        reader.add(picture, number / rate, analysed=number % every == 0)
    return join_signals([reader.result()])


def encode(
    path: Path,
    pictures: Sequence[U8] | U8,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    times: Sequence[int] | None = None,
    rotation: int = 0,
    aspect: Fraction | None = None,
    movflags: str = "",
    pixels: str = "yuv420p",
    mirrored: bool = False,
) -> Path:
    """Write pictures as a video.

    Args:
        path: The ending chooses the container.
        pictures: (h, w, 3) RGB each, sides even.
        codec: An FFmpeg encoder.
        options: Of the encoder.
        times: Time of each picture in thousandths of a second; even steps of 1/25 s by default.
        rotation: Degrees of the display matrix, counter-clockwise.
        aspect: Width over height of one pixel.
        movflags: Of an mp4, such as "faststart".
        pixels: Their format in the file.
        mirrored: The display matrix also mirrors, left to right, after it has turned.
    """
    options = {**(X264 if codec == "libx264" else {}), **(options or {})}
    muxing = {"movflags": movflags} if movflags else {}
    with av.open(str(path), "w", options=muxing) as container:
        stream = container.add_stream(codec, rate=RATE, options=options)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pixels
        # Old codecs know film rates only; VFR needs finer steps.
        tick = Fraction(1, 1000) if times else Fraction(1, RATE)
        stream.codec_context.time_base = tick
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if rotation or mirrored:
            stream.set_display_rotation(rotation, hflip=mirrored)
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.time_base = tick
            frame.pts = times[number] if times else number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def read_frames(path: Path) -> list[U8]:
    """All pictures of a video, as they are stored."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def encode_sound(path: Path, seconds: float = 1.0, codec: str = "aac") -> Path:
    """Write a file with sound and no picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=16_000, layout="mono")
        samples = np.zeros((1, int(16_000 * seconds)), np.float32)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate = 16_000
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def encode_grey(path: Path, side: int, frames: int) -> Path:
    """Write a square film in one colour."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width = stream.height = side
        stream.pix_fmt = "yuv420p"
        frame = av.VideoFrame(side, side, "yuv420p")
        for plane in frame.planes:
            plane.update(b"\x80" * plane.buffer_size)
        for number in range(frames):
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def shift_times(path: Path, out: Path, seconds: float) -> bytes:
    """A film as a transport stream whose times are later by some seconds."""
    with av.open(str(path)) as source, av.open(str(out), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is None or packet.pts is None:
                continue
            packet.dts += int(seconds / packet.time_base)
            packet.pts += int(seconds / packet.time_base)
            packet.stream = stream
            target.mux(packet)
    return out.read_bytes()
