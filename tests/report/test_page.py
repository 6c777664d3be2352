"""The page as a document: complete, escaped, self-contained, light."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

from tests.helpers.report_data import Title, long_film, series
from vcn_ray.report.pages import MAX_CARDS, index_entry, render_index, render_title, tell_apart
from vcn_ray.report.view import build_view
from vcn_ray.run.stored import StoredTitle
from vcn_ray.run.summary import WARNINGS, explain_warning

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

    def visible_text(self) -> str:
        return " ".join(" ".join(self.text).split())

    def all(self, css_class: str) -> list[dict[str, str | None]]:
        return [a for _, a in self.tags if css_class in (a.get("class") or "").split()]


def page_of(title: StoredTitle) -> Document:
    return Document(render_title(build_view(title)))


def test_everybody_is_on_the_page_with_a_face_and_a_timeline(short_page: str) -> None:
    page = Document(short_page)
    ids = [attrs["id"] for attrs in page.all("person")]
    assert ids == [f"p00{number}" for number in range(1, 9)]
    assert len(page.all("large")) == 8
    assert not any("none" in (a["class"] or "") for a in page.all("large"))
    # Each appearance is a bar in the common timeline and another on the card; unknown tracks once.
    assert len(page.all("bar")) == 2 * 42 + 3
    for words in (
        "people 8 face tracks 45 of the running time shows a face 83\u2009%",
        "Unknown faces 3 tracks, 4\u2009% of the screen time of all tracks",
        "547 of the 1,783 faces detected in single frames (31\u2009%) were not used",
        "Too small 412",
        "Detecting faces 1 min 1 s Tracking faces 2.4 s Adapting the encoder 49 s",
    ):
        assert " ".join(words.split()) in page.visible_text()


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
    assert len(images) == 45 * 3
    assert len(set(images)) == len(images)


def test_hostile_names_are_text() -> None:
    title = series(2)
    title.videos[0]["uri"] = f"/films/{HOSTILE}"
    stored = title.stored(HOSTILE, ({"code": "<b>x</b>", "message": HOSTILE},), {"<i>": 3})
    stored.summary["config"] = {HOSTILE: HOSTILE}
    stored.summary["versions"] = {HOSTILE: HOSTILE}
    stored.summary["pack"] |= {
        "name": HOSTILE,
        "licence": HOSTILE,
        "source": "javascript:alert(1)",
    }
    view = build_view(stored)
    page = Document(render_title(view))
    assert [tag for tag, _ in page.tags].count("script") == 2
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert not any((a.get("href") or "").startswith("javascript:") for _, a in page.tags)
    assert " ".join(HOSTILE.split()) in page.visible_text()
    index = Document(render_index([index_entry(view)]))
    assert [tag for tag, _ in index.tags].count("script") == 0
    assert " ".join(HOSTILE.split()) in index.visible_text()


def test_no_code_of_a_terminal_is_on_a_page() -> None:
    """Pages are read by `cat`, too; marks that turn the writing deceive in a browser."""
    view = build_view(series(1).stored("\x1b]0;seized\x07\u202eevil\r\n"))
    entry = replace(index_entry(view), place="/films/\x9b31m.mp4")
    for page in (render_title(view), render_index([entry])):
        assert "?]0;seized??evil?" in page
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", page)


def test_titles_of_one_name_can_be_told_apart() -> None:
    names = ("Film", "Film", "Other")
    titles = []
    for name in names:
        title = Title()
        title.add_video("v", [3.0])
        titles.append(title.stored(name))
    entries = [index_entry(build_view(title)) for title in titles]
    uris = [["/a/film.mp4"], ["/b/film.mp4"], ["/c/other.mp4"]]
    text = Document(render_index(tell_apart(entries, uris))).visible_text()
    assert "/a/film.mp4" in text
    assert "/b/film.mp4" in text
    assert "/c/other.mp4" not in text


def test_title_without_people_says_so() -> None:
    title = Title()
    title.add_video("Empty", [3.0])
    page = page_of(title.stored(rejected={}))
    assert "No people were found in this title. No face was found" in page.visible_text()
    assert "No face was detected." in page.visible_text()
    assert page.all("bar") == []
    assert page.all("person") == []


def test_title_without_frames_is_still_a_page() -> None:
    title = Title()
    title.add_video("Broken", [])
    page = page_of(title.stored())
    assert "0 s" in page.visible_text()


def test_unknown_only_title_points_to_the_unknown() -> None:
    title = Title()
    shot = title.add_video("Dark", [5.0])[0]
    title.add_track(shot, None, (0.1, 0.9))
    page = page_of(title.stored(rejected={}))
    assert "None of its tracks shows a person; they are below." in page.visible_text()
    assert "1 track, 100 % of the screen time of all tracks (4.0 s)" in page.visible_text()
    assert "Every detected face was used." in page.visible_text()
    assert len(page.all("bar")) == 1


def test_unknown_faces_and_what_is_no_face_have_their_sections() -> None:
    title = Title()
    shot = title.add_video("Film", [10.0])[0]
    title.add_track(shot, 0, (0.0, 0.6))
    title.add_track(shot, None, (0.0, 0.2), reason="ambiguous")
    title.add_track(shot, None, (0.2, 0.3), reason="unrecognisable")
    title.add_track(shot, None, (0.8, 0.9), reason="low_score")
    page = page_of(title.stored())
    assert [a["id"] for a in page.all("outside")] == ["unknown", "no-face"]
    text = page.visible_text()
    assert "60 % belongs to people, 30 % to unknown faces, and 10 % shows no face." in text
    assert "Unknown faces 2 tracks, 30 % of the screen time of all tracks (3.0 s)" in text
    assert "1 is like no person, or like several; 1 is too small, blurred or turned" in text
    assert "No face 1 track, 10 % of the screen time of all tracks (1.0 s)" in text
    assert text.index("Unknown faces 2 tracks") > text.index("Person 1 p001")
    assert len(page.all("bar")) == 2 + 2 + 1


def test_nobody_is_hidden_for_a_short_time_on_screen() -> None:
    title = Title(looks=2)
    shots = title.add_video("Crowd", [2.0] * (MAX_CARDS + 5))
    for number, shot in enumerate(shots):
        title.add_track(shot, number, (0.0, 0.2 if number else 0.9), crops=1)
    page = page_of(title.stored())
    assert len(page.all("person")) == MAX_CARDS + 5
    text = page.visible_text()
    assert "5 more people, each on screen for 0:00.4 or less" in text
    assert f"p0{MAX_CARDS + 5} on screen 0:00.4" in text


def test_long_film_stays_light_and_says_what_it_leaves_out() -> None:
    page = render_title(build_view(long_film(seconds=9000, people=12, tracks=400).stored()))
    assert len(page) < 15_000_000
    text = Document(page).visible_text()
    assert "2 h 30 min" in text
    assert re.search(r"\d+ more, shorter tracks", text)
    assert re.search(r"\b2:15:00\b", text)  # the axis is labelled beyond the first hour


def test_several_videos_follow_one_another_with_names(series_page: str) -> None:
    page = Document(series_page)
    assert [a["title"] for a in page.all("video")] == [f"Series_S01E0{n}.mp4" for n in (1, 2, 3)]
    bars = [a["title"] or "" for a in page.all("bar")]
    assert {bar.split(",")[0] for bar in bars} == {"S01E01", "S01E02", "S01E03"}


def test_a_warning_has_a_heading_and_its_own_message(episode: StoredTitle) -> None:
    warning = {"code": "partial", "message": "segment 3 could not be read"}
    page = page_of(replace(episode, summary={**episode.summary, "warnings": [warning]}))
    assert "Parts of the title are missing Segment 3 could not be read." in page.visible_text()


def test_every_warning_of_a_run_has_its_heading(episode: StoredTitle) -> None:
    warnings = [explain_warning(code) for code in WARNINGS]
    page = page_of(replace(episode, summary={**episode.summary, "warnings": warnings}))
    assert all(warning.heading in page.visible_text() for warning in WARNINGS.values())


def test_index_links_every_title(episode: StoredTitle) -> None:
    titles = [episode, replace(episode, title_id="other name")]
    page = Document(render_index([index_entry(build_view(title)) for title in titles]))
    links = [attrs["href"] for tag, attrs in page.tags if tag == "a"]
    assert links == [
        "titles/a-title-0123456789ab/report.html",
        "titles/other%20name/report.html",
    ]
    assert "5 people" in page.visible_text()
    assert "2 titles" in page.visible_text()
