"""Texts that people read use the field's words: help, settings, headings, docstrings.

The table of words that are not used stands in CONTRIBUTING.md.
"""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from vcn_ray.cli.main import build_parser
from vcn_ray.config import RunConfig

PROJECT = Path(__file__).resolve().parents[1]
CODE = ("vcn_ray", "jobs", "examples", "benchmarks")
README_WORDS = 900


def unused_words() -> dict[str, str]:
    """What is not written, and what is written instead."""
    text = (PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.partition("\n## Words\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", section, re.MULTILINE)
    return {word.strip(): instead.strip() for word, instead in rows[1:] if word != "---"}


def pattern_of(word: str) -> re.Pattern[str]:
    """A whole word or phrase; one that ends in an underscore is the beginning of a name."""
    end = "" if word.endswith("_") else r"(?![\w])"
    return re.compile(rf"(?<![\w]){re.escape(word)}{end}", re.IGNORECASE)


def help_texts(parser: argparse.ArgumentParser, where: str = "vcn") -> Iterator[tuple[str, str]]:
    yield where, parser.description or ""
    for action in parser._actions:  # argparse has no public way to list them
        yield f"{where} {action.dest}", str(action.help or "")
        if isinstance(action, argparse._SubParsersAction):
            for words in action._choices_actions:
                yield f"{where} {words.dest}", str(words.help or "")
            for name, command in action.choices.items():
                yield from help_texts(command, f"{where} {name}")


def setting_names(values: dict[str, object], inside: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        yield f"setting {inside}{name}", name
        if isinstance(value, dict):
            yield from setting_names(value, f"{inside}{name}.")


def headings() -> Iterator[tuple[str, str]]:
    for page in (*PROJECT.glob("*.md"), *PROJECT.glob("docs/*.md"), *PROJECT.glob("*/README.md")):
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for line in re.findall(r"^#+ .*$", text, re.MULTILINE):
            yield str(page.relative_to(PROJECT)), line


def first_lines() -> Iterator[tuple[str, str]]:
    for folder in CODE:
        for path in sorted((PROJECT / folder).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            for node in ast.walk(tree):
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                    line = (ast.get_docstring(node) or "").partition("\n")[0]
                    name = getattr(node, "name", "module")
                    yield f"{path.relative_to(PROJECT)}: {name}", line


TEXTS = {
    "help": lambda: help_texts(build_parser()),
    "settings": lambda: setting_names(asdict(RunConfig())),
    "headings": headings,
    "docstrings": first_lines,
}


@pytest.mark.parametrize("kind", TEXTS)
def test_unused_words_are_not_used(kind: str) -> None:
    words = {word: pattern_of(word) for word in unused_words()}
    assert len(words) > 10, "the table of words was not found"
    found = [
        f"{where}: {word!r} in {text!r}"
        for where, text in TEXTS[kind]()
        for word, pattern in words.items()
        if pattern.search(text)
    ]
    assert not found, "\n".join(found)


def test_the_readme_is_short() -> None:
    words = (PROJECT / "README.md").read_text(encoding="utf-8").split()
    assert len(words) <= README_WORDS
