"""Starts, reuses and ends decoder processes; each runs one job at a time.

It knows nothing of what jobs are.
"""

from __future__ import annotations

import atexit
import mmap
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from vcn_ray.errors import MediaError, Reason, UsageError
from vcn_ray.io.wire import EXIT_OUT_OF_MEMORY, Content, Message, Wire

START_SECONDS = 120.0  # a decoder that is not ready by then never will be; a busy machine takes 10
END_SECONDS = 10.0  # for the kernel to end a killed process; one that waits for a dead disk stays
BUSY_FRACTION = 0.5  # a decoder that computed for more of its silence was stuck in the file
FROM_OUTSIDE = (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGHUP)  # other processes sent these

COMMAND = (sys.executable, "-P", "-m", "vcn_ray.io.decoder_child")

PASSED_ON = (
    *("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "PYTHONHOME"),
    *("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"),  # the GPU that is reserved for a worker
)
"""Environment variables that a decoder inherits. None of them contains credentials."""

SET_FOR_DECODERS = {
    "OMP_NUM_THREADS": "1",  # numpy would reserve stacks for threads that never run
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "CUDA_CACHE_DISABLE": "1",  # it may write no file
}


class DecoderError(MediaError):
    """A decoder process died, or had to be killed.

    Args:
        reason: `crash`, `timeout` or `out_of_memory`.
        message: One line for people.
        content_fault: False if the cause may lie outside the file: a disk that does not answer, a
            machine that is overloaded or out of memory.
    """

    def __init__(self, reason: Reason, message: str, content_fault: bool = True) -> None:
        super().__init__(reason, message)
        self.content_fault = content_fault


class Decoder:
    """A child process that decodes, and the memory that it shares with this process.

    Attributes:
        ring: The shared memory. It has no name, so it vanishes with the two processes.
    """

    def __init__(self, ring_bytes: int) -> None:
        if os.name != "posix":
            raise UsageError(
                "this system cannot run decoder processes: set isolation.isolate to false"
            )
        self._busy = False
        ring = _shared_memory(ring_bytes)
        ours, theirs = socket.socketpair()
        self.ring = mmap.mmap(ring, ring_bytes)
        self._wire = Wire(ours)
        with tempfile.TemporaryFile() as stderr:
            # A session of its own, so that Ctrl-C ends the run and not the decoder first.
            self._process = subprocess.Popen(
                [*COMMAND, str(theirs.fileno()), str(ring)],
                stdin=subprocess.PIPE,  # never written to: it closes when this process ends
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                env=decoder_environment(os.environ),
                cwd="/",
                pass_fds=(theirs.fileno(), ring),
                start_new_session=True,
            )
            theirs.close()
            os.close(ring)
            self._await_start(stderr.fileno())

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    @property
    def usable(self) -> bool:
        """True if the process lives and has no job."""
        return not self._busy and self._process.poll() is None

    def start(self, job: Content) -> None:
        """Send it a job; `receive` until "end" or "failed"."""
        self._busy = True
        self.send("job", **job)

    def send(self, kind: str, **content: object) -> None:
        """Send it a message.

        Raises:
            DecoderError: It died (`crash`, `out_of_memory`, `timeout`).
        """
        try:
            self._wire.send(kind, **content)
        except OSError:
            self._explain_death()

    def receive(self, stall_seconds: float) -> Message:
        """Wait for its next message.

        Raises:
            DecoderError: It died (`crash`, `out_of_memory`, `timeout`), or was killed because no
                message came within `stall_seconds` (`timeout`).
        """
        try:
            message = self._receive_in_time(stall_seconds)
        except EOFError:
            self._explain_death()
        except ValueError as error:
            raise DecoderError("crash", f"its decoder sent an invalid message: {error}") from error
        self._busy = message.kind not in ("end", "failed")
        return message

    def kill(self) -> None:
        """Kill the process; may be called any number of times."""
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
        self._wire.close()
        if self._process.stdin:
            self._process.stdin.close()
        with suppress(BufferError):  # a traceback may hold a picture; the memory goes with that
            self.ring.close()

    def _receive_in_time(self, stall_seconds: float) -> Message:
        half = stall_seconds / 2
        with suppress(TimeoutError):
            return self._wire.receive(half)
        before = self.cpu_seconds()  # read only once the decoder is late
        try:
            return self._wire.receive(half)
        except TimeoutError as error:
            computed = self.cpu_seconds() - before
            self.kill()
            busy = computed > BUSY_FRACTION * half
            text = f"its decoder gave no sign of life for {stall_seconds:g} s"
            text += " and computed all the while" if busy else " and hardly computed"
            raise DecoderError("timeout", text, content_fault=busy) from error

    def _await_start(self, stderr: int) -> None:
        try:
            self._wire.receive(START_SECONDS)
        except (TimeoutError, EOFError, ValueError) as error:
            if isinstance(error, EOFError):
                self._raise_if_killed()
            self.kill()
            last = os.pread(stderr, 1 << 16, 0).decode(errors="replace").strip().splitlines()
            code = self._process.returncode
            raise RuntimeError(
                f"the decoder process cannot be started (exit code {code}):"
                f" {last[-1] if last else str(error) or 'it was too slow'};"
                " set isolation.isolate to false to run without one"
            ) from error

    def _raise_if_killed(self) -> int | None:
        """Raise DecoderError if the process was killed from outside; return its exit code."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
        code = self._process.returncode
        if code in FROM_OUTSIDE:
            self.kill()
            how = signal.Signals(-code).name
            text = f"its decoder was killed ({how}), as by a machine that runs out of memory"
            raise DecoderError("crash", text, content_fault=False)
        return code

    def _explain_death(self) -> NoReturn:
        code = self._raise_if_killed()
        self.kill()
        if code == EXIT_OUT_OF_MEMORY:
            raise DecoderError("out_of_memory", "its decoder used more than isolation.memory_bytes")
        if code == -signal.SIGXCPU:
            raise DecoderError(
                "timeout", "its decoder computed for longer than isolation.cpu_seconds"
            )
        how = f"exit code {code}" if code is None or code >= 0 else signal.Signals(-code).name
        raise DecoderError("crash", f"its decoder crashed ({how})")

    def cpu_seconds(self) -> float:
        """CPU time of the process so far; 0 if the system does not report it."""
        try:
            stat = Path(f"/proc/{self.pid}/stat").read_text()
        except OSError:
            return 0.0
        user, system = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


_idle: dict[int, list[Decoder]] = {}
"""Decoders without a job by the process that started them: a fork must not use its parent's."""
_lock = threading.Lock()
_max_idle = 1
"""Number of idle decoders that are kept."""


@contextmanager
def borrowed(ring_bytes: int) -> Iterator[Decoder]:
    """Lend an idle or a new decoder for one job; it is killed unless the job ran to its end.

    Args:
        ring_bytes: Minimum size of its shared memory.

    Raises:
        RuntimeError: No decoder can be started.
        DecoderError: One was killed from outside while it started (`crash`).
    """
    decoder = _take(ring_bytes) or Decoder(ring_bytes)
    try:
        yield decoder
    finally:
        if not (decoder.usable and _keep(decoder)):
            decoder.kill()


@contextmanager
def decoders_kept(count: int) -> Iterator[None]:
    """Keep up to `count` idle decoders while several jobs run in parallel; end them afterwards."""
    global _max_idle
    before, _max_idle = _max_idle, count
    try:
        yield
    finally:
        _max_idle = before
        close_idle()


def close_idle() -> None:
    """End the idle decoders of this process; the next job starts a new one."""
    with _lock:
        decoders = _idle.pop(os.getpid(), [])
    for decoder in decoders:
        decoder.kill()


atexit.register(close_idle)


def _take(ring_bytes: int) -> Decoder | None:
    while True:
        with _lock:
            decoders = _idle.get(os.getpid(), [])
            if not decoders:
                return None
            decoder = decoders.pop()
        if decoder.usable and len(decoder.ring) >= ring_bytes:
            return decoder
        decoder.kill()


def _keep(decoder: Decoder) -> bool:
    with _lock:
        decoders = _idle.setdefault(os.getpid(), [])
        kept = len(decoders) < _max_idle
        decoders += [decoder] if kept else []
        return kept


def decoder_environment(ours: Mapping[str, str]) -> dict[str, str]:
    """The environment of a decoder, with the import path of this process."""
    passed = {name: ours[name] for name in PASSED_ON if name in ours}
    path = os.pathsep.join(os.path.abspath(folder) for folder in sys.path)
    return passed | SET_FOR_DECODERS | {"PYTHONPATH": path}


def _shared_memory(size: int) -> int:
    """Create a nameless file in memory for two processes to map."""
    if not hasattr(os, "memfd_create"):  # not Linux
        with tempfile.TemporaryFile() as file:
            file.truncate(size)
            return os.dup(file.fileno())
    # Unlike POSIX shared memory it has no name to leak, needs no tracker, and is not bound to
    # /dev/shm, which has 64 MB in many containers.
    handle = os.memfd_create("vcn-frames", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(handle, size)
    import fcntl  # missing on Windows

    # If a decoder shrank the file, this process would die of SIGBUS.
    fcntl.fcntl(handle, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    return handle
