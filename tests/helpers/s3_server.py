"""An S3 server on loopback for tests: moto behind a proxy that counts, reports and can do harm.

The server is real HTTP in a thread of this process; nothing of boto3 or of ours is patched.
"""

from __future__ import annotations

import dataclasses
import logging
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

import boto3
from botocore.config import Config
from moto.moto_server.threaded_moto_server import ThreadedMotoServer

KEYS = {"aws_access_key_id": "AKIAEXAMPLEEXAMPLE00", "aws_secret_access_key": "not/a+secret"}
DROPPED = frozenset(["transfer-encoding", "connection", "content-length", "date", "server"])
Harm = Literal["403", "500", "501", "503", "page", "reset", "cut"]
"""What is done instead of an answer: an error status, a page for people, no answer, half of one."""
PAGE = b"<html><h1>Bad Request</h1><p>The request is malformed.</p></html>"


@dataclass(frozen=True)
class Request:
    """One request that came to the server, and how it was answered."""

    method: str
    bucket: str
    key: str
    query: dict[str, str]
    headers: dict[str, str]  # names in lower case
    status: int
    sent: int  # bytes of the answer's body

    @property
    def lists(self) -> bool:
        return self.method == "GET" and not self.key


@dataclass
class Answer:
    """What the server answers; a test may alter it on the way."""

    status: int
    headers: dict[str, str]
    content: bytes
    close: bool = False  # end the connection after it
    seconds: float = 0.0  # before it


Alter = Callable[[Request, Answer], Answer]
Intercept = Callable[[Request, bytes], "bytes | Answer"]


@dataclass
class S3Server:
    """Where the server is, what it was asked, and what it shall do next."""

    url: str
    log: list[Request] = field(default_factory=list)
    alter: Alter | None = None  # changes answers of the server
    intercept: Intercept | None = None  # changes the body of a request, or answers it itself
    _harm: list[tuple[Callable[[str, str], bool], Harm]] = field(default_factory=list)
    _acts: list[tuple[str, str, Callable[[], object]]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def client(self) -> Any:
        """A plain client to prepare and look with; its requests are logged, too."""
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}),
            **KEYS,
        )

    @property
    def settings(self) -> list[str]:
        """Words for the command line that lead here."""
        return ["--set", f"s3.endpoint={self.url}", "--set", "s3.region=us-east-1"]

    def count(self, method: str, bucket: str = "", below: str = "") -> int:
        """How many requests of a method there were for objects below a prefix."""
        return len(self.requests(method, bucket, below))

    def requests(self, method: str, bucket: str = "", below: str = "") -> list[Request]:
        """The requests of a method for objects below a prefix."""
        return [
            r
            for r in list(self.log)
            if r.method == method and bucket in ("", r.bucket) and r.key and r.key.startswith(below)
        ]

    def harm(self, how: Harm, times: int, method: str, key: str = "") -> None:
        """Spoil the next answers to a method for keys that start with `key`."""

        def fits(asked: str, name: str) -> bool:
            return asked == method and name.startswith(key)

        with self._lock:
            self._harm += [(fits, how)] * times

    def before(self, method: str, key: str, act: Callable[[], object]) -> None:
        """Do something once, just before the next request of a method for a key is answered."""
        self._acts.append((method, key, act))

    def next_act(self, method: str, key: str) -> Callable[[], object] | None:
        with self._lock:
            for index, (wanted, where, act) in enumerate(self._acts):
                if (wanted, where) == (method, key):
                    del self._acts[index]
                    return act
        return None

    def next_harm(self, method: str, key: str) -> Harm | None:
        with self._lock:
            for index, (fits, how) in enumerate(self._harm):
                if fits(method, key):
                    del self._harm[index]
                    return how
        return None

    def calm(self) -> None:
        """Forget what was asked, and do no more harm."""
        with self._lock:
            self._harm.clear()
        self.log.clear()
        self.alter = self.intercept = None


@contextmanager
def running_server() -> Iterator[S3Server]:
    """Start the server on free ports of loopback, and end it afterwards."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    state = S3Server(url="")
    handler = type("Handler", (_Proxy,), {"state": state, "behind": (host, port)})
    front = _Server(("127.0.0.1", 0), handler)
    front.daemon_threads = True
    state.url = f"http://127.0.0.1:{front.server_address[1]}"
    thread = threading.Thread(target=front.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        front.shutdown()
        front.server_close()
        thread.join()
        moto.stop()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client may well leave in the middle of an altered answer."""


class _Proxy(BaseHTTPRequestHandler):
    state: S3Server
    behind: tuple[str, int]
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each body waits 40 ms until its headers are acknowledged

    def _pass_on(self) -> None:
        address = urlsplit(self.path)
        bucket, _, key = unquote(address.path).lstrip("/").partition("/")
        if self.headers.get("Expect", "").lower() == "100-continue":
            pass  # answered by the base class before we are called
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            raise NotImplementedError("no client of ours uploads in chunks")
        query = {name: values[0] for name, values in parse_qs(address.query, True).items()}
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, bucket, key, query, headers, 0, 0)
        if act := self.state.next_act(self.command, key):
            act()
        harm = self.state.next_harm(self.command, key)
        if harm in ("403", "500", "501", "503", "page"):
            status = 400 if harm == "page" else int(harm)
            self.state.log.append(dataclasses.replace(request, status=status))
            self._answer(status, {}, PAGE if harm == "page" else b"")
            return
        if harm == "reset":
            self.state.log.append(request)
            self._reset()
            return
        taken = self.state.intercept(request, body) if self.state.intercept else body
        answer = taken if isinstance(taken, Answer) else self._ask(taken)
        done = dataclasses.replace(request, status=answer.status, sent=len(answer.content))
        self.state.log.append(done)
        if self.state.alter:
            answer = self.state.alter(request, answer)
        self._send(answer, cut=harm == "cut")

    def _ask(self, body: bytes) -> Answer:
        """Pass the request on to the server, with this body."""
        headers = dict(self.headers)
        if "Content-Length" in headers:
            headers["Content-Length"] = str(len(body))
        behind = HTTPConnection(*self.behind, timeout=60)
        try:
            # Signatures are made for our address, so it is kept as the host.
            behind.request(self.command, self.path, body=body or None, headers=headers)
            answer = behind.getresponse()
            content = answer.read()
        finally:
            behind.close()
        kept = {n: v for n, v in answer.getheaders() if n.lower() not in DROPPED}
        if self.command == "HEAD":
            kept["Content-Length"] = answer.getheader("Content-Length") or "0"
        return Answer(answer.status, kept, content)

    def _send(self, answer: Answer, cut: bool) -> None:
        """Send an answer, which a test may have altered."""
        time.sleep(answer.seconds)
        self._answer(answer.status, answer.headers, answer.content, cut)
        if answer.close:
            self.wfile.flush()
            self._reset()

    def _answer(
        self, status: int, headers: dict[str, str], content: bytes, cut: bool = False
    ) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers and status not in (204, 304):
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if cut else content)
        if cut:
            self.wfile.flush()
            self._reset()

    def _reset(self) -> None:
        """End the connection at once, as a machine that went away."""
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)
        self.connection.close()

    def finish(self) -> None:
        # A connection that was reset has nothing left to flush.
        if self.connection.fileno() >= 0:
            super().finish()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing: tests read standard error."""

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass_on  # noqa: N815  # named by http.server
