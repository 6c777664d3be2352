"""What foreign text reaches a terminal or a log, from hostile names, titles, words and secrets."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.helpers.films import Ran, vcn

PROJECT = Path(__file__).resolve().parents[2]
CODE = ("vcn_ray", "jobs")
CLEANERS = {"clean", "clean_lines"}
WRITERS = ("console.py", "cli/main.py")  # below vcn_ray
CHILD = "io/photo_child.py"  # writes to pipes, which its parent reads
CODE_OF_TERMINAL = "\x1b]0;owned\x07\x1b[2J"
SECRET = "correct-horse-battery-staple"


def calls(path: Path) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield node


def test_only_two_modules_write_to_the_terminal() -> None:
    """`console` and `cli.main` print; others hand text to them, or log through the formatter."""
    found = set()
    for folder in CODE:
        for path in (PROJECT / folder).rglob("*.py"):
            for call in calls(path):
                name = ast.unparse(call.func)
                written = name in ("print", "sys.stdout.write", "sys.stderr.write", "Console")
                if written or name.endswith((".writelines", "traceback.print_exc")):
                    found.add(str(path.relative_to(PROJECT / folder)))
    assert found == {*WRITERS, CHILD}


@pytest.mark.parametrize("name", WRITERS)
def test_every_write_is_of_cleaned_text(name: str) -> None:
    writes = [
        call
        for call in calls(PROJECT / "vcn_ray" / name)
        if ast.unparse(call.func) in ("sys.stdout.write", "sys.stderr.write")
    ]
    assert writes
    for call in writes:
        (text,) = call.args
        assert isinstance(text, ast.BinOp), ast.unparse(call)
        assert isinstance(text.left, ast.Call), ast.unparse(call)
        assert ast.unparse(text.left.func) in CLEANERS, ast.unparse(call)


def test_rich_gets_cleaned_text_alone() -> None:
    """Rich keeps the escape codes of a text; what a table or a bar shows is cleaned before."""
    for call in calls(PROJECT / "vcn_ray" / "console.py"):
        if ast.unparse(call.func) == "Text":
            (cell,) = call.args
            assert isinstance(cell, ast.Call)
            assert ast.unparse(cell.func) in CLEANERS


def assert_harmless(ran: Ran) -> None:
    for text in (ran.out, ran.err):
        assert all(line.isprintable() for line in text.split("\n")), repr(text)
        assert SECRET not in text


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)


@pytest.mark.parametrize(
    "words",
    [
        ["index", f"no{CODE_OF_TERMINAL}{SECRET}", "--output", "OUT", "--local"],
        ["index", "a.mp4", "--output", f"gs://{CODE_OF_TERMINAL}", "--local"],
        ["index", "a.mp4", "--output", "OUT", "--local", f"--{CODE_OF_TERMINAL}{SECRET}"],
        ["index", "a.mp4", "--output", "OUT", "--sample", CODE_OF_TERMINAL],
        ["plan", "a.mp4", "--output", "OUT", "--pack", f"{CODE_OF_TERMINAL}{SECRET}"],
        ["plan", "a.mp4", "--output", "OUT", "--set", f"seed={CODE_OF_TERMINAL}{SECRET}"],
        ["packs", "show", f"{CODE_OF_TERMINAL}\n{SECRET}"],
        ["report", f"{CODE_OF_TERMINAL}{SECRET}"],
        ["evaluate", "OUT", "--labels", f"{CODE_OF_TERMINAL}{SECRET}"],
    ],
    ids=range(9),
)
def test_words_reach_the_terminal_without_codes_and_secrets(
    words: list[str], secret: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = vcn(*words)
    assert ran.code in (1, 2)
    assert ran.err
    assert_harmless(ran)


@pytest.mark.parametrize("form", [[], ["--log-format", "json"]], ids=["text", "json"])
def test_names_and_titles_do_not_either(
    form: list[str], secret: None, yunet_pack: Path, tmp_path: Path
) -> None:
    bad = tmp_path / f"film {CODE_OF_TERMINAL}{SECRET}.mp4"
    bad.write_bytes(b"no film")
    manifest = tmp_path / "catalog.jsonl"
    row = {"uri": str(bad), "title": f"Title\r\n{CODE_OF_TERMINAL}{SECRET}"}
    manifest.write_text(json.dumps(row) + "\n")
    out = tmp_path / "out"
    ran = vcn("index", manifest, "--output", out, "--local", "--pack", yunet_pack, *form)
    assert ran.code == 1
    assert_harmless(ran)
    (failure,) = pq.read_table(next(out.glob("runs/*/failures.parquet"))).to_pylist()
    assert failure["message"].isprintable()
    assert SECRET not in json.dumps(failure)
    for record in out.glob("runs/*/run.json"):
        assert SECRET not in record.read_text()


def test_an_unexpected_error_is_one_clean_line(
    monkeypatch: pytest.MonkeyPatch, secret: None, tmp_path: Path
) -> None:
    """A fault of ours gives no traceback, whose text may hold anything."""

    def break_down(*_: object) -> None:
        raise KeyError(f"{CODE_OF_TERMINAL}{SECRET}\nx")

    monkeypatch.setattr("vcn_ray.cli.commands.write_reports", break_down)
    ran = vcn("report", tmp_path)
    assert ran.code == 1
    (line,) = ran.err.splitlines()
    assert line.startswith("vcn report: internal error: KeyError: ")
    assert_harmless(ran)
