"""Who looks like a photograph, or like a person of a title."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vcn_ray
from benchmarks.made_titles import MadeTitle, write_made
from tests.helpers.catalogs import build_local, write_catalog
from tests.helpers.corrections import Seen, write_title
from tests.helpers.photographs import actor, group, portrait
from vcn_ray.catalog_search import MAX_TITLES, find_faces
from vcn_ray.cli.main import main
from vcn_ray.core.strangers import exact_codes
from vcn_ray.core.vectors import unit_rows
from vcn_ray.errors import UsageError
from vcn_ray.io.storage import Storage
from vcn_ray.packs.face_pack import FacePack
from vcn_ray.packs.load import load_pack
from vcn_ray.records import F32, U8
from vcn_ray.registry.search import FaceSearch
from vcn_ray.registry.stored import read_registry
from vcn_ray.report.found import FoundPage, write_found_page

DASH = "\u2013"


@pytest.fixture(scope="module")
def pack(yunet_pack: Path) -> FacePack:
    return load_pack(str(yunet_pack), threads=1)


def embedded(pack: FacePack, picture: U8) -> F32:
    """Embeddings (n, d) of the faces of a picture, from left to right."""
    (found,) = pack.detector.detect(picture[None])
    found = found[np.argsort(found.boxes[:, 0])]
    crops = torch.from_numpy(pack.aligner.align(picture, found))
    return np.asarray(pack.load_encoder().embed(crops), np.float32)


@pytest.fixture(scope="module")
def output(pack: FacePack, yunet_pack: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A title with six people of one picture, and one with a seventh."""
    folder = tmp_path_factory.mktemp("out")
    storage = Storage.open(str(folder))
    for name, picture in (("group", group()), ("space", portrait())):
        rows = unit_rows(embedded(pack, picture)).astype(np.float32)
        title = MadeTitle(name, np.arange(len(rows)), rows, pack.encoder_hash, str(yunet_pack))
        write_made(storage, title)
    build_local(storage)
    return folder


def photo(folder: Path, picture: U8) -> Path:
    path = folder / "photo.jpg"
    Image.fromarray(picture).save(path, quality=90)
    return path


def test_a_photograph_finds_the_person_and_the_times(
    output: Path, yunet_pack: Path, tmp_path: Path
) -> None:
    mirrored = np.ascontiguousarray(portrait()[:, ::-1])
    found = vcn_ray.search(output, photo(tmp_path, mirrored), pack=str(yunet_pack), limit=3)
    assert len(found) == 3
    assert found[0].probability > 0.9
    assert found[1].probability < 0.1
    (title,) = found[0].titles
    assert title.title == "space"
    assert title.spans == (("space-video", 0.0, 2.0),)


