"""The page of review over HTTP, for a browser on this machine alone.

The address holds a random token, without which there is no answer; the server listens on loopback,
and answers only to its own address, so that no other site can reach it through the browser. It
decides nothing: what is asked for is done by `open_titles`, in threads, as storage may be slow.

    GET  /<token>/                                  the page; its files beside it
    GET  /<token>/api/titles                        all titles
    GET  /<token>/api/names                         all names that were ever given
    GET  /<token>/api/titles/<id>                   a title: tracks, people
    GET  /<token>/api/titles/<id>/summary           what the list says of it
    GET  /<token>/api/titles/<id>/state?seen=V      people, if they changed since version V
    GET  /<token>/api/titles/<id>/suggestions       what to decide next
    GET  /<token>/api/titles/<id>/near?tracks=1,2   who looks most like these tracks
    GET  /<token>/api/titles/<id>/known/<person>    the name that another title gives somebody
    GET  /<token>/api/titles/<id>/known/<person>/face   and their face there, a JPEG
    GET  /<token>/api/titles/<id>/history           all decisions
    GET  /<token>/api/titles/<id>/face/<row>/<n>    a JPEG
    GET  /<token>/api/titles/<id>/play/<row>        a clip
    POST /<token>/api/titles/<id>/decisions         decide
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
from collections.abc import Awaitable, Callable
from importlib import resources
from typing import Any, TypeVar

from aiohttp import web

from vcn_ray.errors import DamagedError, MediaError, StorageError, UsageError
from vcn_ray.redact import one_line
from vcn_ray.registry.names import CatalogName
from vcn_ray.review.clip import ClipMaker
from vcn_ray.review.decisions import Decision, read_decision
from vcn_ray.review.known import known_json
from vcn_ray.review.open_titles import OpenTitle, OpenTitles

T = TypeVar("T")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
MAX_BODY = 8 << 20  # bytes; a decision may name many tracks
MAX_ASKED = 50  # suggestions
QUIET_SECONDS = 15.0  # without an edit, until the tables after all edits are written
CHECK_SECONDS = 5.0  # from one check for that to the next
FILES = {"": ("review.html", "text/html"), "review.css": ("review.css", "text/css")}
FILES |= {"review.js": ("review.js", "text/javascript")}
FILES |= {"review.svg": ("review.svg", "image/svg+xml")}

POLICY = "; ".join(
    (
        "default-src 'none'",
        *(f"{kind}-src 'self'" for kind in ("script", "style", "img", "connect", "media")),
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
NO_STORE = "no-store"
FACES_KEPT = "private, max-age=86400, immutable"  # their address names the result

TITLES = web.AppKey("titles", OpenTitles)
CLIPS = web.AppKey("clips", ClipMaker)


def make_app(titles: OpenTitles, clips: ClipMaker, token: str, port: int) -> web.Application:
    """The application.

    Args:
        titles: Of the output.
        clips: Makes clips of their videos.
        token: The first part of every path.
        port: On which it listens; requests for any other place are refused.
    """
    app = web.Application(middlewares=[_guard(token, port), _say_errors], client_max_size=MAX_BODY)
    app[TITLES], app[CLIPS] = titles, clips
    home, one = f"/{token}", f"/{token}/api/titles/{{title}}"
    for name in FILES:
        app.router.add_get(f"{home}/{name}", _file)
    app.router.add_get(f"{home}/api/titles", _titles)
    app.router.add_get(f"{home}/api/names", _names)
    app.router.add_get(one, _title)
    app.router.add_get(f"{one}/summary", _summary)
    app.router.add_get(f"{one}/state", _state)
    app.router.add_get(f"{one}/suggestions", _suggestions)
    app.router.add_get(f"{one}/near", _near)
    app.router.add_get(f"{one}/history", _history)
    app.router.add_get(f"{one}/face/{{row:\\d{{1,9}}}}/{{number:\\d{{1,9}}}}", _face)
    app.router.add_get(f"{one}/known/{{person}}", _known)
    app.router.add_get(f"{one}/known/{{person}}/face", _known_face)
    app.router.add_get(f"{one}/play/{{row:\\d{{1,9}}}}", _play)
    app.router.add_post(f"{one}/decisions", _decide)
    app.on_response_prepare.append(_add_headers)
    app.cleanup_ctx.append(_settling)
    return app


def _guard(token: str, port: int) -> Any:
    """Refuse what does not come from the page itself."""
    hosts = {f"{name}:{port}" for name in (LOOPBACK, "localhost")}
    origins = {f"http://{host}" for host in hosts}

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.path.removeprefix("/").partition("/")[0].encode("utf-8", "surrogateescape")
        if request.headers.get("Host") not in hosts or not hmac.compare_digest(
            given, token.encode()
        ):
            return _error(403, "open the address that vcn review printed: this one has no right")
        if request.method not in ("GET", "HEAD", "POST"):
            return _error(405, "only GET and POST are answered")
        if request.method == "POST":
            if request.headers.get("Origin") not in origins:
                return _error(403, "decisions are taken from the page of vcn review alone")
            if request.content_type != "application/json":
                return _error(415, "decisions are JSON")
        return await handler(request)

    return guard


@web.middleware
async def _say_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error as one line of JSON, that the page can show."""
    try:
        return await handler(request)
    except DamagedError as error:
        uri = request.app[TITLES].storage.uri
        what = f"index it again, or use vcn verify {uri} --repair"
        return _error(503, f"{one_line(error)}; {what}")
    except StorageError as error:
        return _error(503, f"{one_line(error)}; try again once the output can be reached")
    except MediaError as error:
        return _error(404, f"it cannot be played: {one_line(error)}")
    except UsageError as error:
        return _error(400, one_line(error))
    except web.HTTPException as error:
        return _error(error.status, error.reason)
    except Exception as error:  # a fault of ours; the page lives on
        log.exception("a request failed")
        return _error(500, f"internal error: {type(error).__name__}: {one_line(error)}")


