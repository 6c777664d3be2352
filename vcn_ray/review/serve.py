"""Serves the page of review, in this thread or beside it, and opens it in a browser."""

from __future__ import annotations

import asyncio
import secrets
import socket
import webbrowser
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Thread
from typing import Self

from aiohttp import web

from vcn_ray.config import RunConfig
from vcn_ray.errors import UsageError
from vcn_ray.io.storage import Storage
from vcn_ray.review.clip import ClipMaker
from vcn_ray.review.open_titles import OpenTitles
from vcn_ray.review.server import LOOPBACK, make_app
from vcn_ray.run.stored import find_title_id

TOKEN_BYTES = 24
SHUTDOWN_SECONDS = 2.0  # for requests that are being answered


@dataclass(frozen=True, slots=True)
class ReadyPage:
    """The page before it is served: its application, its socket and where it will be."""

    app: web.Application
    listener: socket.socket
    address: str


def prepare_page(
    storage: Storage,
    config: RunConfig,
    *,
    title: str | None = None,
    who: str | None = None,
    port: int = 0,
) -> ReadyPage:
    """Take a port of this machine for the page.

    Args:
        storage: The output.
        config: How S3 and packs are reached, and what a decoder of videos may use.
        title: Name or id of the title to begin with; None: the first.
        who: Of whom the edits are; None: the user of this process.
        port: To listen on; 0: any free one.

    Raises:
        UsageError: The output holds no results or no such title, or the port is taken.
        StorageError: The output cannot be read.
    """
    titles = OpenTitles(storage, who, config)
    first = find_title_id(storage, title) if title else ""
    if not first and not titles.names():
        raise UsageError(f"{storage.uri} holds no results: run vcn index --output {storage.uri}")
    listener = listen(port)
    port = listener.getsockname()[1]
    token = secrets.token_urlsafe(TOKEN_BYTES)
    app = make_app(titles, ClipMaker(config.s3, config.isolation), token, port)
    address = f"http://{LOOPBACK}:{port}/{token}/" + (f"#{first}" if first else "")
    return ReadyPage(app, listener, address)


def serve(page: ReadyPage, show: Callable[[str], None]) -> None:
    """Serve the page until the process is interrupted.

    Args:
        page: From `prepare_page`.
        show: Called with the address once the page can be opened.
    """
    try:
        asyncio.run(_run(page, lambda: show(page.address), asyncio.Event()))
    finally:
        page.listener.close()


class ServedReview:
    """The page of review, served by a thread of this process until it is closed.

    Attributes:
        address: To open in a browser of this machine; it holds a token, so it is for nobody else.
    """

    def __init__(self, page: ReadyPage) -> None:
        self.address = page.address
        self._closing = asyncio.Event()
        ready: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = Thread(
            target=self._serve, args=(page, ready), name="vcn review", daemon=True
        )
        self._thread.start()
        self._loop = ready.result()

    def _serve(self, page: ReadyPage, ready: Future[asyncio.AbstractEventLoop]) -> None:
        async def run() -> None:
            loop = asyncio.get_running_loop()
            await _run(page, lambda: ready.set_result(loop), self._closing)

        try:
            asyncio.run(run())
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)
        finally:
            page.listener.close()

    def wait(self) -> None:
        """Wait until the page is closed, as a script does whose only purpose is the page."""
        self._thread.join()

    def close(self) -> None:
        """Stop serving; all corrections are kept already."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._closing.set)
            self._thread.join()

    def __enter__(self) -> Self:
        """Serve."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop serving."""
        self.close()

    def __repr__(self) -> str:
        return f"ServedReview({self.address!r})"


def listen(port: int) -> socket.socket:
    """A socket of this machine alone.

    Raises:
        UsageError: The port is taken.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise UsageError(f"port {port} cannot be used: {error}; --port 0 takes a free one") from (
            error
        )
    return listener


async def _run(page: ReadyPage, ready: Callable[[], None], closing: asyncio.Event) -> None:
    # No access log: paths hold the token.
    runner = web.AppRunner(page.app, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        await web.SockSite(runner, page.listener).start()
        ready()
        await closing.wait()
    finally:
        await runner.cleanup()


def open_browser(address: str) -> bool:
    """Open an address in the user's browser; False where there is none."""
    try:
        return webbrowser.open(address)
    except webbrowser.Error:
        return False
