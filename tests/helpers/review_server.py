"""The page of review, served on loopback by a thread of this process."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPConnection
from typing import Any, NamedTuple

from aiohttp import web

from vcn_ray.config import RunConfig
from vcn_ray.io.storage import Storage
from vcn_ray.review.clip import ClipMaker
from vcn_ray.review.open_titles import OpenTitles
from vcn_ray.review.serve import listen
from vcn_ray.review.server import LOOPBACK, make_app

TOKEN = "a-token-of-the-tests"


class Answer(NamedTuple):
    """What the server answered."""

    status: int
    headers: Message
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Served:
    """A page that is served."""

    titles: OpenTitles
    port: int

    @property
    def origin(self) -> str:
        """What the browser sends as Origin."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def address(self) -> str:
        """Of the page."""
        return f"{self.origin}/{TOKEN}/"

    def ask(
        self,
        path: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Send a request; `path` begins with a slash."""
        connection = HTTPConnection(LOOPBACK, self.port, timeout=120)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def get(self, path: str) -> Answer:
        """Ask for something below the token."""
        return self.ask(f"/{TOKEN}/{path}")

    def decide(self, title: str, **decision: Any) -> Answer:
        """Make a decision as the page does."""
        headers = {"Origin": self.origin, "Content-Type": "application/json"}
        path = f"/{TOKEN}/api/titles/{title}/decisions"
        return self.ask(path, "POST", json.dumps(decision).encode(), headers)


@contextmanager
def running_review(storage: Storage, who: str = "ann", **options: Any) -> Iterator[Served]:
    """Serve an output until the block ends."""
    config = RunConfig()
    titles = OpenTitles(storage, who, config, **options)
    listener = listen(0)
    port = listener.getsockname()[1]
    loop = asyncio.new_event_loop()
    app = make_app(titles, ClipMaker(config.s3, config.isolation), TOKEN, port)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)

    async def start() -> None:
        await runner.setup()
        await web.SockSite(runner, listener).start()

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(start(), loop).result(30)
        yield Served(titles, port)
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        listener.close()
        loop.close()