def _error(status: int, message: str) -> web.Response:
    return _json({"error": message}, status)


def _json(content: Any, status: int = 200) -> web.Response:
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    body = text.encode("utf-8", "backslashreplace")  # names of files may hold lone surrogates
    return web.Response(status=status, body=body, content_type="application/json", charset="utf-8")


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)
    response.headers.setdefault("Cache-Control", NO_STORE)
    response.headers.popall("Server", None)


async def _settling(app: web.Application) -> Any:
    """Write the tables after all edits now and then, and at the end."""

    async def forever() -> None:
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            await settle(QUIET_SECONDS)

    async def settle(quiet_seconds: float) -> None:
        for problem in await asyncio.to_thread(app[TITLES].settle, quiet_seconds):
            log.warning("edits are kept, but their tables cannot be written: %s", problem)

    task = asyncio.create_task(forever())
    yield
    task.cancel()
    await settle(0.0)


async def _using(request: web.Request, act: Callable[[OpenTitle], T]) -> T:
    """Do something with the title of a request, in a thread."""
    titles, title_id = request.app[TITLES], request.match_info["title"]

    def do() -> T:
        with titles.use(title_id) as title:
            return act(title)

    return await asyncio.to_thread(do)


async def _file(request: web.Request) -> web.Response:
    name, kind = FILES[request.path.rpartition("/")[2]]
    body = resources.files("vcn_ray.review").joinpath(name).read_bytes()
    return web.Response(body=body, content_type=kind, charset="utf-8")


async def _titles(request: web.Request) -> web.Response:
    titles = request.app[TITLES]
    names = await asyncio.to_thread(titles.names)
    return _json({"output": titles.storage.uri, "titles": names})


async def _names(request: web.Request) -> web.Response:
    return _json(await asyncio.to_thread(request.app[TITLES].known_names))


async def _title(request: web.Request) -> web.Response:
    return _json(await _using(request, OpenTitle.tracks))


async def _summary(request: web.Request) -> web.Response:
    title_id = request.match_info["title"]
    return _json(await asyncio.to_thread(request.app[TITLES].summary, title_id))


async def _state(request: web.Request) -> web.Response:
    seen = request.query.get("seen", "")
    return _json(await _using(request, lambda title: title.refresh(seen)))


async def _suggestions(request: web.Request) -> web.Response:
    return _json(await _using(request, lambda title: title.suggestions(MAX_ASKED)))


async def _near(request: web.Request) -> web.Response:
    asked = request.query.get("tracks", "").split(",")
    if not all(row.isdecimal() and len(row) < 10 for row in asked):
        raise UsageError("name tracks by their numbers")
    rows = [int(row) for row in asked]
    return _json(await _using(request, lambda title: title.nearest(rows)))


async def _history(request: web.Request) -> web.Response:
    return _json(await _using(request, OpenTitle.history))


async def _face(request: web.Request) -> web.Response:
    row, number = (int(request.match_info[name]) for name in ("row", "number"))
    data = request.app[TITLES].jpeg(request.match_info["title"], row, number)
    if data is None:
        data = await _using(request, lambda title: title.faces.jpeg(row, number))
    if data is None:
        return _error(404, "this track has no such picture")
    headers = {"Cache-Control": FACES_KEPT}
    return web.Response(body=data, content_type="image/jpeg", headers=headers)


async def _known_picture(request: web.Request) -> tuple[CatalogName, bytes | None]:
    person = request.match_info["person"]
    known = await _using(request, lambda title: title.known(person))
    return known, await asyncio.to_thread(request.app[TITLES].known.face, known)


async def _known(request: web.Request) -> web.Response:
    known, picture = await _known_picture(request)
    return _json(known_json(known) | {"picture": picture is not None})


async def _known_face(request: web.Request) -> web.Response:
    _, picture = await _known_picture(request)
    if picture is None:
        return _error(404, "the other title keeps no picture of this person")
    return web.Response(body=picture, content_type="image/jpeg")


async def _play(request: web.Request) -> web.Response:
    row = int(request.match_info["row"])
    seen = await _using(request, lambda title: title.appearance(row))
    data = await asyncio.to_thread(request.app[CLIPS].clip, seen)
    return web.Response(body=data, content_type="video/webm")


async def _decide(request: web.Request) -> web.Response:
    try:
        decision: Decision = read_decision(await request.json())
    except (ValueError, RecursionError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError("this is no JSON") from error
    return _json(await _using(request, lambda title: title.decide(decision)))
