"""Messages between a worker and its decoder process: JSON and bytes over a socket.

Nothing is pickled: what comes from a process that decodes untrusted files must not be able to run
code here. It knows nothing of what messages mean.
"""

from __future__ import annotations

import json
import socket
import struct
from typing import Any, NamedTuple

HEADER = struct.Struct("<II")  # bytes of JSON, bytes of data
MOST_BYTES = 1 << 26  # of either part; no honest message is as long
RECEIVE_BYTES = 1 << 16
EXIT_OUT_OF_MEMORY = 97
"""What a decoder process says last, when it is in no state to say more."""

Content = dict[str, Any]


class Message(NamedTuple):
    """What one side said; `content` always has a "kind"."""

    content: Content
    data: bytes

    @property
    def kind(self) -> str:
        """What it is about."""
        return str(self.content.get("kind"))


class Wire:
    """One end of a stream socket, cut into messages."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._buffer = bytearray()

    def send(self, kind: str, data: bytes = b"", **content: Any) -> None:
        """Say something; waits while the other side is full.

        Raises:
            OSError: The other side is gone.
        """
        text = json.dumps({"kind": kind, **content}, separators=(",", ":")).encode()
        self._socket.sendall(HEADER.pack(len(text), len(data)) + text)
        if data:
            self._socket.sendall(data)

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
            text, data = HEADER.unpack_from(self._buffer)
            if max(text, data) > MOST_BYTES:
                raise ValueError(f"a message of {text} and {data} bytes, more than {MOST_BYTES}")
            self._fill(HEADER.size + text + data)
        finally:
            self._socket.settimeout(None)
        whole = bytes(self._buffer[HEADER.size : HEADER.size + text + data])
        del self._buffer[: HEADER.size + text + data]
        content = json.loads(whole[:text])
        if not isinstance(content, dict):
            raise ValueError(f"a message is an object, got {type(content).__name__}")
        return Message(content, whole[text:])

    def close(self) -> None:
        """End the talk; the other side will notice."""
        self._socket.close()

    def _fill(self, size: int) -> None:
        while len(self._buffer) < size:
            try:
                part = self._socket.recv(max(RECEIVE_BYTES, size - len(self._buffer)))
            except ConnectionError as error:
                raise EOFError("the other side is gone") from error
            if not part:
                raise EOFError("the other side is gone")
            self._buffer += part
