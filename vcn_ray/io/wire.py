"""Messages between a worker and its decoder process: JSON over a socket, bytes in shared memory.

| from | message | content |
| --- | --- | --- |
| worker | `job` | what to do with which source, within which limits |
| | `data` | how many bytes of the source now lie in the window |
| | `free` | nothing: the oldest frame in shared memory was copied |
| decoder | `ready` | nothing: the process waits for a job |
| | `alive` | nothing: it reads, and has no frame yet |
| | `read` | the range of the source that it needs |
| | `frame` | a frame, its pixels by their place in shared memory |
| | `end` | the result of the job |
| | `failed` | reason and text of a MediaError, and whether it is a HardwareError |
| | `bug` | the traceback of any other error |

Nothing is pickled: a process that decodes untrusted files must not be able to run code in the
worker. This module knows nothing of processes and their limits.
"""

from __future__ import annotations

import json
import mmap
import socket
import struct
from typing import Any, NamedTuple

import numpy as np

from vcn_ray.io.frames import DecodedFrame
from vcn_ray.records import U8

HEADER = struct.Struct("<I")  # number of bytes of JSON that follow
MAX_MESSAGE_BYTES = 1 << 26  # no correct message is as long
RECEIVE_BYTES = 1 << 16

WINDOW_BYTES = 1 << 20
"""The first part of the shared memory holds bytes of a source; frames lie behind it."""

EXIT_OUT_OF_MEMORY = 97
"""Exit code of a decoder process that is out of memory and cannot send a message."""

Content = dict[str, Any]
"""A JSON object."""


class Message(NamedTuple):
    """One message."""

    kind: str
    content: Content


class Wire:
    """One end of a stream socket, cut into messages."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._buffer = bytearray()

    def send(self, kind: str, **content: Any) -> None:
        """Send a message; waits while the other side's buffer is full.

        Raises:
            OSError: The other side is gone.
        """
        text = json.dumps([kind, content], separators=(",", ":")).encode()
        self._socket.sendall(HEADER.pack(len(text)) + text)

    def receive(self, timeout: float | None = None) -> Message:
        """Wait for the next message; after a timeout the same message can be received later.

        Raises:
            TimeoutError: No whole message came within that many seconds.
            EOFError: The other side is gone.
            ValueError: What came is not a message.
        """
        self._socket.settimeout(timeout)
        try:
            self._fill(HEADER.size)
            (size,) = HEADER.unpack_from(self._buffer)
            if size > MAX_MESSAGE_BYTES:
                raise ValueError(f"a message of {size} bytes, more than {MAX_MESSAGE_BYTES}")
            self._fill(HEADER.size + size)
        finally:
            self._socket.settimeout(None)
        kind, content = json.loads(self._buffer[HEADER.size : HEADER.size + size])
        del self._buffer[: HEADER.size + size]
        if not (isinstance(kind, str) and isinstance(content, dict)):
            raise ValueError("a message is a kind and an object")
        return Message(kind, content)

    def close(self) -> None:
        """Close the connection; the other side will notice."""
        self._socket.close()

    def _fill(self, size: int) -> None:
        while len(self._buffer) < size:
            try:
                received = self._socket.recv(RECEIVE_BYTES)
            except ConnectionError as error:
                raise EOFError("the other side is gone") from error
            if not received:
                raise EOFError("the other side is gone")
            self._buffer += received


def frame_content(frame: DecodedFrame, pictures: list[U8], start: int) -> Content:
    """Describe a frame whose pictures lie in shared memory.

    Args:
        frame: What to describe.
        pictures: `small`, and `image` if the frame is analysed, one behind the other.
        start: Where in shared memory the first begins.
    """
    return {
        "at": start,
        "shapes": [picture.shape for picture in pictures],
        "number": frame.number_in_segment,
        "seconds": frame.seconds,
        "end": frame.end_seconds,
        "scale": frame.scale,
        "width": frame.displayed_width,
        "height": frame.displayed_height,
    }


def read_frame(content: Content, memory: mmap.mmap) -> DecodedFrame:
    """Rebuild the frame of `frame_content`, its pictures copied out of shared memory.

    Raises:
        KeyError, TypeError, ValueError: The content describes no frame.
    """
    shapes = [tuple(int(side) for side in shape) for shape in content["shapes"]]
    small, *images = _copy(shapes, int(content["at"]), memory)
    return DecodedFrame(
        number_in_segment=int(content["number"]),
        seconds=float(content["seconds"]),
        end_seconds=float(content["end"]),
        analysed=bool(images),
        image=images[0] if images else None,
        small=small,
        scale=float(content["scale"]),
        displayed_width=int(content["width"]),
        displayed_height=int(content["height"]),
    )


def _copy(shapes: list[tuple[int, ...]], start: int, memory: mmap.mmap) -> list[U8]:
    pictures = []
    for height, width, channels in shapes:
        size = height * width * channels
        if min(start, height, width) < 0 or channels != 3:
            raise ValueError(f"a picture of {height} x {width} x {channels} at {start}")
        flat = np.frombuffer(memory, np.uint8, size, start)
        pictures.append(flat.reshape(height, width, channels).copy())
        start += size
    return pictures
