"""The page as a document: complete, escaped, self-contained, light."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from tests.helpers.report_data import REJECTED, Title, long_film, series, short_film
from vcn_ray.report.overview import index_entry, render_index
from vcn_ray.report.page import render_page
from vcn_ray.report.view import TitleView, build_view

HOSTILE = "</style><script>alert('1')</script>\"' onload=x {{ 7*7 }} {% raw %} .mp4"
VOID = {"meta", "link", "input", "br", "hr", "img"}


class Document(HTMLParser):
    """Tags, attributes and text; fails where tags do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in {"style", "script"}:
            self.text.append(data)

    def said(self) -> str:
        return " ".join(" ".join(self.text).split())

    def all(self, css_class: str) -> list[dict[str, str | None]]:
        return [a for _, a in self.tags if css_class in (a.get("class") or "").split()]


def view_of(title: Title, name: str = "First Light", **kwargs: object) -> TitleView:
    return build_view(title.result(name, **kwargs), title.tables(), REJECTED)


@pytest.fixture(scope="module")
def short_page() -> str:
    return render_page(view_of(short_film()))


def test_everybody_is_on_the_page_with_a_face_and_a_timeline(short_page: str) -> None:
    page = Document(short_page)
    ids = [attrs["id"] for attrs in page.all("person")]
    assert ids == [f"p00{number}" for number in range(1, 9)]
    assert len(page.all("large")) == 8
    assert not any("none" in (a["class"] or "") for a in page.all("large"))
    # Each appearance is a bar in the common timeline and one on the card; unknown tracks once.
    assert len(page.all("bar")) == 2 * 42 + 3
    for words in (
        "people 8 face tracks 45 of the film shows a face 83\u2009%",
        "3 tracks were left out of every person",
        "547 faces were found and left aside",
        "Too small 412",
    ):
        assert " ".join(words.split()) in page.said()


def test_no_request_leaves_the_page(short_page: str) -> None:
    page = Document(short_page)
    policies = [a["content"] for _, a in page.tags if a.get("http-equiv")]
    assert policies == [
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    ]
    for tag, attrs in page.tags:
        assert tag not in {"img", "iframe", "object", "embed", "base", "form"}
        assert "src" not in attrs
        if tag == "link":
            assert attrs["href"] == "data:,"
    addresses = set(
        re.findall(r"url\((?!data:image/jpeg;base64,)[^)]*\)|@import|srcset", short_page)
    )
    assert addresses == set()


def test_each_crop_is_embedded_once(short_page: str) -> None:
    images = re.findall(r"url\(data:image/jpeg;base64,([^)]+)\)", short_page)
    assert len(images) > 200
    assert len(set(images)) == len(images)


def test_hostile_names_are_text() -> None:
    title = series(2)
    title.videos[0]["uri"] = f"/films/{HOSTILE}"
    warning = {"code": "<b>x</b>", "message": HOSTILE}
    result = title.result(HOSTILE, (warning,))
    result["config"] = {HOSTILE: HOSTILE}
    result["versions"] = {HOSTILE: HOSTILE}
    result["pack"] = {"name": HOSTILE, "licence": HOSTILE, "source": "javascript:alert(1)"}
    page = render_page(build_view(result, title.tables(), {"<i>": 3}))
    document = Document(page)
    assert [tag for tag, _ in document.tags].count("script") == 2
    assert not any(name.startswith("on") for _, attrs in document.tags for name in attrs)
    assert not any((a.get("href") or "").startswith("javascript:") for _, a in document.tags)
    assert " ".join(HOSTILE.split()) in document.said()
    index = Document(render_index([index_entry(build_view(result, title.tables(), {}))]))
    assert [tag for tag, _ in index.tags].count("script") == 0
    assert " ".join(HOSTILE.split()) in index.said()


def test_title_without_people_says_so() -> None:
    title = Title()
    title.add_video("Empty", [3.0])
    page = Document(render_page(view_of(title, "Nothing to see")))
    assert "No people were found in this title." in page.said()
    assert page.all("bar") == []
    assert page.all("person") == []


def test_title_without_frames_is_still_a_page() -> None:
    title = Title()
    title.videos = [{"video_id": "v", "uri": "broken.mp4"}]
    page = Document(render_page(view_of(title, "Broken")))
    assert "0 s" in page.said()


def test_unknown_only_title_points_to_the_unknown() -> None:
    title = Title()
    shot = title.add_video("Dark", [5.0])[0]
    title.add_track(shot, None, (0.1, 0.9))
    page = Document(render_page(view_of(title, "Dark")))
    assert "All its tracks are among the unknown below." in page.said()
    assert len(page.all("bar")) == 1


def test_long_film_stays_light_and_says_what_it_leaves_out() -> None:
    view = view_of(long_film(seconds=9000, people=12, tracks=400), "Long")
    page = render_page(view)
    assert len(page) < 15_000_000
    said = Document(page).said()
    assert "2 h 30 min" in said
    assert "shorter tracks (in tracks.parquet)" in said
    assert re.search(r"\b2:15:00\b", said)  # the axis goes on past the hour


def test_several_videos_stand_one_after_another_with_names() -> None:
    page = Document(render_page(view_of(series(3), "A series")))
    assert [a["title"] for a in page.all("video")] == [f"Series_S01E0{n}.mp4" for n in (1, 2, 3)]
    bars = [a["title"] or "" for a in page.all("bar")]
    assert {bar.split(",")[0] for bar in bars} == {"S01E01", "S01E02", "S01E03"}


def test_warnings_are_said_plainly() -> None:
    warning = {"code": "partial", "message": "Segment 3 could not be read."}
    page = Document(render_page(view_of(series(1), "W", warnings=(warning,))))
    assert "Parts of the title could not be read Segment 3 could not be read." in page.said()


def test_index_links_every_title() -> None:
    views = [view_of(series(1), "One"), view_of(series(2), "Two")]
    entries = [index_entry(views[0]), index_entry(views[1], "elsewhere/report.html")]
    page = Document(render_index(entries))
    links = [attrs["href"] for tag, attrs in page.tags if tag == "a"]
    assert links == ["titles/a-title-0123456789ab/report.html", "elsewhere/report.html"]
    assert "5 people" in page.said()
    assert "2 titles" in page.said()


def test_empty_index_says_so() -> None:
    assert "No titles have been indexed here yet." in Document(render_index([])).said()
