"""Runs the page of review until it is stopped, and opens it in a browser."""

from __future__ import annotations

import asyncio
import secrets
import socket
import webbrowser
from collections.abc import Callable

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


def serve(
    storage: Storage,
    config: RunConfig,
    show: Callable[[str], None],
    *,
    title: str | None = None,
    who: str | None = None,
    port: int = 0,
) -> None:
    """Serve the page on this machine until the process is interrupted.

    Args:
        storage: The output.
        config: How S3 and packs are reached, and what a decoder of videos may use.
        show: Called with the address once the page can be opened.
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
    try:
        asyncio.run(_run(app, listener, lambda: show(address)))
    finally:
        listener.close()


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


async def _run(app: web.Application, listener: socket.socket, ready: Callable[[], None]) -> None:
    # No access log: paths hold the token.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        ready()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def open_browser(address: str) -> bool:
    """Open an address in the user's browser; False where there is none."""
    try:
        return webbrowser.open(address)
    except webbrowser.Error:
        return False
