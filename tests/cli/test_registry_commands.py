"""`vcn registry` as people use it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.catalogs import write_catalog
from vcn_ray.cli.main import main
from vcn_ray.io.storage import Storage
from vcn_ray.review.desk import Desk


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
