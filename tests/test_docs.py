"""What the pages name exists: links, headings, files, commands and settings."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vcn_ray.cli.main import build_parser
from vcn_ray.config import RunConfig, get_setting, load_config

PROJECT = Path(__file__).resolve().parents[1]
PAGES = [*PROJECT.glob("*.md"), *PROJECT.glob("docs/*.md"), *PROJECT.glob("*/README.md")]
SECTIONS = ("detect", "track", "adapt", "cluster", "resources", "prices", "isolation", "s3")
FOLDERS = "benchmarks|cluster_configs|docs|examples|jobs|scripts|tests|vcn_ray"

each_page = pytest.mark.parametrize("page", PAGES, ids=[str(p.relative_to(PROJECT)) for p in PAGES])


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    """The addresses of a page's headings, as GitHub makes them."""
    prose = re.sub(r"```.*?```", "", text_of(page), flags=re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def commands(page: Path) -> Iterator[list[str]]:
    """The arguments of each `vcn` command in the page's blocks of code."""
    for block in re.findall(r"```\w*\n(.*?)```", text_of(page), flags=re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if re.match(r"(\.venv/bin/)?vcn ", line):
                yield shlex.split(line, comments=True)[1:]


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


@each_page
def test_commands_are_valid(page: Path) -> None:
    for arguments in commands(page):
        options = build_parser().parse_args(arguments)
        assert options.command == arguments[0]
        for setting in getattr(options, "set", []):
            load_config(None, dict([setting.split("=", 1)]))


@each_page
def test_settings_exist(page: Path) -> None:
    for name in re.findall(
        rf"\b((?:{'|'.join(SECTIONS)})\.[a-z0-9_.]+[a-z0-9_])(?=[`=])", text_of(page)
    ):
        if not re.search(r"\.(py|md|toml|parquet|json|yaml)$", name):
            get_setting(RunConfig(), name)


@each_page
def test_files_in_code_exist(page: Path) -> None:
    for name in re.findall(rf"`((?:{FOLDERS})/[\w./-]+\.\w+)`", text_of(page)):
        assert (PROJECT / name).is_file(), name


def test_the_page_of_tables_is_current() -> None:
    words = [sys.executable, str(PROJECT / "scripts" / "tables_doc")]
    written = subprocess.run(words, capture_output=True, text=True, check=True, cwd=PROJECT).stdout
    assert text_of(PROJECT / "docs" / "tables.md") == written, "run make docs"
