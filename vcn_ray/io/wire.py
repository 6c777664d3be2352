"""Messages between a worker and its decoder process: JSON over a socket, bytes in shared memory.

Nothing is pickled: what comes from a process that decodes untrusted files must not be able to run
code here. It knows nothing of what messages mean.
"""

from __future__ import annotations

import json
import socket
import struct
from typing import Any, NamedTuple

HEADER = struct.Struct("<I")  # bytes of JSON
MOST_BYTES = 1 << 26  # of a message; no honest one is as long
RECEIVE_BYTES = 1 << 16

WINDOW_BYTES = 1 << 20
"""The first part of the shared memory holds bytes of a source; frames lie behind it."""

EXIT_OUT_OF_MEMORY = 97
"""What a decoder process says last, when it is in no state to say more."""

Content = dict[str, Any]


class Message(NamedTuple):
    """What one side said."""

    kind: str
    content: Content


class Wire:
    """One end of a stream socket, cut into messages."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._buffer = bytearray()

    def send(self, kind: str, **content: Any) -> None:
        """Say something; waits while the other side is full.

        Raises:
            OSError: The other side is gone.
        """
        text = json.dumps([kind, content], separators=(",", ":")).encode()
        self._socket.sendall(HEADER.pack(len(text)) + text)

    def receive(self, timeout: float | None = None) -> Message:
        """The next message; one that was interrupted by the timeout can be asked for again.

        Raises:
            TimeoutError: Nothing came for that many seconds.
            EOFError: The other side is gone.
            ValueError: It said something that is no message.
        """
        self._socket.settimeout(timeout)
        try:
            self._fill(HEADER.size)
            (size,) = HEADER.unpack_from(self._buffer)
            if size > MOST_BYTES:
                raise ValueError(f"a message of {size} bytes, more than {MOST_BYTES}")
            self._fill(HEADER.size + size)
        finally:
            self._socket.settimeout(None)
        kind, content = json.loads(self._buffer[HEADER.size : HEADER.size + size])
        del self._buffer[: HEADER.size + size]
        if not (isinstance(kind, str) and isinstance(content, dict)):
            raise ValueError("a message is a kind and an object")
        return Message(kind, content)

    def close(self) -> None:
        """End the talk; the other side will notice."""
        self._socket.close()

    def _fill(self, size: int) -> None:
        while len(self._buffer) < size:
            try:
                part = self._socket.recv(RECEIVE_BYTES)
            except ConnectionError as error:
                raise EOFError("the other side is gone") from error
            if not part:
                raise EOFError("the other side is gone")
            self._buffer += part
