"""Files that crash, stall or bloat their decoder, among good ones in a distributed run."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pyarrow.parquet as pq
import pytest

from tests.helpers.films import SMALL, Ran, results, vcn
from tests.helpers.videos import encode, encode_grey, shift_times, shot

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # Ray's own warnings
]

GOOD = ("grid_bbaf2n.mpg", "grid_lbax4n.mpg")
LIMITS = ("memory_bytes=134217728", "cpu_seconds=1", "cpu_seconds_per_second=1")
WORDS = [*SMALL, *(word for limit in LIMITS for word in ("--set", f"isolation.{limit}"))]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files by the reason of their failure: each can be planned, and fails in its worker."""
    folder = tmp_path_factory.mktemp("planted")
    calm = encode(folder / "calm.ts", shot(7, 60), options={"g": "25"}).read_bytes()
    huge = encode_grey(folder / "huge.ts", 6000, frames=2)
    bomb = folder / "bomb.ts"  # its frames grow a thousandfold in the middle
    bomb.write_bytes(calm + shift_times(huge, folder / "moved.ts", seconds=2.4))
    return {
        "out_of_memory": bomb,
        "timeout": dense(folder / "endless.mp4", frames=2000),
        "crash": dense(folder / "mined.mp4", frames=150),
    }


def dense(path: Path, frames: int) -> Path:
    """Less than a second of video that takes long to decode: one large picture, many times."""
    seed = encode_grey(path.with_suffix(".seed.mp4"), 2000, frames=1)
    with av.open(str(seed)) as source, av.open(str(path), "w") as target:
        picture = next(source.demux(source.streams.video[0]))
        stream = target.add_stream_from_template(source.streams.video[0])
        for number in range(frames):
            packet = av.Packet(bytes(picture))
            packet.stream, packet.is_keyframe = stream, True
            packet.pts = packet.dts = number
            packet.duration, packet.time_base = 1, Fraction(1, frames + 1)
            target.mux(packet)
    return path


@contextmanager
def mined(path: Path) -> Iterator[list[int]]:
    """Crash every decoder that has a file open, except those of this process."""
    hit: list[int] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            for pid in set(decoders_of(path)).difference(hit):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSEGV)
                    hit.append(pid)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield hit
    finally:
        over.set()
        watcher.join()


def decoders_of(path: Path) -> Iterator[int]:
    """Decoders that have a file open, without those of this process, which plans."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # the process may have ended
            if b"decoder_child" not in (process / "cmdline").read_bytes():
                continue
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            opened = [handle.readlink() for handle in (process / "fd").iterdir()]
            if path in opened and parent != os.getpid():
                yield int(process.name)


@pytest.fixture(scope="module")
def ran(
    planted: dict[str, Path], shared: Path, yunet_pack: Path, tmp_path_factory: Any
) -> tuple[Ran, Path, list[int]]:
    """A distributed run of good and planted files, and which decoders were made to crash."""
    output = tmp_path_factory.mktemp("all")
    videos = [shared / "data/videos" / name for name in GOOD]
    with mined(planted["crash"]) as hit:
        words = [*planted.values(), *videos, "--output", output, "--pack", yunet_pack, *WORDS]
        return vcn("index", *words), output, hit


def test_each_planted_file_has_its_row_of_failures(
    ran: tuple[Ran, Path, list[int]], planted: dict[str, Path]
) -> None:
    run, output, hit = ran
    assert run.code == 1, run.err
    rows = pq.read_table(output / "runs" / run.record["run_id"] / "failures.parquet").to_pylist()
    attempts = {"out_of_memory": 2, "timeout": 3, "crash": 2}
    failures = sorted((row["uri"], row["step"], row["reason"], row["attempts"]) for row in rows)
    assert failures == sorted(
        (str(path), "detect", reason, attempts[reason]) for reason, path in planted.items()
    )
    assert len(hit) == attempts["crash"]
    (message,) = (row["message"] for row in rows if row["reason"] == "crash")
    assert "SIGSEGV" in message


def test_good_files_give_the_rows_of_a_run_without_the_others(
    ran: tuple[Ran, Path, list[int]], shared: Path, yunet_pack: Path, tmp_path: Path
) -> None:
    run, output, _ = ran
    assert run.record["videos"] == {"done": 2, "reused": 0, "partial": 3, "failed": 0, "open": 0}
    videos = [shared / "data/videos" / name for name in GOOD]
    alone = vcn("index", *videos, "--local", "--output", tmp_path, "--pack", yunet_pack, *WORDS)
    assert alone.code == 0, alone.err
    expected = files_in(tmp_path)
    assert len(expected) > 20
    found = files_in(output)
    assert [name for name in expected if found.get(name) != expected[name]] == []
    titles = results(output)
    codes = {name: [w["code"] for w in titles[name].summary["warnings"]] for name in titles}
    partial = {name for name in codes if "partial" in codes[name]}
    assert partial == {"bomb", "endless", "mined"}
    assert set(codes) == partial | {Path(name).stem for name in GOOD}


def files_in(output: Path) -> dict[str, bytes]:
    """Every table and model of videos and titles, by path."""
    return {
        str(path.relative_to(output)): path.read_bytes()
        for part in ("videos", "titles")
        for kind in ("*.parquet", "*.safetensors")
        for path in (output / part).rglob(kind)
    }