def test_a_presenter_of_most_titles_is_known_for_sure(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    storage = Storage.open(str(tmp_path / "out"))
    presenter = random.normal(size=128)
    for number in range(40):
        others = random.normal(size=(number % 2, 128))
        look = presenter + 0.7 * random.normal(size=128)
        rows = unit_rows(np.vstack([look, others])).astype(np.float32)
        write_made(storage, MadeTitle(f"title-{number:02d}", np.arange(len(rows)), rows))
    build_local(storage)
    registry = read_registry(storage)
    assert registry.people.num_rows == 21
    query = exact_codes(unit_rows(presenter[None] + 0.7 * random.normal(size=(1, 128))))[0]
    first, second = FaceSearch(registry).like(query, 2)
    assert first.catalog_id == registry.people.column("catalog_id")[0].as_py()
    assert first.probability > 0.99
    assert second.probability < 0.1


def test_one_face_of_several_has_to_be_chosen(
    output: Path, yunet_pack: Path, tmp_path: Path
) -> None:
    path = photo(tmp_path, group())
    with pytest.raises(UsageError, match="shows 6 faces: say which one by --face 1 to 6"):
        vcn_ray.search(output, path, pack=str(yunet_pack))
    found = [
        vcn_ray.search(output, path, pack=str(yunet_pack), face=face)[0] for face in range(1, 7)
    ]
    assert len({person.catalog_id for person in found}) == 6
    assert all(person.probability > 0.9 for person in found)
    with pytest.raises(UsageError, match="--face must be 1 to 6"):
        vcn_ray.search(output, path, pack=str(yunet_pack), face=7)


def test_a_stranger_is_nobody_likely(output: Path, yunet_pack: Path, tmp_path: Path) -> None:
    found = vcn_ray.search(output, photo(tmp_path, actor()), pack=str(yunet_pack))
    assert found[0].probability < 0.5


def test_a_person_of_a_title_is_found_with_all_titles_and_then_others(tmp_path: Path) -> None:
    storage = Storage.open(str(tmp_path))
    write_catalog(storage)
    build_local(storage)
    (own,) = vcn_ray.search(tmp_path, "Film a:p001", limit=1)
    assert {(t.title_id, t.person_id) for t in own.titles} == {("a-0", "p001"), ("d-0", "p001")}
    vcn_ray.decide(tmp_path, "apart", "a-0:p001", "d-0:p001", who="me")
    build_local(storage)
    found = vcn_ray.search(tmp_path, "Film a:p001", limit=2)
    assert {t.title_id for person in found for t in person.titles} == {"a-0", "d-0"}


def test_somebody_in_many_titles_does_not_hide_others(tmp_path: Path) -> None:
    storage = Storage.open(str(tmp_path))
    for n in range(20):
        other = Seen(f"u{n}", "p002", 20.0, 24.0, video=f"v{n}", face=100 + n)
        seen = [Seen(f"t{n}", "p001", video=f"v{n}"), other]
        write_title(storage, seen, title=f"F{n}", title_id=f"f{n}-0")
    assert build_local(storage).shared == 1
    assert len(vcn_ray.search(tmp_path, "F3:p001", limit=2)) == 2


def test_a_name_that_is_too_long_for_a_file_is_a_title(tmp_path: Path) -> None:
    storage = Storage.open(str(tmp_path))
    write_title(storage, [Seen("t", "p001")], title="x" * 300)
    build_local(storage)
    (found,) = vcn_ray.search(tmp_path, "x" * 300 + ":p001")
    assert found.titles[0].person_id == "p001"


def test_the_command_shows_people_and_writes_a_page(
    output: Path, yunet_pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "found.html"
    path = photo(tmp_path, portrait())
    words = ["search", str(output), str(path), "--pack", str(yunet_pack), "--page", str(page)]
    assert main(words) == 0
    shown = capsys.readouterr().out.splitlines()
    assert str(page) in shown
    found = json.loads(shown[-1])["found"]
    assert found[0]["titles"][0]["title"] == "space"
    text = page.read_text(encoding="utf-8")
    assert "photo.jpg" in text
    assert str(tmp_path) not in text
    assert "Nobody in the catalog" not in text


def test_a_page_says_when_nobody_is_likely(
    output: Path, yunet_pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "found.html"
    path = photo(tmp_path, actor())
    words = ["search", str(output), str(path), "--pack", str(yunet_pack), "--page", str(page)]
    assert main(words) == 0
    assert "nobody in the catalog is likely this person" in capsys.readouterr().out
    assert "Nobody in the catalog" in page.read_text(encoding="utf-8")


def test_what_cannot_be_searched_for_is_said(
    output: Path, yunet_pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, blank, pack = tmp_path / "t.jpg", tmp_path / "b.jpg", str(yunet_pack)
    text.write_text("no picture")
    Image.fromarray(np.zeros((200, 200, 3), np.uint8)).save(blank)
    for wanted, message in (
        (str(text), "cannot be read as a picture"),
        (str(blank), "no face is found"),
        (str(tmp_path / "none.jpg"), "is no file"),
    ):
        assert main(["search", str(output), wanted, "--pack", pack]) == 2
        assert message in capsys.readouterr().err
    assert main(["search", str(output), str(photo(tmp_path, portrait()))]) == 2
    assert "another encoder" in capsys.readouterr().err
    assert main(["search", str(tmp_path), str(blank)]) == 2
    assert "run vcn registry build" in capsys.readouterr().err


def stored_face(page: str, alt: str) -> bool:
    return f'alt="{alt}" src="data:image/jpeg;base64,/9j/' in page


def test_the_page_shows_the_face_and_links_to_reports(
    output: Path, yunet_pack: Path, tmp_path: Path
) -> None:
    path = photo(tmp_path, portrait())
    found = find_faces(output, path, pack=str(yunet_pack), limit=2)
    title_id = found.people[0].titles[0].title_id
    report = output / "titles" / title_id / "report.html"
    page = FoundPage(found.people, str(path), found.face, str(output))
    target = tmp_path / "found.html"
    text = write_found_page(page, target).read_text(encoding="utf-8")
    assert stored_face(text, "The face that was searched for")
    assert "<a href" not in text  # no report was written
    report.write_text("a report", encoding="utf-8")
    try:
        text = write_found_page(page, target).read_text(encoding="utf-8")
        (link,) = re.findall(r'<a href="([^"#]+)#(?:p\d+)"', text)
        assert (tmp_path / link).resolve() == report.resolve()
    finally:
        report.unlink()


def test_short_gaps_are_joined_and_a_deleted_title_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = Storage.open(str(tmp_path))
    spans = [(0.0, 4.0), (4.5, 8.0), (9.0, 12.0), (13.5, 20.0), (30, 31), (40, 41), (50, 51)]
    write_title(
        storage,
        [Seen(f"t{n}", "p001", *span) for n, span in enumerate(spans)],
        title="Long",
        title_id="long-0",
    )
    write_title(storage, [Seen("u", "p001", video="other")], title="Gone", title_id="gone-0")
    vcn_ray.decide(tmp_path, "join", "Long:p001", "Gone:p001", who="me")
    assert build_local(storage).shared == 1
    (found,) = vcn_ray.search(tmp_path, "Long:p001", limit=1)
    long, gone = sorted(found.titles, key=lambda title: title.title != "Long")
    assert long.spans is not None
    assert [span[1:] for span in long.spans] == [(0, 12), (13.5, 20), (30, 31), (40, 41), (50, 51)]
    assert gone.missing is None
    assert main(["search", str(tmp_path), "Long:p001", "--limit", "1"]) == 0
    times = ("0:00.0", "0:12.0"), ("0:13.5", "0:20.0"), ("0:30.0", "0:31.0")
    shown = ", ".join(f"{start}{DASH}{end}" for start, end in times)
    assert f"{shown} and 2 more" in capsys.readouterr().out
    shutil.rmtree(tmp_path / "titles" / "gone-0")
    page = tmp_path / "found.html"
    words = ["search", str(tmp_path), "Long:p001", "--limit", "1", "--page", str(page)]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "not in the output any more" in out
    assert "not in the output any more" in page.read_text(encoding="utf-8")
    found_json = json.loads(out.splitlines()[-1])["found"]
    assert {title["title"]: title["missing"] for title in found_json[0]["titles"]} == {
        "Long": None,
        "Gone": "deleted",
    }


def test_somebody_in_many_titles_is_summed_up_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = Storage.open(str(tmp_path))
    for n in range(MAX_TITLES + 4):
        other = Seen(f"u{n}", "p002", 20.0, 24.0, video=f"v{n}", face=100 + n)
        seen = [Seen(f"t{n}", "p001", video=f"v{n}"), other]
        write_title(storage, seen, title=f"F{n}", title_id=f"f{n}-0")
    assert build_local(storage).shared == 1
    assert main(["search", str(tmp_path), "F0:p001", "--limit", "1"]) == 0
    shown = capsys.readouterr().out
    assert "and 4 more titles" in shown
    assert shown.count(f"0:00.0{DASH}0:04.0") == MAX_TITLES
