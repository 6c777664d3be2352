"""The page of the benchmarks: short, and with no number that its result files do not hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.command import RESULTS
from benchmarks.result_file import FACTS, read_result

README = (RESULTS.parent / "README.md").read_text(encoding="utf-8")
LINK = re.compile(r"\]\((results/[\w-]+\.md)\)")
DECIMAL = re.compile(r"\d+\.\d+")
OF_METHOD = re.compile(r"\(?METHOD [\d.]+\)?|\(\d\.\d\)")


def test_the_page_stays_short() -> None:
    assert len(README.split()) <= 3000


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.md")), ids=lambda path: path.stem)
def test_a_result_file_states_its_facts_and_is_linked(path: Path) -> None:
    assert set(FACTS) <= set(read_result(path).facts)
    assert f"results/{path.name}" in LINK.findall(README)


def test_every_number_beside_a_link_is_in_a_linked_file() -> None:
    for paragraph in re.split(r"\n\n|\n- ", README):
        if links := LINK.findall(paragraph):
            texts = [(RESULTS.parent / link).read_text(encoding="utf-8") for link in links]
            for number in DECIMAL.findall(OF_METHOD.sub("", paragraph)):
                found = [text for text in texts if re.search(rf"(?<![\d.]){number}(?!\d)", text)]
                assert found, f"{number} is in none of {links}"
