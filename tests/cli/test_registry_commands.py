"""`vcn registry` as people use it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.catalogs import write_catalog
from vcn_ray.cli.main import main
from vcn_ray.io.committed import FolderWriter
from vcn_ray.io.storage import Storage
from vcn_ray.io.tables import make_table
from vcn_ray.registry.stored import TABLES, read_registry
from vcn_ray.review.desk import Desk
from vcn_ray.schema import CATALOG_LINKS


@pytest.fixture
def output(tmp_path: Path) -> str:
    write_catalog(Storage.open(str(tmp_path)))
    return str(tmp_path)


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_build_says_who_is_shared_and_where_it_is(
    output: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["registry", "build", output, "--local"]) == 0
    shown = lines(capsys)
    assert "6 people in 4 titles, 5 of them in several; 0 suggestions" in shown
    content = json.loads(shown[-1])
    assert Path(shown[-3]) == Path(output) / content["folder"]
    page = Path(shown[-2])
    assert page == Path(output) / "catalog.html"
    assert "Film a" in page.read_text(encoding="utf-8")
    assert content["read"] == 4


def test_list_shows_names_and_titles(output: str, capsys: pytest.CaptureFixture[str]) -> None:
    Desk(Storage.open(output), "a-0", who="me").name("p001", "Ann")
    main(["registry", "build", output, "--local"])
    lines(capsys)
    assert main(["registry", "list", output, "--limit", "4"]) == 0
    shown = "\n".join(lines(capsys))
    assert "Ann" in shown
    assert "Film a:p001" in shown
    assert "6 people, 2 not shown" in shown


def test_decisions_are_made_and_taken_back(output: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["registry", "build", output, "--local"])
    assert main(["registry", "apart", output, "Film a:p001", "Film d:p001", "--who", "me"]) == 0
    decision = capsys.readouterr().out.splitlines()[-2].rpartition(" ")[2]
    main(["registry", "build", output, "--local"])
    assert "4 of them in several" in capsys.readouterr().out
    assert main(["registry", "decisions", output]) == 0
    listed = capsys.readouterr().out
    assert decision in listed
    assert "Film a:p001" in listed
    assert "Film d:p001" in listed
    assert "1 decision" in listed
    assert main(["registry", "undo", output, decision[:6]]) == 0
    assert main(["registry", "undo", output, decision[:6]]) == 2
    assert "is taken back already" in capsys.readouterr().err
    main(["registry", "build", output, "--local"])
    assert "5 of them in several" in capsys.readouterr().out


def test_a_title_that_cannot_be_read_is_a_failure(
    output: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (path,) = Path(output).glob("titles/b-0/cluster-*/people.parquet")
    path.write_bytes(b"nothing")
    assert main(["registry", "build", output, "--local"]) == 1
    assert "b-0 is left out" in capsys.readouterr().err


def test_without_a_registry_the_command_says_what_to_do(
    output: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["registry", "list", output]) == 2
    assert f"run vcn registry build {output}" in capsys.readouterr().err


def name(output: str, title: str, person: str, text: str) -> None:
    desk = Desk(Storage.open(output), title, who="me")
    desk.name(person, text)
    desk.commit()


def test_join_of_two_names_warns_in_one_line(
    output: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name(output, "a-0", "p001", "Ann")
    name(output, "c-0", "p002", "Beth")
    main(["registry", "build", output, "--local"])
    capsys.readouterr()
    assert main(["registry", "join", output, "Ann", "Beth", "--who", "me"]) == 0
    done = capsys.readouterr()
    (line,) = [line for line in done.err.splitlines() if line.startswith("note: ")]
    assert line.startswith("note: Ann and Beth are two names: the person is then called Ann")
    assert "Ann is a-0:p001" in done.out


def test_ids_of_the_list_are_taken_by_the_search(
    output: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["registry", "build", output, "--local"])
    capsys.readouterr()
    assert main(["registry", "list", output]) == 0
    shown = capsys.readouterr().out
    row = next(line for line in shown.splitlines() if "Film a:p001" in line)
    who = next(cell.strip() for cell in row.split("│") if cell.strip().startswith("c-"))
    assert "commands take ids, names that are unique, and TITLE:p003" in shown
    assert main(["search", output, who, "--limit", "1"]) == 0
    found = capsys.readouterr().out.splitlines()
    assert json.loads(found[-1])["found"][0]["catalog_id"] == who
    assert sum(who in line and "Film" in line for line in found[:-1]) == 2


def test_suggestions_show_names_of_titles_and_ids(
    output: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["registry", "build", output, "--local"])
    storage = Storage.open(output)
    registry = read_registry(storage)
    folder = f"registry/{registry.name}"
    rows = registry.links.to_pylist()
    members = {
        (m["title_id"], m["person_id"]): m["catalog_id"] for m in registry.members.to_pylist()
    }
    pair = {
        "left_title_id": "a-0",
        "left_person_id": "p001",
        "right_title_id": "b-0",
        "right_person_id": "p001",
        "cosine": 0.4,
        "probability": 0.6,
        "answer": "suggested",
        "why": "face",
    }
    writer = FolderWriter(storage, folder)
    for table in TABLES:
        content = getattr(registry, table.removeprefix("catalog_"))
        if table == "catalog_links":
            content = make_table([*rows, pair], CATALOG_LINKS)
        writer.write_table(f"{table}.parquet", content)
    writer.commit({k: v for k, v in registry.manifest.items() if k not in ("files", "checksum")})
    capsys.readouterr()
    assert main(["registry", "list", output, "--suggested"]) == 0
    shown = capsys.readouterr().out
    (row,) = [line for line in shown.splitlines() if "60%" in line]
    for text in ("Film a:p001", "Film b:p001", members["a-0", "p001"], members["b-0", "p001"]):
        assert text in row
    assert "a-0" not in shown
