"""The decoder process: opens untrusted files within limits and hands their frames on.

`python -m vcn_ray.io.decoder_child SOCKET RING` is started by `vcn_ray.io.decoder` and is told what
to do over the socket; pixels go through the ring, memory that both processes see. It knows no
credentials: a file that is not a local path is read by the other side, on request.
"""

from __future__ import annotations

import ctypes
import math
import mmap
import os
import resource
import select
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, cast

import numpy as np

from vcn_ray.errors import MediaError
from vcn_ray.io.frames import DecodedFrame, read_segment
from vcn_ray.io.video import DecodeConfig, open_file, plan_segments, probe, source_name
from vcn_ray.io.wire import EXIT_OUT_OF_MEMORY, WINDOW_BYTES, Content, Message, Wire
from vcn_ray.records import U8, Segment

MOST_FILES = 64  # open at a time
MOST_SLOTS = 64  # frames in the ring; each has one answer under way, which sockets must hold
WATCH_SECONDS = 0.05  # between two looks at memory
SIGN_SECONDS = 1.0  # between two signs of life while a file is read
NO_NEW_PRIVILEGES = 38  # PR_SET_NO_NEW_PRIVS of linux/prctl.h

Give = Callable[[DecodedFrame], None]


class Other:
    """The other side: takes frames, answers reads; frees of ring slots may come at any time."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._frees = 0

    def send(self, kind: str, **content: Any) -> None:
        """Say something."""
        self._wire.send(kind, **content)

    def expect(self, kind: str) -> Message:
        """The next message of a kind; slots that are freed meanwhile are counted."""
        while True:
            message = self._wire.receive()
            self._frees += message.kind == "free"
            if message.kind == kind:
                return message

    def take_frees(self) -> int:
        """Wait for at least one freed slot; how many there are."""
        if not self._frees:
            self.expect("free")
        frees, self._frees = self._frees, 0
        return frees

    def forget_frees(self) -> None:
        """Start a new job: all that came before it was of the last one."""
        self._frees = 0


class Ring:
    """Slots for frames in shared memory, filled in turn and freed in the same order."""

    def __init__(self, memory: mmap.mmap, other: Other) -> None:
        self._bytes = np.frombuffer(memory, np.uint8, offset=WINDOW_BYTES)
        self._other = other
        self._slot = 0  # bytes of one
        self._taken = 0
        self._next = 0

    def put(self, pictures: list[U8]) -> int:
        """Copy pictures into a slot, one behind the other; where in memory it begins.

        The first frame is the largest kind there is in a segment, so it sets the size of slots.
        """
        size = sum(picture.nbytes for picture in pictures)
        self._slot = self._slot or size
        slots = min(MOST_SLOTS, len(self._bytes) // self._slot)
        if size > self._slot or not slots:
            raise ValueError(f"{size} bytes of a frame, slots of {self._slot}, {slots} of these")
        if self._taken == slots:
            self._taken -= self._other.take_frees()
        start = position = self._next * self._slot
        for picture in pictures:
            self._bytes[position : position + picture.nbytes] = picture.ravel()
            position += picture.nbytes
        self._next = (self._next + 1) % slots
        self._taken += 1
        return WINDOW_BYTES + start


class LocalFile:
    """A file of this machine that gives a sign of life whenever it could be read."""

    def __init__(self, file: BinaryIO, name: str, other: Other) -> None:
        self.name = name
        self.seek, self.tell = file.seek, file.tell
        self._file = file
        self._other = other
        self._last_sign = time.monotonic()

    def read(self, size: int = -1) -> bytes:
        """Read on from where it stands."""
        data = self._file.read(size)
        if time.monotonic() - self._last_sign > SIGN_SECONDS:
            self._last_sign = time.monotonic()
            self._other.send("alive")
        return data


class RemoteFile:
    """A file that the other side reads."""

    def __init__(self, size: int, name: str, memory: mmap.mmap, other: Other) -> None:
        self.name = name
        self._memory = memory
        self._size = size
        self._other = other
        self._at = 0

    def read(self, size: int = -1) -> bytes:
        """Read on from where it stands; at most as much as the window holds."""
        rest = max(0, self._size - self._at)
        wanted = min(rest if size < 0 else min(size, rest), WINDOW_BYTES)
        if not wanted:
            return b""
        self._other.send("read", offset=self._at, size=wanted)
        got = self._other.expect("data").content["size"]
        self._at += got
        return self._memory[:got]

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Stand elsewhere."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError(f"{self.name}: cannot stand before the start")
        self._at = start + offset
        return self._at

    def tell(self) -> int:
        """Where it stands."""
        return self._at


def main(words: list[str]) -> int:
    """Serve until the other side is gone."""
    wire = Wire(socket.socket(fileno=int(words[0])))
    memory = mmap.mmap(int(words[1]), 0)
    limit = MemoryLimit()
    _confine()
    threading.Thread(target=_watch, args=(limit,), daemon=True).start()
    other = Other(wire)
    with suppress(EOFError, OSError):
        other.send("ready")
        while True:
            _serve(other.expect("job").content, memory, other, limit)
    return 0


class MemoryLimit:
    """How much of the machine's memory this process may hold.

    Physical memory is watched, because a decoder that is refused address space takes that for a
    damaged file and goes on: a memory bomb would look like a scratch. Address space is limited too,
    to twice as much more, as the net below.
    """

    def __init__(self) -> None:
        self._most = math.inf

    def set(self, most: int) -> None:
        """Allow this many bytes from now on, and forget what was used before."""
        with suppress(OSError):  # where there is no Linux, the peak is that of all jobs so far
            Path("/proc/self/clear_refs").write_text("5")
        self._most = most
        with suppress(OSError):
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            space = pages * resource.getpagesize() + 2 * most
            _lower_limit(resource.RLIMIT_AS, space)

    def check(self) -> None:
        """End this process if it holds, or held at any time, too much."""
        if peak_bytes() > self._most:
            _end_out_of_memory()


def peak_bytes() -> int:
    """The most physical memory that this process held, all that it shares included."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _watch(limit: MemoryLimit) -> NoReturn:
    """Die with the other side, or of too much memory, whatever the decoder is busy with.

    The other side never writes to standard input: it is readable once that side is gone. The
    kernel's own signal for that (PR_SET_PDEATHSIG) comes when the thread that started this process
    ends, which may be soon.
    """
    while True:
        if select.select([0], [], [], WATCH_SECONDS)[0]:
            os._exit(0)
        limit.check()


