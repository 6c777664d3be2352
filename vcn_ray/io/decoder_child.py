"""The decoder process: opens untrusted files within limits and sends their frames to its parent.

`vcn_ray.io.decoder` starts `python -m vcn_ray.io.decoder_child SOCKET RING`. Jobs and messages go
over the socket, pixels through the ring, memory that both processes see. This process knows no
credentials: the parent reads any file that is not a local path, on request.
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
from vcn_ray.io.decoding import probe
from vcn_ray.io.frames import DecodedFrame, read_segment
from vcn_ray.io.hardware import HardwareError, open_device
from vcn_ray.io.keyframes import plan_segments
from vcn_ray.io.video import DecodeConfig, open_file, source_name
from vcn_ray.io.wire import EXIT_OUT_OF_MEMORY, WINDOW_BYTES, Content, Message, Wire, frame_content
from vcn_ray.records import U8, Segment
from vcn_ray.redact import one_line

MAX_OPEN_FILES = 64
MAX_OPEN_FILES_GPU = 1024  # a driver opens some dozens for each GPU of the machine
MAX_SLOTS = 64  # frames in the ring; the socket must hold one unread `free` for each
WATCH_SECONDS = 0.05  # between two checks of memory
SIGN_SECONDS = 1.0  # between two signs of life while a file is read
NO_NEW_PRIVILEGES = 38  # PR_SET_NO_NEW_PRIVS of linux/prctl.h

SendFrame = Callable[[DecodedFrame], None]


class Parent:
    """The parent process: takes frames and serves reads; it may free ring slots at any time."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._frees = 0

    def send(self, kind: str, **content: Any) -> None:
        """Send a message."""
        self._wire.send(kind, **content)

    def expect(self, kind: str) -> Message:
        """Wait for the next message of a kind; count the slots that are freed meanwhile."""
        while True:
            message = self._wire.receive()
            self._frees += message.kind == "free"
            if message.kind == kind:
                return message

    def take_frees(self) -> int:
        """Wait for at least one freed slot; returns how many there are."""
        if not self._frees:
            self.expect("free")
        frees, self._frees = self._frees, 0
        return frees

    def forget_frees(self) -> None:
        """Ignore the slots freed so far, which belong to the previous job."""
        self._frees = 0


