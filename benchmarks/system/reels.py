"""Films made of others: joined at one size and rate, repeated as they are, or mirrored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
from av.filter import Graph

from benchmarks.report import say

REEL_SIZE = (1920, 1080)
REEL_RATE = 24
REEL_PRESETS = {"crf": "21", "preset": "medium"}
MIRROR_PRESETS = {"crf": "21", "preset": "veryfast"}


def write_reel(videos: Sequence[Path], path: Path) -> Path:
    """Join videos into one film of REEL_SIZE and REEL_RATE: every frame, with borders if needed."""
    say(f"joining {len(videos)} videos")
    with av.open(str(path), "w") as film:
        stream = film.add_stream("libx264", REEL_RATE, options=REEL_PRESETS)
        stream.width, stream.height = REEL_SIZE
        stream.pix_fmt, stream.codec_context.thread_count = "yuv420p", 2
        number = 0
        for video in videos:
            for frame in _fitted_frames(video):
                frame.pts, frame.time_base = number, Fraction(1, REEL_RATE)
                film.mux(stream.encode(frame))
                number += 1
        film.mux(stream.encode(None))
    return path


def _fitted_frames(video: Path) -> Iterator[av.VideoFrame]:
    """The frames of a video at REEL_SIZE, with black borders where its shape is another."""
    width, height = REEL_SIZE
    with av.open(str(video)) as source:
        graph = Graph()
        steps = [
            graph.add_buffer(template=source.streams.video[0]),
            graph.add("scale", f"{width}:{height}:force_original_aspect_ratio=decrease"),
            graph.add("pad", f"{width}:{height}:-1:-1"),
            graph.add("setsar", "1"),
            graph.add("format", "yuv420p"),
            graph.add("buffersink"),
        ]
        graph.link_nodes(*steps).configure()
        for frame in source.decode(video=0):
            graph.vpush(frame)
            yield graph.vpull()


def repeat_film(film: Path, path: Path, times: int) -> Path:
    """Copy the packets of a film again and again into a longer one; nothing is encoded."""
    with av.open(str(path), "w") as long:
        stream = None
        for number in range(times):
            with av.open(str(film)) as source:
                video = source.streams.video[0]
                stream = stream or long.add_stream_from_template(video)
                for packet in source.demux(video):
                    if packet.dts is not None:  # the last one is empty
                        packet.pts += number * video.duration
                        packet.dts += number * video.duration
                        packet.stream = stream
                        long.mux(packet)
    return path


def mirror_film(film: Path, path: Path) -> Path:
    """Write the mirror image of a film: every frame at its time, encoded again."""
    with av.open(str(film)) as source, av.open(str(path), "w") as mirrored:
        shown = source.streams.video[0]
        stream = mirrored.add_stream("libx264", shown.average_rate, options=MIRROR_PRESETS)
        stream.width, stream.height, stream.pix_fmt = shown.width, shown.height, "yuv420p"
        stream.codec_context.time_base = stream.time_base = shown.time_base
        stream.codec_context.thread_count = 1
        graph = Graph()
        steps = [graph.add_buffer(template=shown), graph.add("hflip"), graph.add("buffersink")]
        graph.link_nodes(*steps).configure()
        for frame in source.decode(video=0):
            graph.vpush(frame)
            turned = graph.vpull()
            turned.pict_type = av.video.frame.PictureType.NONE  # keyframes where the encoder wants
            mirrored.mux(stream.encode(turned))
        mirrored.mux(stream.encode(None))
    return path
