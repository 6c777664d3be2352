"""Files that crash, hang or bloat their decoder: real ones, in real processes."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.helpers.decoders import LIMITS, SECOND, decoders, error_of, read_all
from tests.helpers.videos import encode, shot
from vcn_ray.io import isolation
from vcn_ray.io.decoder import COMMAND, DecoderError, close_idle
from vcn_ray.io.isolation import IsolationConfig
from vcn_ray.run.failures import SEGMENT_ATTEMPTS, retry

pytestmark = pytest.mark.usefixtures("no_decoder_left")

SHORT = IsolationConfig(stall_seconds=0.5)
BRIEF = IsolationConfig(cpu_seconds=0.5)


@pytest.mark.parametrize(
    ("number", "content_fault"), [(signal.SIGSEGV, True), (signal.SIGKILL, False)]
)
def test_a_crash_costs_one_segment(film: Path, number: signal.Signals, content_fault: bool) -> None:
    segment = isolation.plan_segments(film, SECOND, LIMITS)[0]
    (pid,) = decoders()
    with Trickling(film) as file:
        frames = iter(isolation.read_segment(file, segment, SECOND, LIMITS))
        next(frames)
        os.kill(pid, number)
        error = error_of(lambda: list(frames))
    assert isinstance(error, DecoderError)
    assert number.name in error.message
    assert (error.reason, error.content_fault) == ("crash", content_fault)
    assert len(read_all(film)) == 75
    assert decoders() != [pid]


def test_a_decoder_killed_while_it_starts_is_tried_again(
    film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close_idle()
    command = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"]
    with monkeypatch.context() as patch:
        patch.setattr("vcn_ray.io.decoder.COMMAND", command)
        error = error_of(lambda: isolation.probe(film, LIMITS))
    assert isinstance(error, DecoderError)
    assert (error.reason, error.content_fault) == ("crash", False)
    assert "killed (SIGKILL)" in error.message
    tries = iter([command, COMMAND])

    class Once(list[str]):
        def __iter__(self) -> Iterator[str]:
            return iter(next(tries))

    monkeypatch.setattr("vcn_ray.io.decoder.COMMAND", Once())
    info = retry(lambda: isolation.probe(film, LIMITS), SEGMENT_ATTEMPTS)
    assert (info.width, info.codec) == (isolation.probe(film, LIMITS).width, "h264")


class Trickling(io.FileIO):
    """A file that is read slowly, in small parts, so that a decoder never runs far ahead."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(size or 0, 4096)) or b""


def test_a_file_that_never_answers_is_given_up(film: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)  # opening it waits for somebody who writes
    error = error_of(lambda: isolation.probe(pipe, SHORT))
    assert isinstance(error, DecoderError)
    assert (error.reason, error.content_fault) == ("timeout", False)
    assert len(read_all(film)) == 75


def test_a_stopped_decoder_is_given_up(film: Path) -> None:
    segment = isolation.plan_segments(film, SECOND, LIMITS)[0]
    with Trickling(film) as file:
        frames = iter(isolation.read_segment(file, segment, SECOND, SHORT))
        next(frames)
        os.kill(decoders()[0], signal.SIGSTOP)
        assert error_of(lambda: list(frames)).reason == "timeout"


def test_a_file_without_end_ends_with_its_cpu_seconds(film: Path, tmp_path: Path) -> None:
    endless = encode(tmp_path / "endless.mpg", shot(3, 20), codec="mpeg2video")
    os.truncate(endless, 1 << 40)  # a hole: zeros in which FFmpeg looks for the next start code
    error = error_of(lambda: isolation.plan_segments(endless, SECOND, BRIEF))
    assert isinstance(error, DecoderError)
    assert (error.reason, error.content_fault) == ("timeout", True)
    assert len(read_all(film)) == 75


def test_a_memory_bomb_costs_one_segment(huge: Path, film: Path) -> None:
    limits = IsolationConfig(memory_bytes=128 << 20)
    for call in (lambda: isolation.probe(huge, limits), lambda: read_all(huge, limits)):
        error = error_of(call)
        assert isinstance(error, DecoderError)
        assert (error.reason, error.content_fault) == ("out_of_memory", True)
        assert not decoders()
    assert len(read_all(film, limits)) == 75


def test_a_decoder_has_no_secrets_and_few_rights(
    film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close_idle()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    isolation.probe(film, LIMITS)
    (pid,) = decoders()
    environment = Path(f"/proc/{pid}/environ").read_bytes()
    assert b"PYTHONPATH=" in environment
    assert b"hidden" not in environment
    assert "NoNewPrivs:\t1" in Path(f"/proc/{pid}/status").read_text()
    limits = dict(
        line.split("  ", 1) for line in Path(f"/proc/{pid}/limits").read_text().splitlines()
    )
    assert limits["Max core file size"].split()[:2] == ["0", "0"]
    assert limits["Max file size"].split()[:2] == ["0", "0"]
    assert int(limits["Max open files"].split()[0]) <= 64  # a job on a GPU may have more


@pytest.mark.parametrize("busy", [False, True])
def test_a_decoder_dies_with_its_parent(film: Path, tmp_path: Path, busy: bool) -> None:
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)
    source = pipe if busy else film
    program = (
        "import sys\n"
        "from vcn_ray.io.isolation import IsolationConfig, probe\n"
        f"probe({str(film)!r}, IsolationConfig())\n"
        "print('ready', flush=True)\n"
        f"probe({str(source)!r}, IsolationConfig())\n"
        "sys.stdin.read()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with parent:
        assert parent.stdout
        assert parent.stdout.readline() == b"ready\n"
        (pid,) = decoders(parent.pid)
        parent.kill()
    wait_for(lambda: has_ended(pid))


def has_ended(pid: int) -> bool:
    """True of a process that is gone, or that only its new parent has yet to take note of."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("waited in vain")
