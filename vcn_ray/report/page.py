"""A title's page: one HTML file that needs nothing else; it knows nothing of tables or storage."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import jinja2
from markupsafe import Markup

from vcn_ray.report import words
from vcn_ray.report.view import TitleView

FAINTEST = 0.15
"""Opacity of the lines of cuts in the longest films."""

_FOLDER = Path(__file__).parent


def render_page(view: TitleView) -> str:
    """Write a title's page.

    Every text of the view is escaped, whatever file names hold; styles, script and pictures are
    inside, and the page's own policy forbids the browser to ask for anything else.

    Args:
        view: The title.

    Returns:
        The HTML document.
    """
    film = {
        "key": view.names_key,
        "id": view.title_id,
        "seconds": view.timeline.seconds,
        "cuts": view.timeline.cut_count,
        # Where cuts stand denser than pixels, their lines would only grey the rows.
        "faint": round(min(1.0, max(FAINTEST, 150 / (view.timeline.cut_count + 1))), 3),
        "faintest": FAINTEST,
        "videos": [
            {"offset": video.offset_seconds, "seconds": video.seconds} for video in view.videos
        ],
    }
    return render("page.html.j2", view=view, film=film, words=words, js=_own_text("page.js"))


def render(template: str, **values: object) -> str:
    """Fill one of this package's templates, with the common style sheet as `css`."""
    return _environment().get_template(template).render(css=_own_text("page.css"), **values)


@cache
def _environment() -> jinja2.Environment:
    # Always on: the endings of these templates are not among those Jinja escapes by itself.
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _own_text(name: str) -> Markup:
    # Not user text: a file of this package, which may hold quotes and angle brackets.
    return Markup((_FOLDER / name).read_text(encoding="utf-8"))