def _confine() -> None:
    """Give up what decoding does not need."""
    for name, most in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_NOFILE, MOST_FILES)):
        resource.setrlimit(name, (most, most))
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    # Standard error is a file until here, for what goes wrong at the start; later it has no reader.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def _limit_cpu(seconds: float) -> None:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    most = math.ceil(usage.ru_utime + usage.ru_stime + seconds)
    _lower_limit(resource.RLIMIT_CPU, most)


def _lower_limit(name: int, most: int) -> None:
    """Limit this process within what it was given, which it could not raise again."""
    hard = resource.getrlimit(name)[1]
    allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(name, (allowed, hard))


def _serve(job: Content, memory: mmap.mmap, other: Other, limit: MemoryLimit) -> None:
    """Do one job; whatever happens, the other side hears how it ended."""
    other.forget_frees()
    limit.set(job["memory_bytes"])
    _limit_cpu(job["cpu_seconds"])
    ring = Ring(memory, other)

    def give(frame: DecodedFrame) -> None:
        limit.check()
        _send_frame(frame, ring, other)

    try:
        with _source(job, memory, other) as source:
            content = _JOBS[job["do"]](job, source, give)
        limit.check()
        other.send("end", **content)
    except MediaError as error:
        limit.check()
        other.send("failed", reason=error.reason, message=error.message)
    except MemoryError:
        _end_out_of_memory()
    except (EOFError, ConnectionError):
        raise
    except OSError as error:  # of the file: a disk that fails
        reason = error.strerror or type(error).__name__
        other.send("failed", reason="unreadable", message=f"it cannot be read: {reason}")
    except Exception:
        other.send("bug", text=traceback.format_exc())


def _end_out_of_memory() -> NoReturn:
    os._exit(EXIT_OUT_OF_MEMORY)  # in no state to say it in words


@contextmanager
def _source(job: Content, memory: mmap.mmap, other: Other) -> Iterator[BinaryIO]:
    if job["path"] is None:
        yield cast(BinaryIO, RemoteFile(job["size"], job["name"], memory, other))
        return
    with open_file(job["path"]) as file:
        yield cast(BinaryIO, LocalFile(file, source_name(job["path"]), other))


def _probe(job: Content, source: BinaryIO, give: Give) -> Content:
    return {"info": asdict(probe(source, job["most_pixels"]))}


def _plan(job: Content, source: BinaryIO, give: Give) -> Content:
    segments = plan_segments(source, DecodeConfig(**job["config"]), job["most_pixels"])
    return {"segments": [astuple(segment) for segment in segments]}


def _read(job: Content, source: BinaryIO, give: Give) -> Content:
    config, segment = DecodeConfig(**job["config"]), Segment(*job["segment"])
    frames = read_segment(source, segment, config, job["most_pixels"])
    for frame in frames:
        give(frame)
    return {"problems": frames.problems}


def _send_frame(frame: DecodedFrame, ring: Ring, other: Other) -> None:
    pictures = [frame.small] if frame.image is None else [frame.small, frame.image]
    other.send(
        "frame",
        at=ring.put(pictures),
        shapes=[picture.shape for picture in pictures],
        number=frame.number_in_segment,
        seconds=frame.seconds,
        scale=frame.scale,
        width=frame.displayed_width,
    )


_JOBS = {"probe": _probe, "plan": _plan, "read": _read}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