class Ring:
    """Slots for frames in shared memory, filled in turn and freed in the same order."""

    def __init__(self, memory: mmap.mmap, parent: Parent) -> None:
        self._bytes = np.frombuffer(memory, np.uint8, offset=WINDOW_BYTES)
        self._parent = parent
        self._slot = 0  # size in bytes
        self._taken = 0
        self._next = 0

    def put(self, pictures: list[U8]) -> int:
        """Copy pictures into a slot, one behind the other; returns where in memory it begins.

        Slots grow when a larger frame comes, as where the size changes within a stream.
        """
        size = sum(picture.nbytes for picture in pictures)
        if size > self._slot:
            while self._taken:
                self._taken -= self._parent.take_frees()
            self._slot, self._next = size, 0
        slots = min(MAX_SLOTS, len(self._bytes) // self._slot)
        if not slots:
            raise ValueError(f"a frame of {size} bytes, more than the ring of {len(self._bytes)}")
        if self._taken == slots:
            self._taken -= self._parent.take_frees()
        start = position = self._next * self._slot
        for picture in pictures:
            self._bytes[position : position + picture.nbytes] = picture.ravel()
            position += picture.nbytes
        self._next = (self._next + 1) % slots
        self._taken += 1
        return WINDOW_BYTES + start


class LocalFile:
    """A file of this machine; reading it sends signs of life, at most one per SIGN_SECONDS."""

    def __init__(self, file: BinaryIO, name: str, parent: Parent) -> None:
        self.name = name
        self.seek, self.tell = file.seek, file.tell
        self._file = file
        self._parent = parent
        self._last_sign = time.monotonic()

    def read(self, size: int = -1) -> bytes:
        """Read from the current position."""
        data = self._file.read(size)
        if time.monotonic() - self._last_sign > SIGN_SECONDS:
            self._last_sign = time.monotonic()
            self._parent.send("alive")
        return data


class RemoteFile:
    """A file that the parent reads."""

    def __init__(self, size: int, name: str, memory: mmap.mmap, parent: Parent) -> None:
        self.name = name
        self._memory = memory
        self._size = size
        self._parent = parent
        self._position = 0

    def read(self, size: int = -1) -> bytes:
        """Read from the current position, at most as much as the window holds."""
        rest = max(0, self._size - self._position)
        wanted = min(rest if size < 0 else min(size, rest), WINDOW_BYTES)
        if not wanted:
            return b""
        self._parent.send("read", offset=self._position, size=wanted)
        got = self._parent.expect("data").content["size"]
        self._position += got
        return self._memory[:got]

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the current position."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError(f"{self.name}: cannot seek before the start")
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        """The current position."""
        return self._position


def main(arguments: list[str]) -> int:
    """Run jobs until the parent is gone."""
    wire = Wire(socket.socket(fileno=int(arguments[0])))
    memory = mmap.mmap(int(arguments[1]), 0)
    limit = MemoryLimit()
    _confine()
    threading.Thread(target=_watch, args=(limit,), daemon=True).start()
    parent = Parent(wire)
    with suppress(EOFError, OSError):
        parent.send("ready")
        while True:
            _serve(parent.expect("job").content, memory, parent, limit)
    return 0


class MemoryLimit:
    """Limits the physical memory of this process.

    A decoder that is refused address space reports a damaged file and continues, so a memory bomb
    would look like a scratch. Physical memory is therefore watched; address space is also limited,
    to twice as much more, as a safety net; not for a job that uses a GPU, whose driver reserves
    address space for the memory of the machine and of all its GPUs.
    """

    def __init__(self) -> None:
        self._max_bytes = math.inf

    def set(self, max_bytes: int, on_gpu: bool = False) -> None:
        """Allow this many bytes from now on, and reset the peak."""
        with suppress(OSError):  # without Linux the peak is that of all jobs so far
            Path("/proc/self/clear_refs").write_text("5")
        self._max_bytes = max_bytes
        if on_gpu:
            _lift_limit(resource.RLIMIT_AS)
            return
        with suppress(OSError):
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            space = pages * resource.getpagesize() + 2 * max_bytes
            _lower_limit(resource.RLIMIT_AS, space)

    def check(self) -> None:
        """End this process if it uses, or ever used, too much."""
        if peak_bytes() > self._max_bytes:
            _end_out_of_memory()


def peak_bytes() -> int:
    """Peak physical memory of this process, shared memory included."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _watch(limit: MemoryLimit) -> NoReturn:
    """End this process with its parent or over its memory limit, even while it decodes.

    The parent never writes to standard input, which is readable once the parent is gone. The
    kernel's own signal for that (PR_SET_PDEATHSIG) would come as soon as the thread that started
    this process ends.
    """
    while True:
        if select.select([0], [], [], WATCH_SECONDS)[0]:
            os._exit(0)
        limit.check()


def _confine() -> None:
    """Give up rights that decoding does not need."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    hard = MAX_OPEN_FILES_GPU if hard == resource.RLIM_INFINITY else min(hard, MAX_OPEN_FILES_GPU)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, MAX_OPEN_FILES), hard))
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    # Standard error is a file until here, for errors at the start; nobody reads it later.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def _limit_cpu(seconds: float) -> None:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _lower_limit(resource.RLIMIT_CPU, math.ceil(usage.ru_utime + usage.ru_stime + seconds))


def _lower_limit(name: int, limit: int) -> None:
    """Set the soft limit alone, so that the next job may have a higher one."""
    hard = resource.getrlimit(name)[1]
    allowed = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(name, (allowed, hard))


def _lift_limit(name: int) -> None:
    """Set the soft limit to the hard one."""
    hard = resource.getrlimit(name)[1]
    resource.setrlimit(name, (hard, hard))


def _serve(job: Content, memory: mmap.mmap, parent: Parent, limit: MemoryLimit) -> None:
    """Run one job and report its end to the parent, whatever happens."""
    parent.forget_frees()
    on_gpu = job.get("device") is not None
    if on_gpu:
        _lift_limit(resource.RLIMIT_NOFILE)
    limit.set(job["memory_bytes"], on_gpu)
    _limit_cpu(job["cpu_seconds"])
    ring = Ring(memory, parent)

    def send_frame(frame: DecodedFrame) -> None:
        limit.check()
        pictures = [frame.small] if frame.image is None else [frame.small, frame.image]
        parent.send("frame", **frame_content(frame, pictures, ring.put(pictures)))

    try:
        with _source(job, memory, parent) as source:
            content = _JOBS[job["do"]](job, source, send_frame)
        limit.check()
        parent.send("end", **content)
    except MediaError as error:
        limit.check()
        is_hardware = isinstance(error, HardwareError)
        content = {"reason": error.reason, "message": error.message, "hardware": is_hardware}
        parent.send("failed", **content)
    except MemoryError:
        _end_out_of_memory()
    except (EOFError, ConnectionError):
        raise
    except OSError as error:  # reading the file failed, as on a failing disk
        reason = error.strerror or type(error).__name__
        text = f"it cannot be read: {reason}"
        parent.send("failed", reason="unreadable", message=text, hardware=on_gpu)
    except Exception as error:
        if on_gpu:  # perhaps the driver's: without the GPU it will show
            text = one_line(error)
            parent.send("failed", reason="decode_error", message=text, hardware=True)
        else:
            parent.send("bug", text=traceback.format_exc())


def _end_out_of_memory() -> NoReturn:
    os._exit(EXIT_OUT_OF_MEMORY)  # there may be no memory left to send a message


@contextmanager
def _source(job: Content, memory: mmap.mmap, parent: Parent) -> Iterator[BinaryIO]:
    if job["path"] is None:
        yield cast(BinaryIO, RemoteFile(job["size"], job["name"], memory, parent))
        return
    with open_file(job["path"]) as file:
        yield cast(BinaryIO, LocalFile(file, source_name(job["path"]), parent))


def _probe(job: Content, source: BinaryIO, send_frame: SendFrame) -> Content:
    return {"info": asdict(probe(source, job["max_pixels"]))}


def _plan(job: Content, source: BinaryIO, send_frame: SendFrame) -> Content:
    segments = plan_segments(source, DecodeConfig(**job["config"]), job["max_pixels"])
    return {"segments": [astuple(segment) for segment in segments]}


def _read(job: Content, source: BinaryIO, send_frame: SendFrame) -> Content:
    config, segment = DecodeConfig(**job["config"]), Segment(*job["segment"])
    frames = read_segment(source, segment, config, job["max_pixels"], job["device"])
    for frame in frames:
        send_frame(frame)
    return {"problems": frames.problems, "decoded_on": frames.decoded_on}


def _try_device(job: Content, source: BinaryIO, send_frame: SendFrame) -> Content:
    return {"problem": open_device(job["device"]).problem}


_JOBS = {"probe": _probe, "plan": _plan, "read": _read, "device": _try_device}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
