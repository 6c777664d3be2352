"""Pictures of a GPU are those of a software decoder, and whatever fails there is decoded again.

No GPU is needed: `decoder_child_gpu` gives FFmpeg's own pictures in a GPU's formats, and asking for
a GPU that is not there fails as it does for users.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, VideoReformatter

from tests.helpers import decoder_child_gpu
from tests.helpers.decoders import LIMITS, decoders
from tests.helpers.films import QUICK, results, vcn
from tests.helpers.videos import encode, shot
from vcn_ray.config import RunConfig, load_config
from vcn_ray.errors import ConfigError, MediaError
from vcn_ray.io import decoder, hardware, isolation
from vcn_ray.io import frames as in_process
from vcn_ray.io.decoder import close_idle
from vcn_ray.io.hardware import HardwareError, open_device, qualifies, to_planar
from vcn_ray.io.video import DecodeConfig, open_video
from vcn_ray.packs.face_pack import FacePack
from vcn_ray.packs.load import load_pack
from vcn_ray.records import U8
from vcn_ray.rows.segment_rows import SegmentTables
from vcn_ray.run.commit import video_decoded_on
from vcn_ray.run.devices import check_decode_device
from vcn_ray.steps import decoding_gpu, detect_segment

pytestmark = pytest.mark.usefixtures("no_decoder_left")

GPU_MISSING = open_device("cuda").problem
PARTS = replace(DecodeConfig(), segment_seconds=0.5, analysis_fps=12.5)
CONFIG = load_config(
    None, {"detect.segment_seconds": "0.5", "resources.detect_gpus": "0.5", "seed": "3"}
)

Coded = tuple[str, str, dict[str, str], tuple[int, int]]
STREAMS: dict[str, Coded] = {
    "h264": ("libx264", "yuv420p", {"g": "10"}, (256, 144)),
    "h264 with open groups": ("libx264", "yuv420p", {"x264-params": "open-gop=1"}, (256, 144)),
    "full range": ("libx264", "yuvj420p", {}, (256, 144)),
    "interlaced": ("libx264", "yuv420p", {"flags": "+ildct+ilme"}, (256, 160)),
    "hevc": ("libx265", "yuv420p", {"x265-params": "log-level=none"}, (256, 144)),
    "hevc of 10 bits": ("libx265", "yuv420p10le", {"x265-params": "log-level=none"}, (256, 144)),
    "vp8": ("libvpx", "yuv420p", {}, (255, 143)),
    "vp9 with odd sides": ("libvpx-vp9", "yuv420p", {"deadline": "realtime"}, (175, 145)),
}


def write(folder: Path, name: str, frames: int = 25) -> Path:
    codec, pixels, options, size = STREAMS[name]
    ending = "webm" if "vpx" in codec else "mp4"
    return encode(
        folder / f"film.{ending}",
        shot(4, frames, speed=2, size=size),
        codec=codec,
        options=options,
        pixels=pixels,
    )


def planes(frame: av.VideoFrame) -> list[np.ndarray]:
    """Samples of each plane, (h, w), without padding."""
    kind = np.uint16 if frame.format.components[0].bits > 8 else np.uint8
    found = []
    for plane in frame.planes:
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size).view(kind)
        found.append(rows[: plane.height])
    return found


def decoded(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def stated(frame: av.VideoFrame) -> tuple[object, ...]:
    """What a frame states beside its samples; BT.601 has two names for one matrix."""
    matrix = 6 if frame.colorspace == 5 else frame.colorspace
    return frame.pts, frame.color_range, matrix, frame.interlaced_frame, frame.rotation


@pytest.mark.parametrize("name", STREAMS)
def test_pictures_of_a_gpu_have_the_samples_of_software(name: str, tmp_path: Path) -> None:
    reformatter = VideoReformatter()
    for frame in decoded(write(tmp_path, name, frames=3)):
        gpu = frame.reformat(format=decoder_child_gpu.OF_GPU[frame.format.name])
        width, height = frame.width, frame.height
        half = (height + 1) // 2, (width + 1) // 2
        shift = 6 if gpu.format.name == "p010le" else 0
        luma, blue, red = planes(frame)
        gpu_luma, chroma = planes(gpu)
        # The stand-in's pictures are what a GPU stores: chroma in pairs, 10 bits at the upper end.
        assert np.array_equal(gpu_luma[:, :width] >> shift, luma[:, :width])
        pairs = chroma[:, : 2 * half[1]] >> shift
        assert np.array_equal(pairs[:, 0::2], blue[:, : half[1]])
        assert np.array_equal(pairs[:, 1::2], red[:, : half[1]])

        back = to_planar(gpu, reformatter)
        for ours, theirs, wide in zip(
            planes(back), (luma, blue, red), (width, half[1], half[1]), strict=True
        ):
            assert np.array_equal(ours[:, :wide], theirs[:, :wide])
        assert stated(back) == stated(frame)
        assert frame.interlaced_frame == (name == "interlaced")


@pytest.mark.parametrize(("gpu", "values"), [("nv12", 256), ("p010le", 1024)])
@pytest.mark.parametrize("size", [(64, 48), (63, 47)])
@pytest.mark.parametrize("full", [False, True])
def test_every_value_of_a_sample_survives(
    gpu: str, values: int, size: tuple[int, int], full: bool
) -> None:
    width, height = size
    kind, shift = (np.uint8, 0) if values == 256 else (np.uint16, 6)
    frame = av.VideoFrame(width, height, gpu)
    frame.color_range = ColorRange.JPEG if full else ColorRange.MPEG
    expected: list[np.ndarray] = []
    for number, plane in enumerate(frame.planes):
        rows = (np.arange(plane.buffer_size // kind().itemsize) * 7 + number) % values
        rows = rows.reshape(plane.height, -1).astype(kind)
        plane.update((rows << shift).astype(kind).tobytes())
        expected += [rows] if number == 0 else [rows[:, 0::2], rows[:, 1::2]]
    half = (width + 1) // 2
    for found, wanted, wide in zip(
        planes(to_planar(frame, VideoReformatter())), expected, (width, half, half), strict=True
    ):
        assert len(np.unique(wanted[:, :wide])) > values / 3
        assert np.array_equal(found[:, :wide], wanted[:, :wide])


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """Gives decoder processes a stand-in of a GPU, with a fault after some pictures."""

    def start(fault: str = "", after: int = decoder_child_gpu.NEVER) -> None:
        close_idle()
        words = (sys.executable, "-P", decoder_child_gpu.__file__, fault, str(after))
        monkeypatch.setattr(decoder, "COMMAND", words)

    return start


@pytest.fixture(scope="module")
def pack() -> FacePack:
    return load_pack("centerface-sface")


def read(path: Path, device: str | None) -> list[tuple[U8 | None, U8, float]]:
    """Pictures of a film, by segments; with a device, from this device alone."""
    found = []
    for segment in isolation.plan_segments(path, PARTS, LIMITS):
        frames = isolation.read_segment(path, segment, PARTS, LIMITS, device)
        found += [(frame.image, frame.small, frame.seconds) for frame in frames]
        assert frames.decoded_on == ("cuda" if device else "cpu")
        assert frames.problems == []
    return found


@pytest.mark.parametrize("name", STREAMS)
def test_a_gpu_gives_the_pictures_of_the_cpu(
    name: str, tmp_path: Path, stand_in: Callable[..., None]
) -> None:
    path = write(tmp_path, name)
    expected = read(path, None)
    stand_in()
    found = read(path, "cuda")
    assert len(found) == len(expected) == 25
    for (image, small, seconds), (wanted, wanted_small, wanted_seconds) in zip(
        found, expected, strict=True
    ):
        assert (image is None) == (wanted is None)
        assert image is None or (wanted is not None and np.array_equal(image, wanted))
        assert np.array_equal(small, wanted_small)
        assert seconds == wanted_seconds


def assert_same(ours: SegmentTables, theirs: SegmentTables) -> None:
    assert ours.detections.equals(theirs.detections)
    assert ours.frames.equals(theirs.frames)
    assert ours.problems == theirs.problems


def first_segment(path: Path, pack: FacePack, config: RunConfig) -> SegmentTables:
    segment = isolation.plan_segments(path, PARTS, LIMITS)[0]
    return detect_segment(path, segment, pack, config)


@pytest.mark.parametrize("fault", ["error", "bug", "memory", "size", "crash"])
@pytest.mark.parametrize("after", [0, 7])
def test_a_segment_on_which_a_gpu_fails_is_decoded_again(
    fault: str, after: int, film: Path, pack: FacePack, stand_in: Callable[..., None]
) -> None:
    on_cpu = load_config(
        None, {"detect.segment_seconds": "0.5", "resources.decode_device": "cpu", "seed": "3"}
    )
    expected = first_segment(film, pack, on_cpu)
    stand_in()
    whole = first_segment(film, pack, CONFIG)
    assert whole.decoded_on == "cuda"
    assert_same(whole, expected)
    stand_in(fault, after)
    again = first_segment(film, pack, CONFIG)
    assert again.decoded_on == "cpu"
    assert_same(again, expected)


def test_a_failed_gpu_is_an_error_of_its_own(film: Path, stand_in: Callable[..., None]) -> None:
    stand_in("error", 7)
    segment = isolation.plan_segments(film, PARTS, LIMITS)[0]
    with pytest.raises(HardwareError, match=r"the GPU failed near .* an error of the driver"):
        list(isolation.read_segment(film, segment, PARTS, LIMITS, "cuda"))
    assert len(decoders()) == 1  # the decoder itself is sound
    assert list(isolation.read_segment(film, segment, PARTS, LIMITS))


def test_a_damaged_film_is_left_to_the_cpu(tmp_path: Path, stand_in: Callable[..., None]) -> None:
    whole = encode(tmp_path / "whole.ts", shot(2, 40), options={"g": "10"}).read_bytes()
    cut = tmp_path / "cut.ts"
    cut.write_bytes(whole[: len(whole) * 2 // 3] + b"\0" * 1000)
    segments = isolation.plan_segments(cut, PARTS, LIMITS)
    stand_in()
    kinds = []
    for segment in segments:
        frames = isolation.read_segment(cut, segment, PARTS, LIMITS, "cuda")
        try:
            list(frames)
            kinds.append(frames.decoded_on)
        except HardwareError:
            kinds.append("left")
            software = isolation.read_segment(cut, segment, PARTS, LIMITS)
            list(software)
            assert software.problems
    assert kinds[0] == "cuda"
    assert kinds[-1] == "left"


@pytest.mark.parametrize(
    ("codec", "pixels", "fits"),
    [
        ("libx264", "yuv420p", True),
        ("libx264", "yuv420p10le", False),
        ("libx264", "yuv444p", False),
        ("libx265", "yuv420p10le", True),
        ("mpeg2video", "yuv420p", False),
        ("mpeg4", "yuv420p", False),
    ],
)
def test_only_formats_that_are_defined_to_the_bit_qualify(
    codec: str, pixels: str, fits: bool, tmp_path: Path
) -> None:
    quiet = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    path = encode(tmp_path / "film.mkv", shot(2, 3), codec=codec, pixels=pixels, options=quiet)
    with open_video(path) as video:
        assert qualifies(video.stream.codec_context) == fits


def test_a_codec_that_does_not_qualify_is_decoded_on_the_cpu(
    tmp_path: Path, stand_in: Callable[..., None]
) -> None:
    path = encode(tmp_path / "film.mpg", shot(2, 12), codec="mpeg2video")
    stand_in("crash", 0)  # it would show
    (segment,) = isolation.plan_segments(path, DecodeConfig(), LIMITS)
    frames = isolation.read_segment(path, segment, DecodeConfig(), LIMITS, "cuda")
    assert len(list(frames)) == 12
    assert frames.decoded_on == "cpu"


def chosen(gpus: float, device: str) -> str | None:
    words = {"resources.detect_gpus": str(gpus), "resources.decode_device": device}
    return decoding_gpu(load_config(None, words).resources)


def test_where_a_worker_decodes() -> None:
    assert chosen(0, "auto") is None
    assert chosen(0.25, "auto") == "cuda"
    assert chosen(0.25, "cpu") is None
    assert chosen(0, "cuda:2") == "cuda:2"
    assert decoding_gpu(RunConfig().resources) is None


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "cuda:1234", "nvdec", "CPU", ""])
def test_devices_of_other_names_are_refused(device: str) -> None:
    with pytest.raises(ConfigError, match=r"resources\.decode_device"):
        load_config(None, {"resources.decode_device": f'"{device}"'})


missing = pytest.mark.skipif(not GPU_MISSING, reason="this machine has a GPU that decodes")


@missing
def test_auto_decodes_on_the_cpu_where_there_is_no_gpu(film: Path, pack: FacePack) -> None:
    plain = load_config(
        None, {"detect.segment_seconds": "0.5", "resources.decode_device": "cpu", "seed": "3"}
    )
    found = first_segment(film, pack, CONFIG)
    assert found.decoded_on == "cpu"
    assert_same(found, first_segment(film, pack, plain))
    assert len(decoders()) == 1  # none died of asking


@missing
@pytest.mark.parametrize("isolate", [True, False])
def test_a_decoder_says_why_it_has_no_gpu(isolate: bool) -> None:
    problem = isolation.device_problem("cuda", replace(LIMITS, isolate=isolate))
    assert problem
    assert "\n" not in problem


@missing
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_run_that_needs_a_gpu_ends_before_it_begins(
    device: str, film: Path, tmp_path: Path
) -> None:
    words = ["--set", f"resources.decode_device={device}", "--local"]
    ran = vcn("index", film, "--output", tmp_path / "out", *words)
    assert ran.code == 2
    (line,) = ran.err.strip().splitlines()
    assert f"resources.decode_device is {device}, but no GPU can decode here (" in line
    assert "set it to auto or cpu" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("fault", "decoded_on"), [("", "cuda"), ("error", "cpu")])
def test_a_result_says_where_it_was_decoded(
    fault: str, decoded_on: str, film: Path, tmp_path: Path, stand_in: Callable[..., None]
) -> None:
    stand_in(fault, 7 if fault else decoder_child_gpu.NEVER)
    words = ["--set", "resources.decode_device=cuda", "--local", *QUICK]
    ran = vcn("index", film, "--output", tmp_path / "out", *words)
    assert ran.code == 0, ran.err
    (title,) = results(tmp_path / "out").values()
    assert [video["decoded_on"] for video in title.summary["videos"]] == [decoded_on]


@pytest.mark.parametrize(
    ("markers", "expected"),
    [
        ([("cuda", 9), ("cuda", 9)], "cuda"),
        ([("cuda", 9), ("cpu", 9)], "mixed"),
        ([("cuda", 9), (None, 9)], "mixed"),  # of a run before there was a choice
        ([("cuda", 9), (None, 0)], "cuda"),  # a segment that failed was decoded nowhere
        ([(None, 0)], "cpu"),
    ],
)
def test_a_video_is_decoded_where_its_segments_were(
    markers: list[tuple[str | None, int]], expected: str
) -> None:
    rows = [{"frames": n} | ({"decoded_on": where} if where else {}) for where, n in markers]
    assert video_decoded_on(rows) == expected


def test_workers_of_ray_need_a_reserved_gpu(film: Path, tmp_path: Path) -> None:
    words = ["--set", "resources.decode_device=cuda"]
    ran = vcn("index", film, "--output", tmp_path / "out", *words)
    assert ran.code == 2
    assert "resources.detect_gpus is 0: set it to the fraction" in ran.err


def test_auto_needs_no_gpu() -> None:
    for device in ("auto", "cpu"):
        check_decode_device(load_config(None, {"resources.decode_device": device}))


def test_an_unreadable_file_is_no_fault_of_a_gpu(
    tmp_path: Path, stand_in: Callable[..., None], film: Path
) -> None:
    segment = isolation.plan_segments(film, PARTS, LIMITS)[0]
    stand_in()
    with pytest.raises(MediaError) as caught:
        list(isolation.read_segment(tmp_path / "none.mp4", segment, PARTS, LIMITS, "cuda"))
    assert type(caught.value) is MediaError
    assert caught.value.reason == "missing"


def test_frames_read_in_this_process_say_where(film: Path) -> None:
    segment = isolation.plan_segments(film, PARTS, LIMITS)[0]
    frames = in_process.read_segment(film, segment, PARTS, device="cuda")
    assert list(frames)
    assert frames.decoded_on == ("cpu" if GPU_MISSING else "cuda")


@pytest.mark.gpu
@pytest.mark.parametrize("name", STREAMS)
def test_a_real_gpu_gives_the_pictures_of_the_cpu(name: str, tmp_path: Path) -> None:
    assert hardware.open_device("cuda").problem == ""
    path = write(tmp_path, name)
    for (image, small, _), (wanted, wanted_small, _) in zip(
        read(path, "cuda"), read(path, None), strict=True
    ):
        assert image is None or (wanted is not None and np.array_equal(image, wanted))
        assert np.array_equal(small, wanted_small)
